"""A training step on the full softmax and on sampled losses, as the catalogue grows.

    python benchmarks/sampled.py [--threads 2] [--largest 1e5] [--rounds 7]

Each is the whole step of pretraining (states, loss, AdamW) of SASRec with width 64 on one synthetic
batch of about 4,000 events. The losses take turns and the ratio is the median over rounds: on a
shared machine it is what can be compared. Where it passes 1, between two sizes, is the size from
which the sampled loss is faster.
"""

import argparse
import json
import math
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from shared.workload import LENGTH, SHORTEST, machine, parsed, parser_of, synthetic, write_result
from train_step import our_step, seconds_of

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.losses import GBCE, FullSoftmax, SampledSoftmax
from recsys_posttrain.losses.base import PretrainingLoss

SIZES = (1_000, 3_416, 10_000, 30_000, 100_000, 300_000)
USERS = 40
SAMPLED: dict[str, SampledSoftmax | GBCE] = {"sampled softmax": SampledSoftmax(), "gBCE": GBCE()}
LOSSES: dict[str, PretrainingLoss] = {"full softmax": FullSoftmax(), **SAMPLED}


def measure(items: int, rounds: int) -> dict[str, Any]:
    """Of one catalogue: milliseconds of a step, and how many times as long full softmax takes."""
    corpus = synthetic(users=USERS, items=items, shortest=SHORTEST, longest=LENGTH + 1)
    batch = batch_of(corpus.sequences, torch.arange(USERS), LENGTH)
    steps = {name: our_step(items, loss=loss) for name, loss in LOSSES.items()}
    for step in steps.values():
        step(batch)  # the first step allocates
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            seconds[name].append(seconds_of(step, [batch]))
    ratios = {
        name: [full / own for full, own in zip(seconds["full softmax"], seconds[name], strict=True)]
        for name in SAMPLED
    }
    return {
        "items": items,
        "events": len(batch.action_N),
        "milliseconds_median": {
            name: round(1e3 * statistics.median(each), 1) for name, each in seconds.items()
        },
        "milliseconds_best": {name: round(1e3 * min(each), 1) for name, each in seconds.items()},
        "ratio_median": {name: round(statistics.median(each), 3) for name, each in ratios.items()},
    }


def faster_from(sizes: list[int], ratios: list[float]) -> int | None:
    """Where the ratio rises to 1 for good, on a line between the logarithms of two sizes.

    The first size where it is above 1 at all of them, None where it is below 1 at the last.
    """
    if ratios[-1] < 1:
        return None
    points = list(zip(sizes, ratios, strict=True))
    for (low, below), (high, above) in reversed(list(pairwise(points))):
        if below < 1:
            share = -math.log(below) / math.log(above / below)
            return round(low * math.pow(high / low, share))
    return sizes[0]


def picture(points: list[dict[str, Any]], path: Path) -> None:
    from shared.pictures import growth_lines

    from recsys_posttrain.report.figures import panels, save

    figure, (axis,) = panels(1, 1, width=6.4, height=4.4)
    names = [*SAMPLED, "full softmax"]
    lines = {
        name: {point["items"]: point["milliseconds_median"][name] for point in points}
        for name in names
    }
    sizes = [point["items"] for point in points]
    growth_lines(axis, sizes, lines, "items in the catalogue", "milliseconds per training step")
    save(figure, path)


def main() -> None:
    parser = parser_of(__doc__, rounds=7)
    parser.add_argument("--largest", type=float, default=math.inf, help="leave out larger sizes")
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)  # a folder, for tests
    arguments = parsed(parser)

    print(machine(), flush=True)
    points = []
    for items in (size for size in SIZES if size <= arguments.largest):
        points.append(measure(items, arguments.rounds))
        print(json.dumps(points[-1]), flush=True)
    sizes = [point["items"] for point in points]
    result = {
        "negatives": {name: loss.negatives for name, loss in SAMPLED.items()},
        "rounds": arguments.rounds,
        "faster_from": {
            name: faster_from(sizes, [point["ratio_median"][name] for point in points])
            for name in SAMPLED
        },
        "points": points,
    }
    print(json.dumps(result["faster_from"]))
    write_result(Path(__file__), result, arguments.output)
    picture(points, (arguments.output or Path(__file__).parent / "results") / "sampled.png")


if __name__ == "__main__":
    main()
