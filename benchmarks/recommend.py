"""Users per second and memory of `recommend --histories`, for a million users.

    python benchmarks/recommend.py [--users 1000000] [--threads 2]

A generated log: 3,416 items by Zipf's law, lengths log-normal with a median of 8 events (mean 13,
at most 200), sorted by user, as parquet with text ids; a policy of SASRec of its default size with
random weights, which the time does not depend on. Measured is the whole command in its own process:
reading and checking the log, states, the ranking of all items, 10 items for each user as parquet.
added_memory_mib is on top of what the process holds once its packages are imported.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import torch
from shared.memory import answer_of, peak_resident_mib, start_of_peak
from shared.workload import ITEMS, machine, parsed, parser_of, show_result

from recsys_posttrain.models import SASRec
from recsys_posttrain.models.checkpoint import save_policy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.recommendation import recommend
from recsys_posttrain.types import Corpus, Sequences

MEDIAN, LONGEST, K, AT_A_TIME = 8, 200, 10, 100_000
LOG, POLICY, OUTPUT = "log.parquet", "policy", "top.parquet"


def write_log(path: Path, users: int) -> int:
    """Returns: how many events."""
    generator = np.random.default_rng(0)
    share_V = 1 / np.arange(1, ITEMS + 1)
    share_V /= share_V.sum()
    names = ("user_id", "item_id")
    schema = pa.schema([*((name, pa.string()) for name in names), ("timestamp", pa.int64())])
    events = 0
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, users, AT_A_TIME):
            count = min(AT_A_TIME, users - first)
            length_N = np.exp(generator.normal(np.log(MEDIAN), 1, count)).clip(1, LONGEST)
            user_E = (first + np.arange(count)).repeat(length_N.astype(int))
            item_E = generator.choice(ITEMS, len(user_E), p=share_V)
            table = pa.table(
                {
                    "user_id": pa.array([f"u{user:07d}" for user in user_E.tolist()]),
                    "item_id": pa.array([f"i{item}" for item in item_E.tolist()]),
                    "timestamp": 1_700_000_000 + np.arange(len(user_E)) + events,
                }
            )
            writer.write_table(table)
            events += len(user_E)
    return events


def write_policy(folder: Path) -> None:
    ids = np.array([f"i{item}" for item in range(ITEMS)], dtype=object)
    one = torch.ones(1, dtype=torch.int64)
    sequences = Sequences(one, one.float(), one, torch.tensor([0, 1]))
    corpus = Corpus("generated", sequences, np.arange(1), ids, "generated")
    folder.mkdir()
    save_policy(folder, new_policy(SASRec(), ITEMS, seed=0), SASRec(), corpus, None)


def measure(folder: Path) -> dict[str, float]:
    before = start_of_peak()
    began, began_cpu = time.perf_counter(), time.process_time()
    recommend(folder / POLICY, None, folder / LOG, K, folder / OUTPUT)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - began_cpu, 1),
        "added_memory_mib": round(peak_resident_mib() - before),
    }


def main() -> None:
    parser = parser_of(__doc__, users=1_000_000)
    parser.add_argument("--point", type=Path, help=argparse.SUPPRESS)
    arguments = parsed(parser)
    if arguments.point:
        print(json.dumps(measure(arguments.point)))
        return
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_policy(folder / POLICY)
        events = write_log(folder / LOG, arguments.users)
        words = ("--point", folder, "--threads", arguments.threads)
        point = json.loads(answer_of(__file__, *words))
        rows = pq.ParquetFile(folder / OUTPUT).metadata.num_rows
        size = (folder / LOG).stat().st_size
    show_result(
        Path(__file__),
        {
            "users": arguments.users,
            "events": events,
            "items": ITEMS,
            "k": K,
            "rows_written": rows,
            "log_mib": round(size / 2**20, 1),
            **point,
            "users_per_second": round(arguments.users / point["seconds"]),
        },
    )


if __name__ == "__main__":
    main()
