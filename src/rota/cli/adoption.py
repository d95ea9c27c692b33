"""Models from elsewhere on the command line: adopt what was registered, allow pickle, say what is normal."""

from pathlib import Path
from typing import Annotated

import typer

from rota.cli import show
from rota.cli.opening import opened
from rota.manage.adoption import baselines
from rota.manage.datasets import schema_inference
from rota.manage.models import model_versions, pickle_signing
from rota.records.model import ModelVersion

models = typer.Typer()

Version = Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="A version by number or alias, for example churn@3 or churn@champion.")]
Model = Annotated[str, typer.Argument(help="Name of the model.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit log.")]


@models.command()
def adopt(ctx: typer.Context, version: Version, json: show.Json = False) -> None:
    """Make a version that came with foreign files servable, or say why it is not.

    A worker does this by itself for every version that is registered; do it again when the reason is gone.

    Example: rota models adopt churn@1
    """
    with opened(ctx, "model.register") as platform:
        found = model_versions.resolve(platform.repositories.metadata, version)
        made = platform.models.adopter.adopt(found.model, found.number, actor=platform.identity.name)
    told(made, json=json)


@models.command("allow-pickle")
def allow_pickle(ctx: typer.Context, model: Model, reason: Reason, json: show.Json = False) -> None:
    """Allow that a model's versions are kept as pickle, which runs code when it is loaded.

    Example: rota models allow-pickle churn --reason "written by our own team, see ticket 12"
    """
    with opened(ctx, "model.unsafe") as platform:
        r = platform.repositories
        made = pickle_signing.allow(r.metadata, model, actor=platform.identity.name, reason=reason, now_us=r.clock.now_us())
    show.facts({"model": made.model, "allowed by": made.allowed_by, "reason": made.reason}, as_json=json, record=made)


@models.command("forbid-pickle")
def forbid_pickle(ctx: typer.Context, model: Model, reason: Reason, json: show.Json = False) -> None:
    """Withdraw the allowance: no process loads a pickle of this model any more; one that serves it does until it ends.

    Example: rota models forbid-pickle churn --reason "replaced by ONNX"
    """
    with opened(ctx, "model.unsafe") as platform:
        r = platform.repositories
        made = pickle_signing.forbid(r.metadata, model, actor=platform.identity.name, reason=reason, now_us=r.clock.now_us())
    show.facts({"model": made.model, "withdrawn": show.when(made.withdrawn_us or 0)}, as_json=json, record=made)


@models.command()
def baseline(
    ctx: typer.Context,
    version: Version,
    data: Annotated[Path, typer.Option(help="Reference rows: a .parquet, .csv or .jsonl file with the columns of the model's requests.")],
    timestamp: Annotated[str, typer.Option(help="The column with each row's moment; without one the rows are spread over 30 days.")] = "",
    label: Annotated[str, typer.Option(help="The column with each row's truth, kept with the rows.")] = "",
    json: show.Json = False,
) -> None:
    """Say what is normal for a model that was not trained here: its monitor compares what is served with these rows.

    Without a baseline the first 7 complete days that are served are taken for normal.

    Example: rota models baseline churn@1 --data training.parquet --timestamp asked_at
    """
    with opened(ctx, "data.write") as platform:
        r = platform.repositories
        found = model_versions.resolve(r.metadata, version)
        table = schema_inference.file_table(data)
        made = baselines.of_rows(r, found, table, timestamp=timestamp, label=label, actor=platform.identity.name)
    facts = {"schema": f"{made.name}@{made.version}", "rows": made.dataset, "columns": [column.name for column in made.columns]}
    show.facts(facts, as_json=json, record=made)


def told(version: ModelVersion, *, json: bool) -> None:
    """What a version became."""
    facts = {"version": version.id, "status": version.status, "source": version.source}
    facts |= {"format": version.format} if version.bundle else {"cannot be served": version.unservable}
    facts |= {"an answer is": version.answer} if version.answer else {}
    facts |= {"parity": version.parity.sentence} if version.parity else {}
    facts |= {"engine": version.engine.sentence} if version.engine else {}
    show.facts(facts, as_json=json, record=version)
