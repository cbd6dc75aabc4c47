"""Time and memory to load, check and prepare a large log.

    python benchmarks/load.py [--events 10000000] [--items 200000] [--users 500000]

A generated log in the order of its times, with text ids, as CSV and as parquet. Measured is
`prepare` into an empty cache, which reads, checks, orders and writes, in its own process for each.
peak_mib is all that the process ever held, packages included; base_mib what it held before, the
packages that read and write logs included.
columns_mib is what the four columns of the file take as text in memory, before they are numbers:
reading may hold twice as much.
"""

import argparse
import importlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from pyarrow import csv as arrow_csv
from shared.memory import answer_of, peak_resident_mib
from shared.workload import machine, parsed, parser_of, show_result

from recsys_posttrain.data import RatingsFile, prepare

AT_A_TIME = 1_000_000


def write_logs(folder: Path, events: int, items: int, users: int) -> None:
    """log.csv and log.parquet; times differ, so that no event is there twice."""
    generator = np.random.default_rng(0)
    user_ids = pa.array([f"u{user:07d}" for user in range(users)])
    item_ids = pa.array([f"item-{item:06d}" for item in range(items)])
    shares_V = 1 / np.arange(1, items + 1) ** 0.8
    upto_V = (shares_V / shares_V.sum()).cumsum()
    names = ["user_id", "item_id", "rating", "timestamp"]
    types = [pa.string(), pa.string(), pa.float64(), pa.int64()]
    schema = pa.schema(list(zip(names, types, strict=True)))
    with (
        pq.ParquetWriter(folder / "log.parquet", schema) as parquet,
        arrow_csv.CSVWriter(folder / "log.csv", schema) as text,
    ):
        for first in range(0, events, AT_A_TIME):
            count = min(AT_A_TIME, events - first)
            item_E = np.searchsorted(upto_V, generator.random(count)).clip(max=items - 1)
            values = [
                user_ids.take(pa.array(generator.integers(0, users, count))),
                item_ids.take(pa.array(item_E)),
                pa.array(generator.integers(1, 6, count).astype(float)),
                pa.array(1_600_000_000 + first + np.arange(count)),
            ]
            table = pa.Table.from_arrays(values, schema=schema)
            parquet.write_table(table)
            text.write(table)


def columns_mib(path: Path) -> float:
    """Of a parquet file, its columns as text."""
    total = 0
    for group in range(pq.ParquetFile(path).num_row_groups):
        table = pq.ParquetFile(path).read_row_group(group)
        total += sum(column.cast(pa.string()).nbytes for column in table.columns)
    return total / 2**20


def measure(path: Path) -> dict[str, Any]:
    for package in ("pandas", "datasets", "torch"):
        importlib.import_module(package)
    base_mib = round(peak_resident_mib())
    began, began_cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        corpus = prepare(RatingsFile(str(path)), 1, Path(cache))
    return {
        "format": path.suffix,
        "file_mib": round(path.stat().st_size / 2**20),
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - began_cpu, 1),
        "base_mib": base_mib,
        "peak_mib": round(peak_resident_mib()),
        "users": len(corpus.user_ids),
        "items": corpus.num_items,
        "events": len(corpus.sequences.items_E),
    }


def main() -> None:
    parser = parser_of(__doc__, events=10_000_000, items=200_000, users=500_000)
    parser.add_argument("--point", type=Path, help=argparse.SUPPRESS)
    arguments = parsed(parser)
    if arguments.point:
        print(json.dumps(measure(arguments.point)))
        return
    print(machine())
    points = []
    with tempfile.TemporaryDirectory() as name:
        write_logs(Path(name), arguments.events, arguments.items, arguments.users)
        text_mib = round(columns_mib(Path(name) / "log.parquet"))
        for end in ("csv", "parquet"):
            words = ("--point", Path(name) / f"log.{end}", "--threads", arguments.threads)
            points.append(json.loads(answer_of(__file__, *words)) | {"columns_mib": text_mib})
            print(points[-1], flush=True)
    show_result(Path(__file__), {"points": points})


if __name__ == "__main__":
    main()
