"""Whether analyses decide when the plan of a rollout says, simulated: the share of worlds that have decided by the planned number of rows.

    python benchmarks/rollouts/plan.py [--worlds 400] [--seed 1]

The plan promises a power of 0.8. For each setting: rows of the candidate by the plan, the share of worlds that decided by then, and the rows by
which 80 % of the worlds had decided. Looked at 50 times up to the plan, then on to three times as many rows.
"""

import argparse

import numpy as np

from rota.deploy import sample_size
from rota.deploy.decision_rules import SLOW, judged_errors, judged_slow
from rota.records.release import error_rate
from rota.stats.count_evidence import ArmCounts

LOOKS, BEYOND = 50, 3


def decided(random: np.random.Generator, planned: int, times: float, rates: tuple[float, float], decide, wanted: str) -> int:
    """The candidate's rows at the look that decided as wanted; far beyond when none did."""
    rows = np.linspace(planned / LOOKS, planned * BEYOND, LOOKS * BEYOND).astype(int)
    arms = [np.maximum(1, (rows * share).astype(int)) for share in (1, times)]
    hits = [random.binomial(np.diff(arm, prepend=0), rate).cumsum() for arm, rate in zip(arms, rates, strict=True)]
    for looked, counts in enumerate(zip(hits[0], arms[0], hits[1], arms[1], strict=True)):
        outcome = decide(ArmCounts(*map(int, counts)))
        if outcome != "inconclusive":
            return int(rows[looked]) if outcome == wanted else planned * 100
    return planned * 100


def _row(name: str, planned: int | None, worlds: list[int]) -> None:
    share = np.mean([each <= planned for each in worlds])
    print(f"  {name:<48} plan {planned:>9,}   decided by then {share:6.1%}   80 % by {int(np.quantile(worlds, 0.8)):>9,}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    random = np.random.default_rng(wanted.seed)
    for times in (0.5, 1.0, 4.0):
        print(f"{times:g} predictions of the stable version to one of the candidate's")
        for base, analysis in ((0.005, error_rate(margin=0.01)), (0.005, error_rate(ratio=2, margin=0)), (0.05, error_rate(margin=0.02))):

            def rule(counts, analysis=analysis):
                return judged_errors(analysis, counts, [counts])[0]

            name = f"{base:.1%} fail, margin {analysis.bound:g}, ratio {analysis.ratio:g}"
            planned = sample_size.to_clear_errors(analysis, rate=base, times=times)
            _row(f"{name}: an equal one", planned, [decided(random, planned, times, (base, base), rule, "pass") for _ in range(wanted.worlds)])
            planned, bad = sample_size.to_find_errors(analysis, rate=base, times=times), 2 * (analysis.ratio * base + analysis.bound)
            _row(f"{name}: a bad one", planned, [decided(random, planned, times, (bad, base), rule, "fail") for _ in range(wanted.worlds)])
        for slow in (0.02, 0.2):
            fine = slow < SLOW
            find = sample_size.to_clear_latency if fine else sample_size.to_find_latency
            planned = find(slow=slow, times=times)

            def rule_slow(counts):
                return judged_slow([counts])

            worlds = [decided(random, planned, times, (slow, SLOW), rule_slow, "pass" if fine else "fail") for _ in range(wanted.worlds)]
            _row(f"{slow:.0%} of the candidate's answers are slow", planned, worlds)


if __name__ == "__main__":
    main()
