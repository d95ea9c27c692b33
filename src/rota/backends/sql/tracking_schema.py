"""The tables of experiments and runs, in the same database and the same `schema` as the metadata.

Rows of a run hang on its number (`tracked_runs.key`), which is shorter than its id and never leaves the store. Numbers are
kept so that both engines sort and compare them alike, NaN and infinities included: see `run_metrics` and `metric_points`.
"""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, Table, Text

from rota.backends.sql.schema import schema

HEAD = 200
"""Characters of a parameter or tag that are indexed (`value`); the others are in `rest`, as an index entry is bounded."""

_Name = Text().with_variant(Text(collation="C"), "postgresql")
_Position = BigInteger().with_variant(Integer(), "sqlite")

experiments = Table(
    "experiments",
    schema,
    Column("id", _Name, primary_key=True),
    Column("name", _Name, nullable=False, unique=True),
    Column("project", _Name, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("deleted_us", BigInteger),
)

experiment_tags = Table(
    "experiment_tags",
    schema,
    Column("experiment", _Name, primary_key=True),
    Column("key", _Name, primary_key=True),
    Column("value", _Name, nullable=False),
    sqlite_with_rowid=False,
)

tracked_runs = Table(
    "tracked_runs",
    schema,
    Column("key", _Position, primary_key=True, autoincrement=True),
    Column("id", _Name, nullable=False, unique=True),
    Column("experiment", _Name, nullable=False),
    Column("name", _Name, nullable=False),
    Column("status", _Name, nullable=False),
    Column("owner", _Name, nullable=False),
    Column("parent", _Name, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Column("deleted_us", BigInteger),
    Column("source", Text, nullable=False),
    Index("tracked_runs_recent", "experiment", "started_us"),
    Index("tracked_runs_parent", "experiment", "parent", "started_us"),
)


def _texts(name: str) -> Table:
    return Table(
        name,
        schema,
        Column("run", BigInteger, primary_key=True, autoincrement=False),
        Column("key", _Name, primary_key=True),
        Column("value", _Name, nullable=False),
        Column("rest", _Name, nullable=False),
        Index(f"{name}_value", "key", "value", "run"),
        sqlite_with_rowid=False,
    )


run_parameters = _texts("run_parameters")
run_tags = _texts("run_tags")

# The newest point of each metric. A NaN is kept as NULL, which no comparison finds. The experiment stands here too, so that
# one index holds an experiment's runs in the order of a metric.
run_metrics = Table(
    "run_metrics",
    schema,
    Column("run", BigInteger, primary_key=True, autoincrement=False),
    Column("key", _Name, primary_key=True),
    Column("experiment", _Name, nullable=False),
    Column("value", Double),
    Column("step", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("run_metrics_value", "experiment", "key", "value", "run"),
    sqlite_with_rowid=False,
)

# The series, clustered by run and metric. `rank` is the value as a whole number in the same order (`tracked_form.rank`): part
# of the key, so that an equal point is one point.
metric_points = Table(
    "metric_points",
    schema,
    Column("run", BigInteger, primary_key=True, autoincrement=False),
    Column("key", _Name, primary_key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, primary_key=True, autoincrement=False),
    Column("rank", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

run_inputs = Table(
    "run_inputs",
    schema,
    Column("run", BigInteger, primary_key=True, autoincrement=False),
    Column("name", _Name, primary_key=True),
    Column("digest", _Name, primary_key=True),
    Column("context", _Name),
    Column("position", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("run_inputs_name", "name", "digest", "run"),
    sqlite_with_rowid=False,
)

run_outputs = Table(
    "run_outputs",
    schema,
    Column("run", BigInteger, primary_key=True, autoincrement=False),
    Column("model", _Name, primary_key=True),
    Column("step", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

RUN_TABLES = (run_parameters, run_tags, run_metrics, metric_points, run_inputs, run_outputs)
"""What hangs on a run's key."""
