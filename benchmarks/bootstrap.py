"""Seconds that the bootstrap of one metric takes: 6,040 users, 5 seeds, 10 algorithms, one thread.

    python benchmarks/bootstrap.py [--resamples 10000]

Synthetic NDCG@10. `means`: of the 10 algorithms. `all`: mean, difference to the first algorithm,
interquartile mean over seeds and probability of improvement of each, as a table has them, with
their pseudo-values. On a machine with other work the CPU time is what can be compared.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from shared.studies import Study, ndcg
from shared.workload import USERS, machine, parsed, parser_of, show_result
from threadpoolctl import threadpool_limits

from recsys_posttrain.basic_statistics import Floats
from recsys_posttrain.stats.aggregates import improvement, iqm_freedom, iqm_over_seeds
from recsys_posttrain.stats.bootstrap import bootstrap

SEEDS, TARGET_SECONDS = 5, 10


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """Of the clock on the wall, and of the one processor in use."""
    began, used = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - began, time.process_time() - used


def main() -> None:
    arguments = parsed(parser_of(__doc__, resamples=10_000, rounds=3, threads=1))

    study = Study(SEEDS, seed_effect=1.0, zeros=0.7, shared=0.9, users=USERS)
    values_MSN = ndcg(study, 1, np.random.default_rng(0))[0]
    control_1SN = values_MSN[:1]

    def draw(*pseudo_MSN: np.ndarray, freedom: list[int]) -> Floats:
        return bootstrap(
            np.concatenate(pseudo_MSN),
            freedom_K=np.repeat(freedom, len(values_MSN)),
            resamples=arguments.resamples,
            rng=np.random.default_rng(0),
        ).draws_RK

    def means() -> None:
        draw(values_MSN, freedom=[SEEDS - 1])

    def all_four() -> None:
        draw(
            values_MSN,
            values_MSN - control_1SN,
            iqm_over_seeds(values_MSN),
            improvement(values_MSN, control_1SN),
            freedom=[SEEDS - 1, SEEDS - 1, iqm_freedom(SEEDS), SEEDS - 1],
        )

    print(f"{values_MSN.shape} values, {arguments.resamples:,} resamples; {machine()}")
    medians = {}
    with threadpool_limits(1):
        for name, part in {"means": means, "all": all_four}.items():
            taken_R2 = [seconds(part) for _ in range(arguments.rounds)]
            wall, cpu = np.median(taken_R2, axis=0).round(2).tolist()
            medians[name] = {"wall": wall, "cpu": cpu}
    result = {
        "users": USERS,
        "seeds": SEEDS,
        "algorithms": len(values_MSN),
        "resamples": arguments.resamples,
        "rounds": arguments.rounds,
        "target_seconds": TARGET_SECONDS,
        "seconds_median": medians,
    }
    show_result(Path(__file__), result)


if __name__ == "__main__":
    main()
