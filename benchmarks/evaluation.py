"""Seconds that full-ranking evaluation of every test user takes, the states included.

    python benchmarks/evaluation.py [--data-root ml-1m.zip] [--threads 2]

The weights are random: the time does not depend on them. `states`: the last state of 6,040
histories. `evaluate`: states, rank of each target, top 50 and metrics of every user.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from shared.workload import machine, ml_1m_or_synthetic, parsed, parser_of, show_result

from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.sasrec import SASRec


def seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main() -> None:
    arguments = parsed(parser_of(__doc__, reads_data=True, rounds=3))

    data = ml_1m_or_synthetic(arguments.data_root)
    policy = new_policy(SASRec(), data.corpus.num_items, seed=0).eval()
    print(f"{data.corpus.name}: {len(data.test.users_N):,} users; {machine()}")
    parts: dict[str, Callable[[], object]] = {
        "states": lambda: policy.last_hidden_states(data.test.history),
        "evaluate": lambda: evaluate(policy, data),
    }
    for part in parts.values():
        part()  # the first call allocates
    taken = {name: [seconds(part) for _ in range(arguments.rounds)] for name, part in parts.items()}
    result = {
        "dataset": data.corpus.name,
        "users": len(data.test.users_N),
        "items": data.corpus.num_items,
        "rounds": arguments.rounds,
        "seconds_median": {name: round(statistics.median(t), 2) for name, t in taken.items()},
        "seconds_best": {name: round(min(t), 2) for name, t in taken.items()},
    }
    show_result(Path(__file__), result)


if __name__ == "__main__":
    main()
