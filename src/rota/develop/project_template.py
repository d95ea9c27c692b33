"""Create a new project that runs at once: the files of `template/`, filled in and written into an empty directory."""

import re
import subprocess
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

from rota.errors import InvalidInput, Refused

FILES = {
    "README.md": "README.md.tmpl",
    "project.py": "project.py.tmpl",
    "explore.py": "explore.py.tmpl",
    "make_data.py": "make_data.py.tmpl",
    "policy.toml": "policy.toml.tmpl",
    "rota.toml": "rota.toml.tmpl",
    "requirements.txt": "requirements.txt.tmpl",
    ".gitignore": "gitignore.tmpl",
    "tests/test_project.py": "tests/test_project.py.tmpl",
}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")

FRAMEWORKS: Mapping[str, Mapping[str, str]] = {
    "lightgbm": {
        "extra": "[lightgbm,tune]",
        "imports": "import lightgbm\nimport numpy as np",
        "training": '''@rota.step
def train(data: rota.TrainingData, leaves: int = 15, rate: float = 0.05) -> lightgbm.Booster:
    """Gradient-boosted trees; any function that returns a fitted model will do."""
    settings = {"objective": "binary", "num_leaves": leaves, "learning_rate": rate, "min_data_in_leaf": 20, "seed": 7, "verbosity": -1}
    rows = lightgbm.Dataset(data.train.x, data.train.y, feature_name=list(data.columns), categorical_feature=list(data.categorical))
    return lightgbm.train(settings, rows, num_boost_round=100)


def probability(model: lightgbm.Booster, x: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(x))''',
        "suggestions": 'leaves=trial.suggest_int("leaves", 4, 63, log=True),\n            rate=trial.suggest_float("rate", 0.01, 0.2, log=True)',
    },
    "sklearn": {
        "extra": "[sklearn,tune]",
        "imports": "import numpy as np\nfrom sklearn.ensemble import HistGradientBoostingClassifier",
        "training": '''@rota.step
def train(data: rota.TrainingData, leaves: int = 15, rate: float = 0.05) -> HistGradientBoostingClassifier:
    """Gradient-boosted trees; any function that returns a fitted model will do."""
    model = HistGradientBoostingClassifier(max_leaf_nodes=leaves, learning_rate=rate, max_iter=100, random_state=7)
    return model.fit(data.train.x, data.train.y)


def probability(model: HistGradientBoostingClassifier, x: np.ndarray) -> np.ndarray:
    return model.predict_proba(x)[:, 1]''',
        "suggestions": 'leaves=trial.suggest_int("leaves", 4, 63, log=True),\n            rate=trial.suggest_float("rate", 0.01, 0.2, log=True)',
    },
}


def write(directory: Path, name: str, framework: str) -> list[Path]:
    """Write the project's files; nothing is written when the name is unfit or the directory holds anything."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"project name {name!r} is not allowed; use lower-case letters, digits and '-', beginning with a letter", name=name)
    if framework not in FRAMEWORKS:
        raise InvalidInput(f"there is no template for {framework!r}; templates are {list(FRAMEWORKS)}", framework=framework)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Refused(f"{str(directory)!r} is not an empty directory; give another name, or remove what is there", directory=str(directory))
    values = {"name": name, **FRAMEWORKS[framework]}
    templates = files("rota.develop") / "template"
    written = []
    for target, template in FILES.items():
        path = directory / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(templates.joinpath(template).read_text()).substitute(values))
        written.append(path)
    return written


def begin_history(directory: Path) -> str:
    """Put a new project under version control and return its first commit; "" where Git is missing or the directory lies in a work tree already."""
    try:
        if _git(directory.parent, "rev-parse", "--is-inside-work-tree") == "true":
            return ""
    except (OSError, subprocess.SubprocessError):
        pass  # no Git, or no work tree: the next command tells which
    try:
        _git(directory, "init", "--quiet")
        _git(directory, "add", "--all")
        _git(directory, *_author(directory), "commit", "--quiet", "--message", "Project made by rota init")
        return _git(directory, "rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return ""


def _author(directory: Path) -> list[str]:
    """Whoever Git is configured for, or a name that says that nobody is."""
    try:
        if _git(directory, "config", "user.email"):
            return []
    except subprocess.SubprocessError:
        pass
    return ["-c", "user.name=rota init", "-c", "user.email=rota@localhost"]


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, text=True, timeout=30, check=True, stdin=subprocess.DEVNULL)
    return done.stdout.strip()
