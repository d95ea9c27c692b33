"""The result of a check: passed, failed, or inconclusive with what is missing; one record for gates, analyses of a rollout and monitors."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from rota.records.record import Record

Judgement = Literal["pass", "fail", "inconclusive"]
WORDS: Mapping[Judgement, str] = {"pass": "passed", "fail": "refused", "inconclusive": "could not judge"}
"""How a gate's judgement is told to people."""
CheckState = Literal["watching", "learning", "cannot", "off"]
STATES: tuple[CheckState, ...] = ("watching", "learning", "cannot", "off")


class CheckResult(Record, frozen=True):
    """What one check saw and decided. What could not be judged is `inconclusive`, which never counts as passed.

    `check` is what was asked, `subject` about what (a feature, a slice column, a metric; "" = the whole), `message` the sentence a
    person reads. `missing` says what an inconclusive check lacks. `state` says whether the check sees: `watching` it does,
    `learning` what it lacks comes with time ("16 of 30 reference days"), `cannot` it does not come by itself, `off` nobody wants it to see, or
    there is nothing to see by its nature. `observed` lies
    between `lower` and `upper` where an interval is known, and is held against `bound`; `rows` were looked at. Where it is known how much
    a decision takes, an inconclusive check has `seen` so many of what is `counted`, of about `needed` (None: no number decides).
    """

    check: str
    outcome: Judgement
    message: str
    subject: str = ""
    missing: str = ""
    state: CheckState = "watching"
    observed: float | None = None
    lower: float | None = None
    upper: float | None = None
    bound: float | None = None
    rows: int = 0
    seen: int | None = None
    needed: int | None = None
    counted: str = ""

    @property
    def passed(self) -> bool:
        """Whether the check judged, and found what it wanted."""
        return self.outcome == "pass"


def state_words(result: CheckResult) -> str:
    """The state with what is behind it, as in "learning (16 of 30 reference days)"."""
    return f"{result.state} ({result.missing})" if result.missing and result.state != "watching" else result.state


def combined(results: Sequence[CheckResult]) -> tuple[Judgement, str]:
    """One failure fails; everything must pass to pass; and where nothing was judged the whole is inconclusive, not passed."""
    if not results:
        return "inconclusive", "nothing was judged"
    for outcome in ("fail", "inconclusive"):
        if found := [result.message for result in results if result.outcome == outcome]:
            return outcome, "; ".join(found)
    return "pass", "; ".join(result.message for result in results)


def from_stored(found: Mapping[str, Any]) -> CheckResult:
    """A result out of a run's journal or a rollout's history, as written today or before results had one record.

    Those wrote gates as (gate, passed, message, observed, bound) and analyses as (kind, outcome, message, estimate, ...).
    """
    now = dict(found)
    if "gate" in now:
        now |= {"check": now.pop("gate"), "outcome": "pass" if now.pop("passed") else "fail"}
    if "kind" in now:
        now |= {"check": now.pop("kind"), "observed": now.pop("estimate", None)}
    return msgspec.convert(now, CheckResult)


def unjudged(results: Sequence[CheckResult]) -> list[str]:
    """What could not be judged, one text for each check that is inconclusive: its subject and what is missing."""
    return [f"{_name(result)}: {result.missing or result.message}" for result in results if result.outcome == "inconclusive"]


def still_needed(result: CheckResult) -> str:
    """How many rows an inconclusive check still waits for, as a text; "" where that is not known."""
    if result.outcome != "inconclusive" or result.seen is None:
        return ""
    if result.needed is None:
        return result.missing
    if result.seen < result.needed:
        return f"{result.seen:,} of about {result.needed:,} {result.counted}, {result.needed - result.seen:,} still needed"
    return f"{result.seen:,} {result.counted}, of which about {result.needed:,} decide on an equal one: this one lies near what is allowed"


def waiting_for(results: Sequence[CheckResult]) -> str:
    """What a judgement that is inconclusive waits for, each check by its name; "" when none is."""
    texts = [f"{_name(result)}: {still_needed(result) or result.missing}" for result in results if result.outcome == "inconclusive"]
    return "; ".join(texts)


def _name(result: CheckResult) -> str:
    check = result.check.replace("_", " ")
    return f"{check} of {result.subject}" if result.subject else check
