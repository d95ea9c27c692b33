"""Process 6 without a home: two files compared at once, on the command line."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from rota import engines, programs
from rota.cli import show
from rota.records.comparison import ColumnComparison, FrameComparison, MetricComparison, Preset
from rota.records.schema import Anomaly
from rota.rendering.comparison_report import by_change
from rota.rendering.profile_view import INSTALL

commands = typer.Typer()


class PresetName(Enum):
    """What is compared."""

    QUALITY = "quality"
    DRIFT = "drift"
    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    RANKING = "ranking"


@commands.command()
def compare(  # noqa: PLR0913, PLR0917 - the options of a command, each by its name
    reference: Annotated[Path, typer.Argument(help="A .parquet, .csv or .jsonl file that is taken for normal.")],
    current: Annotated[Path, typer.Argument(help="A file that is held against it.")],
    preset: Annotated[
        list[PresetName] | None, typer.Option(help="What is compared; may be given several times. Without it: quality and drift.", show_default=False)
    ] = None,
    label: Annotated[str, typer.Option(help="Column of the truth, for metrics.")] = "",
    answer: Annotated[
        list[str] | None, typer.Option(help="Column of the model's answers; several: a probability for each class.", show_default=False)
    ] = None,
    group: Annotated[str, typer.Option(help="Column that names the groups of a ranking.")] = "",
    output: Annotated[Path | None, typer.Option(help="Write the report to this .html or .json file.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 1 unless every check passed; one that is off does not count.")] = False,
    json: show.Json = False,
) -> None:
    """Compare two files at once, without a home: data quality, drift of each column, and metrics where labels are known.

    Example: rota data compare january.parquet february.parquet --preset drift --output report.html
    """
    answers = answer or [""]
    presets: list[Preset] = [each.value for each in preset or (PresetName.QUALITY, PresetName.DRIFT)]
    scored = answers[0] if len(answers) == 1 else answers
    report = programs.compare(reference, current, presets=presets, label=label, answer=scored, group=group)
    if output is not None:
        report.save(output)
    if json:
        show.write_json(report.to_dict())
    else:
        _print(report.found)
        if output is not None:
            print(f"\nwrote {output}" + ("" if output.suffix == ".json" or engines.drawing() else f"; its charts are tables: {INSTALL} draws them"))
    if strict and report.outcome != "pass":
        raise typer.Exit(1)


def _print(found: FrameComparison) -> None:
    facts = {
        "outcome": found.outcome,
        "rows": f"{found.current_rows:,} in {found.current}, {found.reference_rows:,} in {found.reference}",
        "drifted": (", ".join(found.drifted) or "no column") if found.columns else "not asked for",
        "note": "\n".join(found.notes),
    }
    show.facts({name: value for name, value in facts.items() if value}, as_json=False)
    for records, columns in ((found.metrics, _METRICS), (by_change(found), _DISTANCES), (found.anomalies, _ANOMALIES)):
        if records:
            print()
            show.listing(records, columns, as_json=False, empty="")  # type: ignore[arg-type]  # each with the columns of its own records
    print()
    show.checks(found.checks)


def _distance(name: str) -> Callable[[ColumnComparison], object]:
    return lambda column: f"{column.distances[name]:.3g}" if name in column.distances else ""


def _verdict(column: ColumnComparison) -> str:
    return "off" if column.check.state == "off" else {"fail": "drifted", "pass": "", "inconclusive": "not judged"}[column.check.outcome]


_METRICS: dict[str, Callable[[MetricComparison], object]] = {
    "metric": lambda m: m.name,
    "reference": lambda m: m.reference,
    "current": lambda m: m.current,
    "change": lambda m: m.difference,
    "interval": lambda m: "" if m.lower is None or m.upper is None else f"{m.lower:+.4g} to {m.upper:+.4g} ({m.level:.0%})",
    "better is": lambda m: "higher" if m.higher_is_better else "lower",
}
_ANOMALIES: dict[str, Callable[[Anomaly], object]] = {
    "anomaly": lambda a: a.kind,
    "column": lambda a: a.feature,
    "severity": lambda a: a.severity,
    "what it is": lambda a: a.message,
}
_DISTANCES: dict[str, Callable[[ColumnComparison], object]] = {
    "column": lambda c: c.name,
    "drift": _verdict,
    **{
        name.replace("_", " "): _distance(name)
        for name in ("ks", "wasserstein", "chi_square", "l_infinity", "psi", "jensen_shannon", "nulls", "p_value")
    },
}
