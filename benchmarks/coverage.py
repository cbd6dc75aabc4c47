"""How often the 95% intervals hold the truth, and how often the tests are wrong, by simulation.

    python benchmarks/coverage.py [--studies 1000]

Synthetic studies of 300 users, as NDCG@10 is: most values are 0, the rest up to 1. Each has a
control, 8 methods as good as it and one that is better by 15%. Coverage of: mean; difference of an
equal method and of the better one; interquartile mean over seeds; probability of improvement of
both; interquartile mean of all values (of positive values: it is 0 or small where most are 0);
mean and difference of rewards of lists, without zeros (mean of five stars).
single: share of equal methods with p <= .05. any of 8: share of studies in which Holm's correction
leaves at least one of them <= .05, with its 95% binomial (Clopper-Pearson) interval.

With one seed and a seed effect nothing can be right: those rows show by how much not. The second
part has 5, 30 and 300 users under 1, 2 and 5 seeds; of 5 users most have no hit at all, so that no
interval of NDCG is right there, and rewards are. The third part is how FEW_USERS was chosen: one
seed, resamples beside the t form at numbers of users.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from shared.studies import EQUAL_METHODS, GAIN, Floats, Study, ndcg, positive, rewards
from shared.workload import write_result
from threadpoolctl import threadpool_limits

from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.stats.aggregates import (
    improvement,
    iqm_freedom,
    iqm_over_all,
    iqm_over_seeds,
)
from recsys_posttrain.stats.bootstrap import FEW_USERS, bootstrap, interval, p_value
from recsys_posttrain.stats.significance import holm

RESAMPLES = 2_000
SEEDS, SEED_EFFECTS = (1, 3, 5, 10), (0.0, 0.5, 1.0)
FEW, FEW_SEEDS, FEW_EFFECTS = (5, 30, 300), (1, 2, 5), (0.0, 1.0)
SIZES = (5, 10, 20, 30, 50, 100, 200, 300)
WORLDS = ((0.6, 0.5), (0.8, 0.9))  # shares of zeros, and of what users share
STATISTICS = (
    *("mean", "difference", "difference better", "iqm"),
    *("improvement", "improvement better", "iqm of all"),
    *("reward", "reward difference"),
)
CHUNK = 100  # studies held at once: 0.3 GB with 10 seeds


def studies() -> Iterator[Study]:
    for zeros, shared in WORLDS:
        for seeds in SEEDS:
            for seed_effect in SEED_EFFECTS:
                yield Study(seeds, seed_effect, zeros=zeros, shared=shared)


def few_users() -> Iterator[Study]:
    for users in FEW:
        for seeds in FEW_SEEDS:
            for seed_effect in FEW_EFFECTS[: 1 if seeds == 1 else None]:
                yield Study(seeds, seed_effect, zeros=0.6, shared=0.5, users=users)


def forms(users: int, count: int) -> dict[str, float]:
    """Coverage by resamples and by the t form, of rewards and of NDCG, of one seed."""
    study = Study(1, 0.0, zeros=0.6, shared=0.5, users=users)
    rng = np.random.default_rng(derived_seed("forms", study))
    given = {"reward": rewards(study, count, rng)[:, 0], "ndcg": ndcg(study, count, rng)[:, 0]}
    truth = {"reward": study.reward, "ndcg": study.mean}
    found: dict[str, float] = {"users": users}
    for name, values_P1N in given.items():
        for form, few in (("resamples", 0), ("t", users + 1)):
            mean_P, draws_RP = bootstrap(
                values_P1N, resamples=RESAMPLES, few_users=few, rng=rng
            ).mean_and_draws
            each = (interval(*pair) for pair in zip(mean_P, draws_RP.T, strict=True))
            held = [one.low <= truth[name] <= one.high for one in each]
            found[f"{name}, {form}"] = round(float(np.mean(held)), 4)
    return found


def measure(study: Study, count: int) -> dict[str, Any]:
    """Shares over `count` studies: coverage of each statistic, and both kinds of false alarm."""
    rng = np.random.default_rng(derived_seed("coverage", study))
    chunks = [_chunk(study, min(CHUNK, count - start), rng) for start in range(0, count, CHUNK)]
    held_QP = np.concatenate([held for held, _ in chunks], axis=1)
    p_PE = np.concatenate([p for _, p in chunks])
    alarms = sum(bool((holm(p_E) <= 0.05).any()) for p_E in p_PE)
    found = binomtest(alarms, count).proportion_ci()
    return {
        "users": study.users,
        "seeds": study.seeds,
        "seed_effect": study.seed_effect,
        "zeros": study.zeros,
        "shared": study.shared,
        "coverage": dict(zip(STATISTICS, held_QP.mean(1).round(4).tolist(), strict=True)),
        "single": round(float((p_PE <= 0.05).mean()), 4),
        "any_of_8": round(alarms / count, 4),
        "any_of_8_interval": [round(found.low, 4), round(found.high, 4)],
    }


def _chunk(study: Study, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Whether each interval holds the truth, [Q, P], and the p-values of equal methods, [P, E]."""
    values_PMSN = ndcg(study, count, rng)
    control, better = values_PMSN[:, 0], values_PMSN[:, -1]
    equal_EPSN = values_PMSN[:, 1:-1].swapaxes(0, 1)
    rewarded, other = rewards(study, count, rng).swapaxes(0, 1)
    usual, robust = study.seeds - 1, iqm_freedom(study.seeds)
    parts = [  # pseudo-values [P, S, N], truth, degrees of freedom; in the order of STATISTICS
        (control, study.mean, usual),
        (equal_EPSN[0] - control, 0.0, usual),
        (better - control, GAIN * study.mean, usual),
        (iqm_over_seeds(control), study.mean, robust),
        (improvement(equal_EPSN[0], control), 0.5, usual),
        (improvement(better, control), study.improvement, usual),
        (iqm_over_all(positive(study, count, rng)), study.positive_iqm, usual),
        (rewarded, study.reward, usual),
        (other - rewarded, 0.0, usual),
        *((equal - control, 0.0, usual) for equal in equal_EPSN[1:]),
    ]
    value_K, draws_RK = bootstrap(
        np.concatenate([values for values, _, _ in parts]),
        freedom_K=np.repeat([freedom for _, _, freedom in parts], count),
        resamples=RESAMPLES,
        rng=rng,
    ).mean_and_draws
    draws_AP = np.ascontiguousarray(draws_RK.T).reshape(len(parts), count, -1)
    held_QP = np.empty((len(STATISTICS), count))
    for q, (_, truth, _) in enumerate(parts[: len(STATISTICS)]):
        for p, draws_R in enumerate(draws_AP[q]):
            found = interval(value_K[q * count + p], draws_R)
            held_QP[q, p] = found.low <= truth <= found.high
    tests = [1, *range(len(STATISTICS), len(parts))]
    p_PE = np.array([[p_value(draws_AP[e, p]) for e in tests] for p in range(count)])
    return held_QP, p_PE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000)
    count = parser.parse_args().studies
    torch.set_num_threads(1)  # the draws are too small to share, and the result says so

    head = ("users", "seeds", "effect", "zeros", "shared", *STATISTICS, "single", "any of 8")
    print(" | ".join(head))
    with threadpool_limits(1):
        rows = [_printed(measure(study, count), head) for study in studies()]
        few = [_printed(measure(study, count), head) for study in few_users()]
        by_size = [forms(users, 10 * count) for users in SIZES]
    print(json.dumps({"forms": by_size}, indent=2))
    several = [row for row in rows if row["seeds"] > 1]
    alarms = round(sum(row["any_of_8"] for row in several) * count)
    pooled = binomtest(alarms, len(several) * count).proportion_ci()
    summary = {
        "coverage_lowest": min(min(row["coverage"].values()) for row in several),
        "coverage_highest": max(max(row["coverage"].values()) for row in several),
        "any_of_8": round(alarms / len(several) / count, 4),
        "any_of_8_interval": [round(pooled.low, 4), round(pooled.high, 4)],
    }
    print(json.dumps({"with more than one seed": summary}, indent=2))
    result = {
        "studies": count,
        "users": Study(1, 0, 0.5, 0.5).users,
        "resamples": RESAMPLES,
        "few_users": FEW_USERS,
        "tests_per_study": EQUAL_METHODS,
        "generator": 'default_rng(derived_seed("coverage", study))',
        "several_seeds": summary,
        "rows": rows,
        "rows_few_users": few,
        "forms": by_size,
    }
    write_result(Path(__file__), result)


def _printed(row: dict[str, Any], head: Sequence[str]) -> dict[str, Any]:
    shares = [*row["coverage"].values(), row["single"], row["any_of_8"]]
    facts = [row[name] for name in ("users", "seeds", "seed_effect", "zeros", "shared")]
    cells = [*map(str, facts), *(f"{share:.1%}" for share in shares)]
    pairs = zip(cells, head, strict=True)
    print(" | ".join(cell.rjust(len(name)) for cell, name in pairs), flush=True)
    return row


if __name__ == "__main__":
    main()
