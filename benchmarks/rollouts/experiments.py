"""Whether experiments keep their promises, simulated: false positives under many looks, power, sample ratios, CUPED, and what a bandit loses.

    python benchmarks/rollouts/experiments.py [--worlds 2000] [--bandits 200] [--seed 1]

A/B: 10,000 units an arm, 10 % convert, +12 % relative where there is an effect. Bandit: 2,000 units a day for 28 days, 10 % and 12 % convert, looked
at every six hours, outcomes within some hours; beside it Thompson sampling with a Beta posterior that learns of each outcome at once.
"""

import argparse
import math

import numpy as np

from rota.stats import effects, group_sequential, sample_ratio, sequential, thompson

ARM, BASE, LIFT = 10_000, 0.10, 0.12
DAYS, PER_LOOK, LOOKS_A_DAY = 28, 500, 4
ARMS = (0.10, 0.12)
BURN_IN, FLOOR, PROBABILITY, LOSS = 200, 5, 0.99, 0.01


def z_values(random: np.random.Generator, worlds: int, looks: int, rates: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """z of the difference at each look, and its standard error."""
    step = ARM // looks
    n = step * np.arange(1, looks + 1)
    p = [random.binomial(step, rate, (worlds, looks)).cumsum(axis=1) / n for rate in rates]
    error = np.sqrt(sum(each * (1 - each) for each in p) / n)
    return (p[1] - p[0]) / error, error


def tests(random: np.random.Generator, worlds: int) -> None:
    for name, rates in (("A/A", (BASE, BASE)), ("+12 %", (BASE, BASE * (1 + LIFT)))):
        print(f"{name}: share of {worlds} tests with a winner or a loser")
        fixed = np.abs(z_values(random, worlds, 1, rates)[0][:, 0]) > group_sequential.boundaries(1)[0]
        print(f"  one look at the end               {fixed.mean():6.1%}")
        for looks in (10, 50):
            z = z_values(random, worlds, looks, rates)[0]
            crossed = np.abs(z) > np.array(group_sequential.boundaries(looks))
            first = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, looks) / looks
            print(f"  group-sequential, {looks:>2} looks        {crossed.any(axis=1).mean():6.1%}   share of the units used {first.mean():.2f}")
            widths = [sequential.half_width(2 * ARM * look // looks, sequential.Level(0.05, 5_000)) for look in range(1, looks + 1)]
            bound = np.array(widths) * np.sqrt(2 * ARM * np.arange(1, looks + 1) / looks)
            print(f"  always valid, {looks:>2} looks            {(np.abs(z) > bound).any(axis=1).mean():6.1%}")
            print(f"  naive peeking, {looks:>2} looks           {(np.abs(z) > 1.96).any(axis=1).mean():6.1%}")


def ratios(random: np.random.Generator, worlds: int) -> None:
    print(f"sample ratio, 20,000 units looked at 50 times, alarm at p < 0.001, of {worlds} experiments")
    for share in (0.5, 0.51, 0.52):
        ours = random.binomial(400, share, (worlds, 50)).cumsum(axis=1)
        every = 400 * np.arange(1, 51)
        alarms = [
            any(sample_ratio.sample_ratio((int(a), int(n - a)), (1, 1)).p_value < 0.001 for a, n in zip(row, every, strict=True)) for row in ours
        ]
        print(f"  {share:.0%} instead of 50 %                 {np.mean(alarms):6.2%}")


def cuped(random: np.random.Generator) -> None:
    print("CUPED, 20,000 units an arm: share of the variance that goes, beside the squared correlation")
    for correlation in (0.3, 0.6, 0.9):
        x = [random.standard_normal(20_000) for _ in range(2)]
        arms = [correlation * each + math.sqrt(1 - correlation**2) * random.standard_normal(20_000) for each in x]
        adjusted, _ = effects.adjusted(arms, x)
        gone = 1 - (effects.difference(*adjusted).standard_error / effects.difference(*arms).standard_error) ** 2
        print(f"  {gone:6.1%}   {correlation**2:6.1%}")


def bandit(random: np.random.Generator, seed: int, delay: int) -> tuple[float, float, bool]:
    """Regret in conversions, the better arm's share of the last day, and whether it stopped on the worse arm; as the experiment judge does it."""
    split, regret, shares = (50, 50), 0.0, []
    periods: list[list[np.ndarray]] = []
    stopped = None
    for look in range(DAYS * LOOKS_A_DAY):
        weights = split if stopped is None else tuple(100 * (arm == stopped) for arm in range(2))
        count = random.binomial(PER_LOOK, weights[0] / 100)
        counts = (count, PER_LOOK - count)
        periods.append([random.binomial(1, rate, n).astype(float) for rate, n in zip(ARMS, counts, strict=True)])
        regret += counts[0] * (ARMS[1] - ARMS[0])
        shares.append(counts[1] / PER_LOOK)
        closed = periods[: max(0, len(periods) - delay)]
        if stopped is not None or not closed or min(sum(len(each[arm]) for each in closed) for arm in range(2)) < BURN_IN:
            continue
        estimates = effects.period_weighted(closed)
        believed = thompson.belief(estimates, seed=seed * 1_000 + look)
        if thompson.is_known(believed, probability=PROBABILITY, loss=LOSS * abs(estimates[believed.leader][0])):
            stopped = believed.leader
        split = thompson.weights(believed, floor=FLOOR)
    return regret, float(np.mean(shares[-LOOKS_A_DAY:])), stopped == 0


def oracle(random: np.random.Generator, worlds: int) -> np.ndarray:
    """Regret of Thompson sampling that learns of each outcome at once, of many worlds at a time."""
    hits, misses = np.ones((worlds, 2)), np.ones((worlds, 2))
    regret, every = np.zeros(worlds), np.arange(worlds)
    for _ in range(DAYS * LOOKS_A_DAY * PER_LOOK):
        arm = random.beta(hits, misses).argmax(axis=1)
        hit = random.random(worlds) < np.array(ARMS)[arm]
        hits[every, arm] += hit
        misses[every, arm] += ~hit
        regret += (arm == 0) * (ARMS[1] - ARMS[0])
    return regret


def bandits(random: np.random.Generator, worlds: int) -> None:
    best = oracle(random, worlds)
    equal = DAYS * LOOKS_A_DAY * PER_LOOK * (ARMS[1] - ARMS[0]) / 2
    print(f"bandit, {worlds} worlds of {DAYS * LOOKS_A_DAY * PER_LOOK:,} units; the oracle loses {best.mean():.1f}, an equal split {equal:.0f}")
    for delay in (0, 1, 4):
        found = [bandit(random, seed, delay) for seed in range(worlds)]
        regret, share, wrong = (np.mean([each[place] for each in found]) for place in range(3))
        print(f"  window {6 * delay:>2} h: share of the better arm on the last day {share:6.1%}, stopped on the worse one {wrong:.1%}, ", end="")
        print(f"loses {regret:.1f}, {regret / best.mean():.2f} times the oracle", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=2_000)
    parser.add_argument("--bandits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("tests", "bandits"), default="")
    wanted = parser.parse_args()
    random = np.random.default_rng(wanted.seed)
    if wanted.only != "bandits":
        tests(random, wanted.worlds * 10)
        ratios(random, wanted.worlds)
        cuped(random)
    if wanted.only != "tests":
        bandits(random, wanted.bandits)


if __name__ == "__main__":
    main()
