"""How time and memory of our training step grow with events, catalogue and length.

    make bench-growth
    python benchmarks/growth.py [--threads 2] [--axes events,catalogue,length] [--largest 1e6]

Synthetic data, everything else as in pretraining of ML-1M: width 64, 2 blocks, batch 128. Each
point is a process of its own, so that its peak memory is its own, and one step before the clock
starts is not counted.

* events: a whole epoch over a log of that many events (at most 200 of each user are targets, as
  always), batches made as they are in training. No step is left out.
* catalogue: `--steps` steps on sequences of ML-1M's lengths. Time is per event.
* length: `--steps` steps on sequences that are all that long. Time is per event.

Slopes are of least-squares lines through the logarithms, and of the last two points alone. Added
memory is the peak during the steps above the process with its data. `table` is what the item table
needs whatever the loss is (weights, gradient, two moments of the optimiser), `logits` what logits
of all events of a batch in float32 would need.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from shared.memory import answer_of, peak_resident_mib, start_of_peak
from shared.workload import (
    BATCH_SIZE,
    ITEMS,
    LENGTH,
    SHORTEST,
    machine,
    parsed,
    parser_of,
    synthetic,
    write_result,
)
from train_step import our_step

from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.types import Corpus

AXES = {
    "events": (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000),
    "catalogue": (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000),
    "length": (50, 100, 200, 500, 1_000),
}
TIME = {
    "events": "seconds",
    "catalogue": "microseconds_per_event",
    "length": "microseconds_per_event",
}


def log_of(axis: str, size: int, steps: int) -> tuple[Corpus, int]:
    """The log of one point, and the longest history that the model reads."""
    if axis == "events":
        mean = float(synthetic(users=2_000, longest=LENGTH + 1).sequences.lengths_N.double().mean())
        return synthetic(users=round(size / mean), longest=LENGTH + 1), LENGTH
    users = BATCH_SIZE * (steps + 1)
    if axis == "catalogue":
        return synthetic(users=users, items=size, shortest=SHORTEST, longest=LENGTH + 1), LENGTH
    return synthetic(users=users, shortest=size + 1, longest=size + 1), size


def measure(axis: str, size: int, steps: int) -> dict[str, Any]:
    """One point, in this process."""
    corpus, length = log_of(axis, size, steps)
    stream = BatchStream(corpus.sequences, length, BATCH_SIZE, 1, seed=0)
    batches = iter(stream)
    first = next(batches)
    before = start_of_peak()
    step = our_step(corpus.num_items, SASRec(max_length=length))
    step(first)
    if axis == "events":
        batches = iter(stream)  # from the start again: a whole epoch
    events, done, largest = 0, 0, 0
    began = time.perf_counter()
    for batch in batches:
        step(batch)
        here = len(batch.action_N)
        events, done, largest = events + here, done + 1, max(largest, here)
    seconds = time.perf_counter() - began
    return {
        "size": len(corpus.sequences.items_E) if axis == "events" else size,
        "items": corpus.num_items,
        "length": length,
        "steps": done,
        "events": events,
        "events_per_batch": largest,
        "seconds": round(seconds, 3),
        "microseconds_per_event": round(1e6 * seconds / events, 3),
        "added_memory_mib": round(peak_resident_mib() - before, 1),
        "table_mib": round(4 * 4 * SASRec().dim * corpus.num_items / 2**20, 1),
        "logits_mib": round(4 * largest * corpus.num_items / 2**20, 1),
    }


def slopes(points: list[dict[str, Any]], value: str, size: str = "size") -> dict[str, float] | None:
    """Exponents of growth; None where there are no two points with positive values."""
    pairs = [(p[size], p[value]) for p in points if p[value] > 0]
    if len(pairs) < 2:
        return None
    x, y = np.log(np.array(pairs, dtype=float)).T
    fit = float(np.polyfit(x, y, 1)[0])
    return {"fit": round(fit, 3), "last_two": round(float((y[-1] - y[-2]) / (x[-1] - x[-2])), 3)}


def picture(result: dict[str, Any], path: Path) -> None:
    """Time above, memory below, one column for each axis."""
    from shared.pictures import growth_lines

    from recsys_posttrain.report.figures import panels, save

    units = {"seconds": "seconds for an epoch", "microseconds_per_event": "µs per event"}
    labels = {
        "events": "events",
        "catalogue": "items in the catalogue",
        "length": "events in each sequence",
    }
    columns = len(result["axes"])
    figure, panel = panels(2, columns, width=4.6, height=3.6)
    for column, (axis, record) in enumerate(result["axes"].items()):
        points, found = record["points"], record["slopes"]
        sizes = [point["size"] for point in points]
        for row, value in enumerate((TIME[axis], "added_memory_mib")):
            slope = found[value]
            lines = {
                "measured" if slope is None else f"measured, slope {slope['fit']:.2f}": [
                    point[value] for point in points
                ]
            }
            if row:
                lines["logits of all events of a batch"] = [p["logits_mib"] for p in points]
                if axis == "catalogue":
                    lines["item table, gradient, moments"] = [p["table_mib"] for p in points]
            title = units[value] if row == 0 else "added memory, MiB"
            growth_lines(panel[row * columns + column], sizes, lines, labels[axis], title)
    save(figure, path)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--axes", default=",".join(AXES), help="default: all of them")
    parser.add_argument("--steps", type=int, default=2, help="for catalogue and length")
    parser.add_argument("--largest", type=float, default=math.inf, help="leave out larger points")
    parser.add_argument("--point", nargs=2, metavar=("AXIS", "SIZE"), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)  # a folder, for tests
    arguments = parsed(parser)
    if arguments.point:
        axis, size = arguments.point
        print(json.dumps(measure(axis, int(size), arguments.steps)))
        return

    print(machine(), flush=True)  # minutes pass between lines
    axes: dict[str, Any] = {}
    common = ("--threads", arguments.threads, "--steps", arguments.steps)
    for axis in arguments.axes.split(","):
        points = []
        for size in (size for size in AXES[axis] if size <= arguments.largest):
            point = json.loads(answer_of(__file__, "--point", axis, size, *common))
            points.append(point)
            print(
                f"  {axis} {point['size']:,}: {point['seconds']:.2f} s for {point['events']:,} "
                f"events, {point['added_memory_mib']:,.0f} MiB",
                flush=True,
            )
        values = (TIME[axis], "added_memory_mib")
        axes[axis] = {
            "all_steps_of_an_epoch": axis == "events",
            "slopes": {value: slopes(points, value) for value in values},
            "points": points,
        }
    result = {"items_unless_varied": ITEMS, "batch": BATCH_SIZE, "axes": axes}
    write_result(Path(__file__), result, arguments.output)
    folder = arguments.output or Path(__file__).parent / "results"
    picture(result, folder / "growth.png")


if __name__ == "__main__":
    main()
