"""The states of a rollout, and what each verb does in each of them.

| state | what it is | promote | abort | pause | resume | retry | undo |
|---|---|---|---|---|---|---|---|
| waiting | another rollout of its endpoint goes on before it | - | - | - | - | - | - |
| progressing | its stages are held and judged | promoted | rolled_back | paused | - | - | - |
| paused | the split stays, nothing is judged | promoted | rolled_back | paused | progressing | - | - |
| held | undecided after `max_duration`: judged on; an alert tells what is missing | promoted | rolled_back | paused | progressing | - | - |
| promoted | its version is the endpoint's stable one | - | - | - | - | - | replaced |
| replaced | was promoted; the endpoint serves another version now | - | - | - | - | waiting | - |
| rolled_back | the traffic returned to the champion | - | - | - | - | waiting | - |
| never_began | its run ended before any traffic: refused, cancelled, superseded | - | - | - | - | waiting | - |

A verb that a state has no column for is refused, with the states that have it. `retry` makes a new rollout, which waits for its turn. Each
but `resume` needs a reason; a `resume` of a paused rollout that was held before leaves it held, one of a held one waits for another `max_duration`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rota.deploy.releases import current_release
from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.repositories import Repositories
from rota.ports.metadata import Metadata
from rota.records.release import Release, Rollout
from rota.records.run import OPEN_STATUSES, Run
from rota.records.time import iso

State = Literal["waiting", "progressing", "paused", "held", "promoted", "replaced", "rolled_back", "never_began"]
Verb = Literal["promote", "abort", "pause", "resume", "retry", "undo"]

_UNDER_WAY: Mapping[Verb, State] = {"promote": "promoted", "abort": "rolled_back", "pause": "paused"}
BECOMES: Mapping[State, Mapping[Verb, State]] = {
    "waiting": {},
    "progressing": _UNDER_WAY,
    "paused": {**_UNDER_WAY, "resume": "progressing"},
    "held": {**_UNDER_WAY, "resume": "progressing"},
    "promoted": {"undo": "replaced"},
    "replaced": {"retry": "waiting"},
    "rolled_back": {"retry": "waiting"},
    "never_began": {"retry": "waiting"},
}
VERBS: tuple[Verb, ...] = ("promote", "abort", "pause", "resume", "retry", "undo")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a rollout stands: its state, its durable run and, once it has begun, its record."""

    id: str
    state: State
    run: Run | None = None
    rollout: Rollout | None = None


def standing(repositories: Repositories, rollout: str) -> Standing:
    """Where a rollout stands; raises `NotFound` when nothing was delivered under this id."""
    found, run = repositories.metadata.get(Rollout, rollout), repositories.runs.get(rollout)
    if found is not None:
        return Standing(rollout, state_of(repositories.metadata, found), run, found)
    if run is None or run.workflow != "rollout":
        raise NotFound(f"there is no rollout {rollout!r}; `rota rollout list` shows them", rollout=rollout)
    return Standing(rollout, "waiting" if run.status in OPEN_STATUSES else "never_began", run)


@dataclass(frozen=True, slots=True)
class RunningExperiment:
    """An experiment that began, and the percent of the traffic that each version has now, or had last."""

    rollout: Rollout
    split: Mapping[int, int]


def experiment(repositories: Repositories, rollout: str) -> RunningExperiment:
    """An experiment that began; raises `NotFound` for an unknown one, `InvalidInput` for a rollout that is none, `Refused` before it begins."""
    standing_ = standing(repositories, rollout)
    found = standing_.rollout
    if found is None:
        is_over = standing_.state == "never_began"
        said = "ended before any traffic" if is_over else "has not begun"
        raise Refused(
            f"experiment {rollout!r} {said}; `rota rollout show {rollout}` says {'why' if is_over else 'what it waits for'}", rollout=rollout
        )
    if found.strategy is None or found.strategy.experiment is None:
        raise InvalidInput(f"rollout {rollout!r} is no experiment; `rota rollout show {rollout}` shows it", rollout=rollout)
    releases = repositories.metadata.find(Release, {"endpoint": found.endpoint}, order="-revision")
    own = [each for each in releases if each.rollout == rollout and (found.ended_us is None or len(each.routes) > 1)]
    split = {route.number: route.weight for route in own[0].routes} if own else {}
    return RunningExperiment(found, split)


def state_of(metadata: Metadata, rollout: Rollout) -> State:
    """The state of a rollout that has begun."""
    if rollout.phase != "promoted":
        return rollout.phase
    release = current_release(metadata, rollout.endpoint)
    stable = next((route.number for route in release.routes if route.role == "stable"), 0) if release is not None else 0
    return "promoted" if stable == rollout.candidate else "replaced"


def verb_of(text: str) -> Verb:
    """The verb that a text names; `InvalidInput` otherwise."""
    found = next((verb for verb in VERBS if verb == text), None)
    if found is None:
        raise InvalidInput(f"a rollout cannot {text!r}; it can {', '.join(VERBS)}", verb=text)
    return found


def check(found: Standing, verb: Verb, reason: str) -> None:
    """Whether a verb can act on a rollout now. Raises `InvalidInput` where its reason is missing, `Refused` in a state that does not have it."""
    if verb != "resume" and not reason.strip():
        raise InvalidInput(f"{verb} of rollout {found.id!r} has no reason; say why, others will read it", rollout=found.id)
    if verb in BECOMES[found.state]:
        return
    can = ", ".join(BECOMES[found.state])
    where = [state for state, verbs in BECOMES.items() if verb in verbs]
    raise Refused(
        f"rollout {found.id!r} {_told(found)}; {verb} is for one that is {' or '.join(where)}{f'; this one can {can}' if can else ''}",
        rollout=found.id,
        state=found.state,
        can=list(BECOMES[found.state]),
    )


def _told(found: Standing) -> str:
    rollout, run = found.rollout, found.run
    if rollout is None:
        if found.state == "waiting":
            return f"waits for its turn; `rota runs cancel {found.id}` ends one that has not begun"
        return f"never began ({run.status}: {run.error})" if run is not None else "never began"
    if rollout.ended_us is None:
        return "is not paused or held, it is progressing, so there is nothing to resume" if found.state == "progressing" else f"is {found.state}"
    since = " and its endpoint serves another version now" if found.state == "replaced" else ""
    return f"ended at {iso(rollout.ended_us)} as {rollout.state}{since}: {rollout.reason}"
