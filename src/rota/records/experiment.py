"""Experiments as a project declares them: A/B tests with a planned end, bandits, and business figures to decide by."""

from collections.abc import Sequence
from typing import Any, Literal

from rota.errors import InvalidInput
from rota.records.record import check_name
from rota.records.release import Analysis, Canary, TrafficTest
from rota.records.time import micros


def kpi(outcome: str, *, per: str = "", margin: float = 0.0, higher_is_better: bool = True) -> Analysis:
    """A business figure: the sum of a reported outcome over the predictions, with `per="unit"` over the units, or over the sum of another outcome.

    Outcomes join by prediction id; a prediction without one counts as 0. As a guardrail or an analysis of a rollout the candidate's figure may
    be worse by at most `margin`, in the figure's own unit; what an experiment is decided by has no margin.

    >>> kpi("revenue").subject, kpi("revenue", per="order").subject
    ('revenue_per_prediction', 'revenue_per_order')
    """
    if per not in ("", "unit", "prediction"):
        check_name("outcome", per)
    per = "" if per == "prediction" else per
    return Analysis("kpi", margin, check_name("outcome", outcome), per=per, higher_is_better=higher_is_better)


def ab_test(
    primary: Analysis | str,
    *,
    guardrails: Sequence[Analysis] = (),
    weight: int = 50,
    design: Literal["group_sequential", "always_valid"] = "group_sequential",
    **options: Any,
) -> Canary:
    """An A/B test as a strategy: `weight` percent of the units get the candidate, sticky, until the primary figure has a winner.

    `primary` is `kpi(...)`, `error_rate()` or the name of a loss. A planned test (group_sequential) needs `units` (of all arms), or `min_effect`, the
    smallest difference worth finding, from which its start plans them; it is looked at `looks` times. The candidate is promoted when it wins
    and no guardrail is worse than allowed, both at an error that holds however often it is looked at. `options` are fields of `TrafficTest`
    and, as of a `Canary`: `unit`, `hold` (time between two looks), `max_duration`, `on_inconclusive` ("hold" or "roll_back").

    >>> ab_test(kpi("revenue"), min_effect=0.1, unit="customer").test.primary.subject
    'revenue_per_prediction'
    """
    return _experiment("ab", primary, guardrails, {"design": design, "weight": weight, **options})


def bandit(primary: Analysis | str, *, guardrails: Sequence[Analysis] = (), top_two: bool = False, window: str, **options: Any) -> Canary:
    """A bandit as a strategy: the split moves to the versions that bring more, by batched Thompson sampling, until one is known to be the best.

    `window` is how long an outcome may take: a prediction counts once its window has closed, so that no outcome yet is no failure. Every change of
    the split is a release, so the propensity of a prediction is the weight of its version in the release that its log row names. `options`
    as for `ab_test`; of a `TrafficTest` `burn_in`, `floor`, `probability` and `loss`.
    """
    if not micros(window):
        raise InvalidInput(f'bandit(window={window!r}): an outcome takes some time; give the window in which it counts, for example "24h"')
    return _experiment("bandit", primary, guardrails, {"design": "top_two" if top_two else "thompson", "window": window, **options})


def _experiment(strategy: Literal["ab", "bandit"], primary: Analysis | str, guardrails: Sequence[Analysis], options: dict[str, Any]) -> Canary:
    asked = Analysis("metric", 0.0, primary) if isinstance(primary, str) else primary
    of_test = {name: options.pop(name) for name in TrafficTest.__struct_fields__ if name in options}
    if unknown := sorted(options.keys() - {"unit", "hold", "max_duration", "on_inconclusive"}):
        known = [*TrafficTest.__struct_fields__, "unit", "hold", "max_duration", "on_inconclusive"]
        raise InvalidInput(f"an experiment has no {unknown}; it has {known}", unknown=unknown)
    given = {"hold": "1h", "max_duration": "28d", **options}
    return Canary(strategy=strategy, steps=(), analysis=guardrails, test=TrafficTest(asked, **of_test), **given)
