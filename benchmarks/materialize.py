"""Seconds to write the lists of an event for 100,000 users, and look-ups per second in them.

    python benchmarks/materialize.py [--users 100000] [--threads 2]

A generated log of ML-1M's shape (3,416 items, 96 events a user in the median) and SASRec of the
default size with random weights: the time depends on neither. Measured are the states, the ranking
of all items and the writing, of 3 stages of 20 items; loading the policy and the log is not.
cpu_seconds is what all threads took together, whatever else the machine did.
"""

import tempfile
import time
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
from shared.workload import ITEMS, machine, parsed, parser_of, show_result, synthetic

from recsys_posttrain.live.materialize import EventRules, write_lists
from recsys_posttrain.live.materialized import Materialized
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.checkpoint import SavedPolicy
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import new_policy

RULES = EventRules("final", "1193", {"before": None, "live": 1, "after": 4})
K = 20
LOOK_UPS = 2000


def measure(users: int) -> dict[str, float]:
    corpus = synthetic(users=users)
    policy = FrozenPolicy(new_policy(SASRec(), ITEMS, seed=0))
    scale = corpus.reward_scale
    saved = SavedPolicy(policy, corpus.item_ids, "", "never", corpus.name, {}, scale)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lists.arrow"
        began, began_cpu = time.perf_counter(), time.process_time()
        write_lists(path, saved, corpus.user_ids, corpus.sequences, 1193, RULES, K)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        lists = Materialized(RULES.event, tuple(RULES.stages), "0", table)
        step = max(1, users // LOOK_UPS)
        asked = [str(user) for user in corpus.user_ids[::step]]
        began = time.perf_counter()
        for user in asked:
            lists.of(user)
        per_second = len(asked) / (time.perf_counter() - began)
        return {
            "users": users,
            "events": len(corpus.sequences.items_E),
            "items": ITEMS,
            "k": K,
            "stages": len(RULES.stages),
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "users_per_second": round(users / seconds),
            "file_mib": round(path.stat().st_size / 2**20, 1),
            "look_ups_per_second": round(per_second),
        }


def main() -> None:
    arguments = parsed(parser_of(__doc__, users=100_000))
    print(machine())
    result = measure(arguments.users)
    show_result(Path(__file__), result)


if __name__ == "__main__":
    main()
