"""What a canary is decided by, simulated: a version with as many errors, or more, or slower, beside the documented defaults of two peers.

    python benchmarks/rollouts/canary.py [--worlds 1000] [--seed 1]

An hour, looked at every minute; the stable version gets four times the canary's traffic and fails 0.5 % of its requests. Rota: the judge's own
functions, `error_rate(margin=0.001)` and `latency_p95(ratio=1.2)`. Flagger's documented canary: a minute below 99 % success is a failed
check, five of them (never reset) roll back. Argo Rollouts' documented analysis: five minutes below 95 % are a failed measurement, more
than three roll back. Printed: the share of worlds that fail, that pass, and the median minute of each.
"""

import argparse

import numpy as np
import polars as pl

from rota.deploy.decision_rules import judged_errors
from rota.deploy.judge import judged_latency
from rota.records.release import error_rate, latency_p95
from rota.stats.count_evidence import ArmCounts

MINUTES, STABLE_TIMES, BASE, RATIO = 60, 4, 0.005, 1.2


def errors(random: np.random.Generator, a_minute: int, rate: float, worlds: int) -> dict[str, list[tuple[str, int]]]:
    analysis, found = error_rate(margin=0.001), dict[str, list[tuple[str, int]]]()
    for _ in range(worlds):
        rows = [random.poisson(a_minute * share, MINUTES) for share in (1, STABLE_TIMES)]
        failed = [random.binomial(arm, share) for arm, share in zip(rows, (rate, BASE), strict=True)]
        counts = zip(*(column.cumsum().tolist() for column in (failed[0], rows[0], failed[1], rows[1])), strict=True)
        found.setdefault("rota", []).append(_first(judged_errors(analysis, each, [each])[0] for each in (ArmCounts(*row) for row in counts)))
        success = 1 - np.divide(failed[0], rows[0], out=np.zeros(MINUTES), where=rows[0] > 0)
        found.setdefault("flagger", []).append(_limit(success < 0.99, 5, 1))
        five = failed[0].reshape(-1, 5).sum(1), rows[0].reshape(-1, 5).sum(1)
        found.setdefault("argo", []).append(_limit(1 - np.divide(*five, out=np.zeros(len(five[0])), where=five[1] > 0) < 0.95, 4, 5))
    return found


def latency(random: np.random.Generator, a_minute: int, factor: float, worlds: int) -> list[tuple[str, int]]:
    """Log-normal times with a standard deviation of 0.5 in the logarithm: a 95th percentile of 2.3 times the median."""
    found = []
    for _ in range(worlds):
        arms = []
        for share, times in ((1, factor), (STABLE_TIMES, 1.0)):
            at = np.sort(random.random(random.poisson(a_minute * share * MINUTES)) * MINUTES * 60e6).astype(np.int64)
            latency_us = (random.lognormal(8, 0.5, len(at)) * times).astype(np.int64)
            arms.append(pl.DataFrame({"period": 0, "at_us": at, "latency_us": latency_us}))
        seen = ([arm.filter(pl.col("at_us") < minute * 60e6) for arm in arms] for minute in range(1, MINUTES + 1))
        found.append(_first(judged_latency(latency_p95(ratio=RATIO), *each)[0] for each in seen))
    return found


def _first(outcomes) -> tuple[str, int]:
    return next(((outcome, minute) for minute, outcome in enumerate(outcomes, 1) if outcome != "inconclusive"), ("inconclusive", 0))


def _limit(bad: np.ndarray, allowed: int, step_minutes: int) -> tuple[str, int]:
    beyond = np.flatnonzero(bad.cumsum() >= allowed)
    return ("fail", int(beyond[0] + 1) * step_minutes) if len(beyond) else ("pass", MINUTES)


def _row(name: str, ends: list[tuple[str, int]]) -> None:
    shown = []
    for wanted in ("fail", "pass"):
        minutes = [minute for outcome, minute in ends if outcome == wanted]
        shown.append(f"{wanted} {len(minutes) / len(ends):6.1%}" + (f" (minute {np.median(minutes):4.0f})" if minutes else " " * 14))
    print(f"  {name:<10} {'   '.join(shown)}   undecided {sum(outcome == 'inconclusive' for outcome, _ in ends) / len(ends):6.1%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    for a_minute in (20, 200, 2_000):
        for rate in (BASE, 2 * BASE, 4 * BASE):
            print(f"{a_minute} canary requests a minute, {rate:.1%} of them fail")
            for name, ends in errors(np.random.default_rng(wanted.seed), a_minute, rate, wanted.worlds).items():
                _row(name, ends)
    for a_minute, factor in ((20, 1.0), (20, 1.3), (200, 1.0), (200, 1.3)):
        print(f"{a_minute} canary requests a minute, {factor:g} times as slow")
        _row("rota", latency(np.random.default_rng(wanted.seed), a_minute, factor, max(1, wanted.worlds // 10)))


if __name__ == "__main__":
    main()
