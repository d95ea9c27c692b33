"""Find experiments and runs by what people type: a name, an id or its beginning, a filter."""

from collections.abc import Iterator, Sequence
from typing import Any

from rota.errors import InvalidInput, NotFound
from rota.manage.experiments.input_tracking import untracked
from rota.manage.experiments.search_grammar import parse_filter, parse_order
from rota.ports.tracking import Tracking
from rota.records.filters import Comparison, Page, Query, View
from rota.records.record import plain
from rota.records.tracking import Experiment, ExperimentRun

_PAGE = 10_000
SHORTEST_PREFIX = 4


def experiment(tracking: Tracking, name: str) -> Experiment:
    """An experiment by its name or id."""
    found = tracking.experiment_named(name) or tracking.experiment(name)
    if found is None:
        known = [each.name for each in tracking.search_experiments(Query(limit=20)).items]
        raise NotFound(f"there is no experiment {name!r}; the newest are {known}, `rota experiments list` shows all", experiment=name)
    return found


def names(tracking: Tracking) -> dict[str, str]:
    """The name of every experiment by its id, also of the deleted ones."""
    return {each.id: each.name for each in _every_experiment(tracking, "all")}


def run(tracking: Tracking, identity: str) -> ExperimentRun:
    """A run by its id, or by a beginning of it that no other run has."""
    found = tracking.run(identity)
    if found is not None:
        return found
    if len(identity) >= SHORTEST_PREFIX and identity.isalnum():
        starts = Comparison("attribute", "run_id", "LIKE", f"{identity}%")
        near = tracking.search_runs(_all_experiments(tracking), Query((starts,), limit=3, view="all")).items
        if len(near) == 1:
            return near[0]
        if near:
            raise InvalidInput(
                f"run {identity!r} is the beginning of several ids, among them {[each.id for each in near]}; give more of it", run=identity
            )
    raise NotFound(f"there is no tracked run {identity!r}; `rota runs list` and `rota runs search` show what there is", run=identity)


def runs(
    tracking: Tracking,
    text: str = "",
    *,
    experiments: Sequence[str] = (),
    order: Sequence[str] = (),
    limit: int = 100,
    page: str = "",
    view: View = "active",
) -> Page[ExperimentRun]:
    """Runs that a filter such as `metrics.auc > 0.8 and params.depth = "8"` finds, in the named experiments or in all."""
    ids = [experiment(tracking, name).id for name in experiments] or _all_experiments(tracking)
    return tracking.search_runs(ids, Query(parse_filter(text, "run"), parse_order(list(order), "run"), limit, page, view))


def as_json(run: ExperimentRun) -> dict[str, Any]:
    """A run as plain values, with its newest metrics by name and whether its input is known."""
    return {**plain(run), "metrics": run.metrics, "untracked_input": untracked(run.inputs)}


def children(tracking: Tracking, parent: ExperimentRun) -> list[ExperimentRun]:
    """The runs nested in a run, oldest first."""
    nested, found, page = (Comparison("attribute", "parent", "=", parent.id),), list[ExperimentRun](), ""
    while True:
        some = tracking.search_runs([parent.experiment], Query(nested, limit=_PAGE, page=page, view="all"))
        found, page = [*found, *some.items], some.next
        if not page:
            return found[::-1]


def _all_experiments(tracking: Tracking) -> list[str]:
    return [each.id for each in _every_experiment(tracking, "active")]


def _every_experiment(tracking: Tracking, view: View) -> Iterator[Experiment]:
    page = ""
    while True:
        some = tracking.search_experiments(Query(limit=_PAGE, page=page, view=view))
        yield from some.items
        page = some.next
        if not page:
            return
