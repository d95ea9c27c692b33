"""A part of revision 0002: the tables of experiments and runs, filled from the records that runs were before.

A run keeps its id. What had only a name gets what it lacks: an experiment its id (always the same for a name), a metric's
value a place in a series, an artifact a path (its size is not known here and stands as 0).
"""

import hashlib
import re
import struct
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

from rota.backends.sql.migrations.steps import NUMBER, POSITION, TEXT, bodies, insert_rows, text_of

HEAD = 200
"""Characters of a parameter or tag that are indexed; the others are in `rest`."""
ARTIFACT = "artifact."
"""How the tag of an artifact began; its value is the digest."""
_PATH = re.compile(r"(?!\.\.?(/|$))[\w.@ -]+(/(?!\.\.?(/|$))[\w.@ -]+)*")

Record = dict[str, Any]
Type = sa.types.TypeEngine[Any]


def make_tables() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False, unique=True),
        sa.Column("project", TEXT, nullable=False),
        sa.Column("created_us", NUMBER, nullable=False),
        sa.Column("updated_us", NUMBER, nullable=False),
        sa.Column("deleted_us", NUMBER),
    )
    _table("experiment_tags", {"experiment": TEXT, "key": TEXT}, value=TEXT)
    op.create_table(
        "tracked_runs",
        sa.Column("key", POSITION, primary_key=True, autoincrement=True),
        sa.Column("id", TEXT, nullable=False, unique=True),
        *(sa.Column(name, TEXT, nullable=False) for name in ("experiment", "name", "status", "owner", "parent")),
        sa.Column("started_us", NUMBER, nullable=False),
        sa.Column("ended_us", NUMBER),
        sa.Column("deleted_us", NUMBER),
        sa.Column("source", sa.Text, nullable=False),
    )
    op.create_index("tracked_runs_recent", "tracked_runs", ["experiment", "started_us"])
    op.create_index("tracked_runs_parent", "tracked_runs", ["experiment", "parent", "started_us"])
    _tables_of_runs()


def _tables_of_runs() -> None:
    for name in ("run_parameters", "run_tags"):
        _table(name, {"run": NUMBER, "key": TEXT}, value=TEXT, rest=TEXT)
        op.create_index(f"{name}_value", name, ["key", "value", "run"])
    op.create_table(
        "run_metrics",
        sa.Column("run", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("experiment", TEXT, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("step", NUMBER, nullable=False),
        sa.Column("at_us", NUMBER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("run_metrics_value", "run_metrics", ["experiment", "key", "value", "run"])
    _table("metric_points", {"run": NUMBER, "key": TEXT, "step": NUMBER, "at_us": NUMBER, "rank": NUMBER})
    op.create_table(
        "run_inputs",
        sa.Column("run", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("digest", TEXT, primary_key=True),
        sa.Column("context", TEXT),
        sa.Column("position", NUMBER, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("run_inputs_name", "run_inputs", ["name", "digest", "run"])
    _table("run_outputs", {"run": NUMBER, "model": TEXT}, step=NUMBER, position=NUMBER)


def _table(name: str, key: Mapping[str, Type], **values: Type) -> None:
    op.create_table(
        name,
        *(sa.Column(column, kind, primary_key=True, autoincrement=False) for column, kind in key.items()),
        *(sa.Column(column, kind, nullable=False) for column, kind in values.items()),
        sqlite_with_rowid=False,
    )


def convert() -> None:
    """Fill the tables from the records of kind `experiment_run`."""
    _make_experiments()
    for number, run in enumerate(bodies("experiment_run"), 1):
        experiment = _id_of(run["experiment"])
        insert_rows("tracked_runs", [_run_row(number, experiment, run)])
        insert_rows("run_parameters", [_text_row(number, key, _parameter(value)) for key, value in run["parameters"].items()])
        insert_rows("run_tags", [_text_row(number, key, value) for key, value in run["tags"].items()])
        points = [_point_row(number, run, key, float(value)) for key, value in run["metrics"].items()]
        insert_rows("run_metrics", [{"experiment": experiment, **point} for point in points])
        insert_rows("metric_points", [{**_without_value(point), "rank": _rank(point["value"])} for point in points])
        _keep_artifacts(f"{experiment}/{run['id']}/artifacts", run)
    if op.get_context().dialect.name == "postgresql":
        op.execute("SELECT setval(pg_get_serial_sequence('tracked_runs', 'key'), (SELECT max(key) FROM tracked_runs))")


def _make_experiments() -> None:
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for run in bodies("experiment_run"):
        name, at_us = run["experiment"], run["started_us"]
        first[name] = min(first.get(name, at_us), at_us)
        last[name] = max(last.get(name, at_us), at_us)
    rows = [{"id": _id_of(name), "name": name, "project": "default", "created_us": first[name], "updated_us": last[name]} for name in first]
    insert_rows("experiments", rows)


def _id_of(experiment: str) -> str:
    """18 digits, as ids of experiments are; the one called Default has been "0" ever since."""
    if experiment == "Default":
        return "0"
    return str(10**17 + int.from_bytes(hashlib.sha256(experiment.encode()).digest()) % (9 * 10**17))


def _run_row(number: int, experiment: str, run: Record) -> Record:
    texts = {"id": run["id"], "experiment": experiment, "name": run["name"], "status": run["status"], "owner": "", "parent": ""}
    return {"key": number, **texts, "started_us": run["started_us"], "ended_us": run["ended_us"], "source": text_of(run["source"])}


def _parameter(value: object) -> str:
    return text_of(value) if isinstance(value, dict | list) else str(value)


def _text_row(number: int, key: str, text: str) -> Record:
    return {"run": number, "key": key, "value": text[:HEAD], "rest": text[HEAD:]}


def _point_row(number: int, run: Record, key: str, value: float) -> Record:
    at_us = run["started_us"] if run["ended_us"] is None else run["ended_us"]
    return {"run": number, "key": key, "value": value, "step": 0, "at_us": at_us}


def _without_value(point: Record) -> Record:
    return {name: value for name, value in point.items() if name != "value"}


def _rank(value: float) -> int:
    """A double as a whole number in the same order; there were no NaN."""
    bits: int = struct.unpack("<q", struct.pack("<d", value + 0.0))[0]
    return bits if bits >= 0 else bits ^ 0x7FFF_FFFF_FFFF_FFFF


def _keep_artifacts(root: str, run: Record) -> None:
    """An artifact was a tag; as a file below the run it is listed, served and never collected. A name that is no path stays a tag."""
    kept = {key.removeprefix(ARTIFACT): digest for key, digest in run["tags"].items() if key.startswith(ARTIFACT)}
    files = [{"root": root, "path": path, "digest": kept[path], "size": 0, "at_us": run["started_us"]} for path in kept if _PATH.fullmatch(path)]
    columns = ("root", "path", "digest")
    insert_rows("artifact_file", [{name: file[name] for name in columns} | {"body": text_of(file)} for file in files])
    cause, at_us = f"experiment_run:{run['id']}", run["started_us"]
    insert_rows("edges", [{"cause": cause, "effect": f"artifact_file:{root}@{file['path']}", "at_us": at_us} for file in files])
