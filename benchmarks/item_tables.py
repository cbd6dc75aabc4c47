"""The table of items in bfloat16: what it saves, and what it costs in quality.

    python benchmarks/item_tables.py --data-root ml-1m.zip runs/stages/pretrain-... [more policies]

Of saved policies of MovieLens 1M (`base_models.py`, or `make benchmark DATASET=ml-1m`): NDCG@10 and
HR@10 of all test targets with the table as it is and in bfloat16, the half of the 95% interval of
their difference over users, and the share of the ten items shown that stay. And of an untrained
policy of 10^6 items the memory that a process takes once it is loaded.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
from shared.memory import answer_of, start_of_peak
from shared.workload import parsed, parser_of, synthetic, write_result

from recsys_posttrain.data import LeaveOneOut, MovieLens1M, prepare
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.models.checkpoint import load_policy, save_policy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.types import Split

TABLES = {"float32": False, "bfloat16": True}
ITEMS = 10**6


def quality(folder: Path, data: Split) -> dict[str, Any]:
    found = [
        evaluate(load_policy(folder, bfloat16_items=half).policy, data) for half in TABLES.values()
    ]
    lists = zip(*(each.per_user["top10"] for each in found), strict=True)
    moved = found[1].per_user["ndcg@10"] - found[0].per_user["ndcg@10"]
    return {
        "policy": folder.name,
        **{
            metric: {
                name: round(each.mean(metric), 5) for name, each in zip(TABLES, found, strict=True)
            }
            for metric in ("ndcg@10", "hr@10")
        },
        "half_interval_of_ndcg": round(1.96 * float(moved.std()) / len(moved) ** 0.5, 5),
        "items_that_stay": round(float(np.mean([np.isin(a, b).mean() for a, b in lists])), 4),
    }


def memory() -> dict[str, float]:
    """MiB of a process with a policy of ITEMS items, by its table."""
    backbone = SASRec()
    with TemporaryDirectory() as name:
        corpus = synthetic(users=200, items=ITEMS, shortest=5, longest=10)
        save_policy(Path(name), new_policy(backbone, ITEMS, seed=0), backbone, corpus, None)
        return {
            table: float(answer_of(__file__, "--loaded", name, table, "--threads", 1))
            for table in TABLES
        }


def main() -> None:
    parser = parser_of(__doc__, reads_data=True)
    parser.add_argument("policies", type=Path, nargs="*", help="folders")
    parser.add_argument("--loaded", nargs=2, help=argparse.SUPPRESS)  # a folder, a table
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)  # a folder, for tests
    arguments = parsed(parser)
    if arguments.loaded:
        folder, table = arguments.loaded
        kept = SimpleNamespace(saved=load_policy(Path(folder), bfloat16_items=TABLES[table]))
        print(round(start_of_peak(), 1), flush=True)
        del kept
        return
    found = []
    if arguments.policies:
        data = LeaveOneOut().split(prepare(MovieLens1M(arguments.data_root)))
        for folder in arguments.policies:
            found.append(quality(folder, data))
            print(json.dumps(found[-1]), flush=True)
    result = {"policies": found, "items": ITEMS, "process_mib": memory()}
    print(json.dumps(result["process_mib"]))
    write_result(Path(__file__), result, arguments.output)


if __name__ == "__main__":
    main()
