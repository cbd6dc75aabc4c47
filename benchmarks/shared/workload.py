"""What the benchmarks share: the data, and the facts of the machine. Not a benchmark itself."""

import argparse
import json
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys_posttrain.data import LeaveOneOut, prepare
from recsys_posttrain.data.sources import cache_folder
from recsys_posttrain.files import write_json
from recsys_posttrain.provenance import git_commit, package_versions
from recsys_posttrain.types import Corpus, Sequences, Split
from recsys_posttrain.worlds.catalog import dataset_named

LENGTH, BATCH_SIZE = 200, 128
USERS, ITEMS, MEDIAN, SHORTEST, LONGEST = 6_040, 3_416, 96, 20, 2_300  # of ML-1M, protocol A


def ml_1m_or_synthetic(data_root: str | None) -> Split:
    """ML-1M where it is given or cached, otherwise a log of the same shape; never the network."""
    here = data_root or os.environ.get("RECSYS_POSTTRAIN_DATA")
    if here or (cache_folder() / "raw" / "ml-1m").is_dir():
        return LeaveOneOut().split(prepare(dataset_named("ml-1m", here)))
    return LeaveOneOut(minimum_item_ratings=1).split(synthetic())


def synthetic(
    seed: int = 0,
    users: int = USERS,
    items: int = ITEMS,
    shortest: int = SHORTEST,
    longest: int = LONGEST,
) -> Corpus:
    """Log-normal lengths with ML-1M's median and extremes; items by Zipf's law. Only its shape
    matters: the time of a step depends on nothing else."""
    generator = np.random.default_rng(seed)
    lengths_N = np.exp(generator.normal(np.log(MEDIAN), 0.95, users)).clip(shortest, longest)
    lengths_N = lengths_N.astype(np.int64)
    events = int(lengths_N.sum())
    share_V = 1 / np.arange(1, items + 1)
    items_E = generator.choice(items, size=events, p=share_V / share_V.sum()) + 1
    return Corpus(
        "synthetic-ml-1m",
        Sequences(
            torch.from_numpy(items_E),
            torch.from_numpy(generator.integers(1, 6, events)).float(),
            torch.arange(events),
            torch.from_numpy(np.concatenate([[0], lengths_N.cumsum()])),
        ),
        np.arange(users),
        np.arange(1, items + 1),
        "synthetic",
    )


def machine() -> str:
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads, {os.cpu_count()} cores"


def parser_of(
    description: str, *, reads_data: bool = False, **counts: int
) -> argparse.ArgumentParser:
    """For the options of a benchmark: --threads, a whole number for each of `counts`, by default
    this one, and where it reads ML-1M, --data-root."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    if reads_data:
        text = "a folder or zip with ML-1M; default: cache, synthetic"
        parser.add_argument("--data-root", help=text)
    for name, default in {"threads": torch.get_num_threads(), **counts}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options given; PyTorch has so many threads from then on."""
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    return arguments


def show_result(script: Path, result: dict[str, Any]) -> None:
    """Prints it, and writes it as `write_result` does."""
    print(json.dumps(result, indent=2))
    write_result(script, result)


def write_result(script: Path, result: dict[str, Any], folder: Path | None = None) -> None:
    """results/<script>.json: what was measured, and what is needed to judge it.

    folder: instead of results/.
    """
    folder = folder or script.parent / "results"
    folder.mkdir(exist_ok=True)
    path = folder / f"{script.stem}.json"
    arguments = _without_paths(sys.argv[1:])
    record = {
        "command": shlex.join(["python", f"benchmarks/{script.name}", *arguments]),
        "commit": git_commit(),
        "versions": package_versions(),
        "machine": {
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "architecture": platform.machine(),
            "load_average": round(os.getloadavg()[0], 1),
        },
        **result,
    }
    write_json(path, record)
    print(f"written: {path.name}")


def _without_paths(words: list[str]) -> list[str]:
    """The command line without where the data lay, or the result went, on this machine."""
    places = ("--data-root", "--output")
    return [
        word
        for before, word in zip(["", *words], words, strict=False)
        if not word.startswith(places) and before not in places
    ]
