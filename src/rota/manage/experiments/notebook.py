"""The source of a notebook session as a notebook file: the cells that were executed in this process."""

import os
import sys
from dataclasses import dataclass

from rota.records.record import encode


@dataclass(frozen=True, slots=True)
class Notebook:
    """`path` is the notebook's own file where the front end tells it, else ""; `source` an .ipynb of the executed cells."""

    path: str
    source: bytes


def executed() -> Notebook | None:
    """The cells of this session in the order of execution, the running one last; None outside of IPython and Jupyter."""
    interactive = sys.modules.get("IPython")  # a program that is run in it has imported it
    shell = interactive.get_ipython() if interactive is not None else None
    if shell is None:
        return None
    cells = [
        {"cell_type": "code", "execution_count": number, "id": f"cell-{number}", "metadata": {}, "outputs": [], "source": text}
        for number, text in enumerate(shell.history_manager.input_hist_raw)
        if number and text
    ]
    return Notebook(_path(shell.user_ns), encode({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


def _path(names: dict[str, object]) -> str:
    """Jupyter's server tells its kernels by JPY_SESSION_NAME, VS Code by a variable of the session."""
    told = names.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME", "")
    return str(told)
