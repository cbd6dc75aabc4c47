"""How often the 95% intervals hold the truth, and how often the tests are wrong, by simulation.

    python benchmarks/coverage.py [--studies 1000]

Synthetic studies of 300 users, as NDCG@10 is: most values are 0, the rest up to 1. Each has a
control, 8 methods as good as it and one that is better by 15%. Coverage of: mean; difference of an
equal method and of the better one; interquartile mean over seeds; probability of improvement of
both; interquartile mean of all values (of positive values: it is 0 or small where most are 0).
single: share of equal methods with p <= .05. any of 8: share of studies in which Holm's correction
leaves at least one of them <= .05, with its 95% binomial (Clopper-Pearson) interval.

With one seed and a seed effect nothing can be right: those rows show by how much not.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from shared.studies import EQUAL_METHODS, GAIN, Floats, Study, ndcg, positive
from shared.workload import write_result
from threadpoolctl import threadpool_limits

from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.stats.aggregates import (
    improvement,
    iqm_freedom,
    iqm_over_all,
    iqm_over_seeds,
)
from recsys_posttrain.stats.bootstrap import RESAMPLES, bootstrap_means, interval, p_value
from recsys_posttrain.stats.significance import holm

SEEDS, SEED_EFFECTS = (1, 3, 5, 10), (0.0, 0.5, 1.0)
WORLDS = ((0.6, 0.5), (0.8, 0.9))  # shares of zeros, and of what users share
STATISTICS = (
    *("mean", "difference", "difference better", "iqm"),
    *("improvement", "improvement better", "iqm of all"),
)
CHUNK = 100  # studies held at once: 0.3 GB with 10 seeds


def studies() -> Iterator[Study]:
    for zeros, shared in WORLDS:
        for seeds in SEEDS:
            for seed_effect in SEED_EFFECTS:
                yield Study(seeds, seed_effect, zeros=zeros, shared=shared)


def measure(study: Study, count: int) -> dict[str, Any]:
    """Shares over `count` studies: coverage of each statistic, and both kinds of false alarm."""
    rng = np.random.default_rng(derived_seed("coverage", study))
    chunks = [_chunk(study, min(CHUNK, count - start), rng) for start in range(0, count, CHUNK)]
    held_QP = np.concatenate([held for held, _ in chunks], axis=1)
    p_PE = np.concatenate([p for _, p in chunks])
    alarms = sum(bool((holm(p_E) <= 0.05).any()) for p_E in p_PE)
    found = binomtest(alarms, count).proportion_ci()
    return {
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
    usual, robust = study.seeds - 1, iqm_freedom(study.seeds)
    parts = [  # pseudo-values [P, S, N], truth, degrees of freedom; in the order of STATISTICS
        (control, study.mean, usual),
        (equal_EPSN[0] - control, 0.0, usual),
        (better - control, GAIN * study.mean, usual),
        (iqm_over_seeds(control), study.mean, robust),
        (improvement(equal_EPSN[0], control), 0.5, usual),
        (improvement(better, control), study.improvement, usual),
        (iqm_over_all(positive(study, count, rng)), study.positive_iqm, usual),
        *((equal - control, 0.0, usual) for equal in equal_EPSN[1:]),
    ]
    value_K, draws_RK = bootstrap_means(
        np.concatenate([values for values, _, _ in parts]),
        freedom_K=np.repeat([freedom for _, _, freedom in parts], count),
        rng=rng,
    )
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
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the draws are too small to share, and the result says so

    head = ("seeds", "effect", "zeros", "shared", *STATISTICS, "single", "any of 8")
    print(" | ".join(head))
    rows = []
    with threadpool_limits(1):
        for study in studies():
            row = measure(study, arguments.studies)
            rows.append(row)
            shares = [*row["coverage"].values(), row["single"], row["any_of_8"]]
            facts = [study.seeds, study.seed_effect, study.zeros, study.shared]
            cells = [*map(str, facts), *(f"{share:.1%}" for share in shares)]
            pairs = zip(cells, head, strict=True)
            print(" | ".join(cell.rjust(len(name)) for cell, name in pairs), flush=True)
    several = [row for row in rows if row["seeds"] > 1]
    alarms = round(sum(row["any_of_8"] for row in several) * arguments.studies)
    pooled = binomtest(alarms, len(several) * arguments.studies).proportion_ci()
    summary = {
        "coverage_lowest": min(min(row["coverage"].values()) for row in several),
        "coverage_highest": max(max(row["coverage"].values()) for row in several),
        "any_of_8": round(alarms / len(several) / arguments.studies, 4),
        "any_of_8_interval": [round(pooled.low, 4), round(pooled.high, 4)],
    }
    print(json.dumps({"with more than one seed": summary}, indent=2))
    result = {
        "studies": arguments.studies,
        "users": Study(1, 0, 0.5, 0.5).users,
        "resamples": RESAMPLES,
        "tests_per_study": EQUAL_METHODS,
        "generator": 'default_rng(derived_seed("coverage", study))',
        "several_seeds": summary,
        "rows": rows,
    }
    write_result(Path(__file__), result)


if __name__ == "__main__":
    main()
