"""Process 7 on the command line: schemas, their versions, and data held against them."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from rota.cli import show
from rota.cli.opening import opened
from rota.errors import Corrupt, InvalidInput, NotFound
from rota.manage.datasets import build as datasets
from rota.manage.datasets import schema_inference, schemas
from rota.manage.datasets.schema_edits import Edits, SchemaDifference, apply, differences
from rota.manage.repositories import Repositories
from rota.records.dataset import DatasetVersion
from rota.records.record import decode, encode, plain
from rota.records.schema import ColumnSchema, Schema, Statistics
from rota.stats.schema_validation import validate
from rota.stats.summarize import summarize
from rota.stats.table_summary import TableSummary
from rota.wiring import Platform

commands = typer.Typer(
    no_args_is_help=True, help="Schemas: list, infer, show, edit, freeze, diff, validate.\n\nExample: rota data schema show flight-delay"
)
Reference = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="A schema; without a version its newest one.")]
Freeze = Annotated[bool, typer.Option("--freeze", help="Make it the active schema of the data gate at once.")]


@commands.command("list")
def list_schemas(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Only the versions of this schema.")] = "",
    limit: show.Limit = 50,
    json: show.Json = False,
) -> None:
    """List versions of schemas, newest first, with who made them and which were frozen.

    Example: rota data schema list flight-delay
    """
    with opened(ctx, "data.read") as platform:
        found = platform.repositories.metadata.page(Schema, {"name": name} if name else None, order="-version", limit=limit)
    columns = {
        "schema": lambda s: f"{s.name}@{s.version}",
        "columns": lambda s: len(s.columns),
        "from": lambda s: s.dataset,
        "author": lambda s: s.author,
        "made": lambda s: show.when(s.created_us or None),
        "frozen": lambda s: show.when(s.frozen_us),
    }
    show.listing(found, columns, as_json=json, empty="there is no schema yet; a training run or `rota data schema infer` makes one")


@commands.command()
def infer(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A dataset version NAME@NUMBER, a Parquet, CSV or JSON-lines file, or a pipeline.")],
    name: Annotated[str, typer.Option(help="Name of the schema; otherwise that of the dataset or file.")] = "",
    from_pipeline: Annotated[bool, typer.Option("--from-pipeline", help="SOURCE is a pipeline: take its newest dataset version.")] = False,
    label: Annotated[str, typer.Option(help="Column of a file that is known in TRAINING only.")] = "",
    freeze: Freeze = False,
    json: show.Json = False,
) -> None:
    """Infer a schema from clean data, as the next version of its name.

    Example: rota data schema infer flight-delay@3 --freeze
    """
    with opened(ctx, "data.write") as platform:
        repositories = platform.repositories
        path = Path(source)
        if path.suffix.lower() in schema_inference.READERS:
            table = schema_inference.file_table(path)
            inferred = schema_inference.of_table(name or path.stem, table, label=label, dataset=path.name)
        else:
            version = _newest_dataset(repositories, source) if from_pipeline else _dataset(repositories, source)
            inferred = schema_inference.of_version(repositories, version, name or version.name)
        made = schemas.create(repositories.metadata, inferred, author=platform.identity.name, now_us=repositories.clock.now_us())
        made = _frozen(platform, made, wanted=freeze)
    _print(made, active=None, as_json=json)


@commands.command("show")
def show_schema(
    ctx: typer.Context,
    schema: Reference,
    output: Annotated[Path | None, typer.Option(help="Write it to a file, to be edited and given to `edit --file`.")] = None,
    json: show.Json = False,
) -> None:
    """Show what a schema expects of each column.

    Example: rota data schema show flight-delay
    """
    with opened(ctx, "data.read") as platform:
        found = schemas.get(platform.repositories.metadata, schema)
        active = schemas.active(platform.repositories.metadata, found.name)
    if output is not None:
        output.write_bytes(_pretty(found))
        print(f"{found.name}@{found.version} is in {output}; `rota data schema edit {found.name} --file {output}` makes it the next version")
        return
    _print(found, active=active, as_json=json)


@commands.command()
def edit(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the schema; its newest version is edited.")],
    setting: Annotated[list[str] | None, typer.Option("--set", help="temp.maximum=130, carrier.domain+=XX, min_examples=100.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="A column to remove.")] = None,
    policy: Annotated[list[str] | None, typer.Option("--policy", help="[COLUMN.]KIND=fail|warn|ignore|default; KIND may be *.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="The whole schema, as `show --output` wrote it and you changed it.")] = None,
    freeze: Freeze = False,
    json: show.Json = False,
) -> None:
    """Edit a schema: the next version, which becomes active when it is frozen.

    Example: rota data schema edit flight-delay --set origin_weather__temp.maximum=130 --policy COMPARATOR_L_INFTY_HIGH=ignore
    """
    edits = Edits(setting or (), remove or (), policy or ())
    with opened(ctx, "data.write") as platform:
        repositories = platform.repositories
        before = schemas.get(repositories.metadata, name) if file is None else _read(file, name)
        edited = schemas.edit(repositories.metadata, apply(before, edits), author=platform.identity.name, now_us=repositories.clock.now_us())
        if edited.version == before.version and not json:
            print(f"nothing changes; {name}@{edited.version} stays")
        made = _frozen(platform, edited, wanted=freeze)
        old = schemas.get(repositories.metadata, f"{name}@{before.version}")
    if json:
        show.write_json(plain(made))
    elif made.version != before.version:
        print(f"{name}@{made.version}, {'frozen' if made.frozen_us else f'to be frozen with `rota data schema freeze {name}`'}\n")
        _print_differences(list(differences(old, made)), as_json=False)


@commands.command()
def freeze(ctx: typer.Context, schema: Reference, json: show.Json = False) -> None:
    """Make a version the active schema that gate 1 and monitoring hold data against; an older one too.

    Example: rota data schema freeze flight-delay@2
    """
    with opened(ctx, "data.write") as platform:
        repositories = platform.repositories
        made = schemas.freeze(repositories.metadata, schema, author=platform.identity.name, now_us=repositories.clock.now_us())
    if json:
        show.write_json(plain(made))
    else:
        print(f"{made.name}@{made.version} is the active version since {show.when(made.frozen_us)}")


@commands.command()
def diff(ctx: typer.Context, before: Reference, after: Reference, json: show.Json = False) -> None:
    """Show what two schemas state differently.

    Example: rota data schema diff flight-delay@1 flight-delay@2
    """
    with opened(ctx, "data.read") as platform:
        metadata = platform.repositories.metadata
        found = list(differences(schemas.get(metadata, before), schemas.get(metadata, after)))
    _print_differences(found, as_json=json)


@commands.command("validate")
def validate_data(
    ctx: typer.Context,
    schema: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="A schema; without a version the active one, else the newest.")],
    data: Annotated[str, typer.Argument(help="A Parquet, CSV or JSON-lines file, or a dataset version NAME@NUMBER.")],
    environment: Annotated[str, typer.Option(help="TRAINING, SERVING, or a name of your own; otherwise every column is expected.")] = "",
    previous: Annotated[str, typer.Option(help="Data before these, for drift comparators: a file or NAME@NUMBER.")] = "",
    serving: Annotated[str, typer.Option(help="Data as served, for skew comparators: a file or NAME@NUMBER.")] = "",
    json: show.Json = False,
) -> None:
    """Hold data against a schema; exit code 1 when an anomaly fails.

    Example: rota data schema validate flight-delay monday.parquet --environment SERVING
    """
    with opened(ctx, "data.read") as platform:
        repositories = platform.repositories
        found = None if "@" in schema else schemas.active(repositories.metadata, schema)
        expected = found or schemas.get(repositories.metadata, schema)
        anomalies = validate(
            expected,
            _observed(repositories, data, expected),
            environment=environment,
            previous=_statistics(repositories, previous, expected),
            serving=_statistics(repositories, serving, expected),
        )
    columns = {"severity": lambda a: a.severity, "column": lambda a: a.feature, "kind": lambda a: a.kind, "message": lambda a: a.message}
    show.listing(anomalies, columns, as_json=json, empty=f"{data} meets {expected.name}@{expected.version}")
    if any(anomaly.severity == "fail" for anomaly in anomalies):
        raise typer.Exit(1)


def _observed(repositories: Repositories, data: str, schema: Schema) -> TableSummary:
    """A file is read in parts; of a dataset version the columns that the schema names, as it also has columns of its own."""
    if Path(data).suffix.lower() in schema_inference.READERS:
        return summarize(schema_inference.batches(schema_inference.file_table(Path(data))), schema)
    rows = datasets.read(repositories.tables, _dataset(repositories, data))
    rows = rows.select([column.name for column in schema.columns if column.name in rows.columns])
    numbers = [column.name for column in schema.columns if column.type == "float" and column.name in rows.columns]
    return summarize(rows.with_columns(schema_inference.as_model_sees(rows.select(numbers))), schema)


def _statistics(repositories: Repositories, data: str, schema: Schema) -> Statistics | None:
    return _observed(repositories, data, schema).statistics() if data else None


def _dataset(repositories: Repositories, reference: str) -> DatasetVersion:
    name, _, number = reference.partition("@")
    if not number.isdecimal():
        raise InvalidInput(
            f"{reference!r} is neither a dataset version such as flight-delay@3 nor a file that ends in {', '.join(schema_inference.READERS)}; "
            f"for the newest dataset of a pipeline say --from-pipeline",
            source=reference,
        )
    return datasets.get(repositories.metadata, name, int(number))


def _newest_dataset(repositories: Repositories, pipeline: str) -> DatasetVersion:
    found = repositories.metadata.page(DatasetVersion, {"name": pipeline}, order="-number", limit=1).items
    if not found:
        raise NotFound(f"pipeline {pipeline!r} has no dataset version yet; a training run builds one: `rota train {pipeline}`", pipeline=pipeline)
    return found[0]


def _frozen(platform: Platform, made: Schema, *, wanted: bool) -> Schema:
    if not wanted:
        return made
    r = platform.repositories
    return schemas.freeze(r.metadata, f"{made.name}@{made.version}", author=platform.identity.name, now_us=r.clock.now_us())


def _read(file: Path, name: str) -> Schema:
    if not file.is_file():
        raise NotFound(f"there is no file {file}; `rota data schema show {name} --output {file}` writes one", path=str(file))
    try:
        found = decode(file.read_bytes(), Schema)
    except Corrupt as error:
        raise InvalidInput(f"file {file} is no schema: {error}", path=str(file)) from error
    if found.name != name:
        raise InvalidInput(f"file {file} is schema {found.name!r}, not {name!r}", path=str(file))
    return found


def _pretty(schema: Schema) -> bytes:
    return msgspec.json.format(encode(schema), indent=2) + b"\n"


def _print(schema: Schema, *, active: Schema | None, as_json: bool) -> None:
    if as_json:
        show.write_json(plain(schema))
        return
    state = f"frozen {show.when(schema.frozen_us)}" if schema.frozen_us else "not frozen"
    if active is not None and active.version != schema.version:
        state += f"; the active version is {active.version}"
    by = f", by {schema.author}" if schema.author else ""
    print(f"{schema.name}, version {schema.version}, from {schema.dataset or 'a table'}{by}, {state}\n")
    columns = {
        "column": lambda c: c.name,
        "type": lambda c: c.type,
        "nulls at most": lambda c: f"{c.max_null_share:.1%}",
        "values": _values,
        "also": _further,
    }
    show.listing(schema.columns, columns, as_json=False, empty="the schema has no columns")


def _values(column: ColumnSchema) -> str:
    if column.domain is not None:
        return f"{len(column.domain)} texts: {', '.join(column.domain[:5])}"
    ends = ["" if end is None else str(end) if isinstance(end, int) else f"{end:g}" for end in (column.minimum, column.maximum)]
    return " .. ".join(ends) if any(ends) else "any"


def _further(column: ColumnSchema) -> str:
    """Everything else that a column's schema states."""
    usual = plain(ColumnSchema(column.name, column.type))
    shown = {"name", "type", "max_null_share", "domain", "minimum", "maximum", "definition"}
    return "  ".join(f"{field}={value}" for field, value in plain(column).items() if field not in shown and value != usual[field])


def _print_differences(found: list[SchemaDifference], *, as_json: bool) -> None:
    if as_json:
        show.write_json([{"column": d.column, "field": d.field, "before": d.before, "after": d.after} for d in found])
        return
    columns = {"column": lambda d: d.column or "(schema)", "field": lambda d: d.field, "before": lambda d: d.before, "after": lambda d: d.after}
    show.listing(found, columns, as_json=False, empty="no difference")
