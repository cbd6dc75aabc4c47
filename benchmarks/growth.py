"""How time and memory grow with the catalogue, events, length and users, of everything that we do.

    make bench-growth
    python benchmarks/growth.py [--threads 2] [--axes catalogue,users] [--largest 1e5]

Synthetic data of ML-1M's shape, untrained models of the default sizes, a reward model of factors.
Each point is a process of its own, so that its peak memory is its own. Times are processor seconds
of a unit of work, the median of `--steps` after one that is not counted:

* pretraining: a step of 128 sequences, with the softmax over all items and with sampled negatives;
* a method of each family: a step of POSTTRAINING (64 sequences). Above its `exact_items` sums are
  estimated from a sample; ", exact" is the same step without, up to 10^5 items;
* evaluation (ranking, expected rewards and KL, with a reference and a reward model) and
  recommending (top 10): of 512 targets, on the axis of users of one of every user, once.

A step does not depend on how many events or users a log has; that it does not is what these axes
show, besides the memory of the process. Slopes are of least-squares lines through the logarithms,
and of the last two points alone.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from shared.growing import EXACT, METHODS, SUBJECTS, measure
from shared.memory import answer_of
from shared.workload import BATCH_SIZE, ITEMS, machine, parsed, parser_of, write_result

from recsys_posttrain.training.posttrain import POSTTRAINING

AXES = {
    "catalogue": (10_000, 30_000, 100_000, 300_000, 1_000_000),
    "events": (100_000, 1_000_000, 10_000_000, 30_000_000),
    "length": (50, 100, 200, 500, 1_000),
    "users": (10_000, 100_000, 1_000_000),
}
LABELS = {"catalogue": "items", "events": "events", "length": "events a user", "users": "users"}
MOST_EXACT = 100_000  # items, of sums over all of them in a step
VALUES = ("seconds", "added_memory_mib", "process_mib")


def points_of(axis: str, largest: float) -> Iterator[tuple[str, int]]:
    """What is measured on an axis: subject and size."""
    exact = [f"{name}{EXACT}" for name in METHODS] if axis == "catalogue" else []
    for subject in (*SUBJECTS, *exact):
        sums_all = subject.endswith(EXACT) or subject == "pretraining"
        most = MOST_EXACT if axis == "catalogue" and sums_all else largest
        for size in AXES[axis]:
            if size <= min(most, largest):
                yield subject, size


def slopes(points: list[dict[str, Any]], value: str, size: str = "size") -> dict[str, float] | None:
    """Exponents of growth; None where there are no two points with positive values."""
    pairs = [(p[size], p[value]) for p in points if p[value] > 0]
    if len(pairs) < 2:
        return None
    x, y = np.log(np.array(pairs, dtype=float)).T
    fit = float(np.polyfit(x, y, 1)[0])
    return {"fit": round(fit, 3), "last_two": round(float((y[-1] - y[-2]) / (x[-1] - x[-2])), 3)}


def picture(axis: str, found: dict[str, Any], path: Path) -> None:
    """Time and memory, a line for each subject."""
    from shared.pictures import growth_lines

    from recsys_posttrain.report.figures import panels, save

    titles = {"seconds": "processor seconds", "process_mib": "memory of the process, MiB"}
    if axis in ("catalogue", "length"):  # where the log is small
        titles = {"seconds": "processor seconds", "added_memory_mib": "added memory, MiB"}
    figure, panel = panels(1, 2, width=6.4, height=4.8)
    for place, (value, title) in zip(panel, titles.items(), strict=True):
        lines = {}
        for subject, record in found.items():
            if not subject.endswith(EXACT):
                slope = record["slopes"][value]
                name = subject if slope is None else f"{subject}: {slope['fit']:.2f}"
                lines[name] = {p["size"]: p[value] for p in record["points"]}
        growth_lines(place, list(AXES[axis]), lines, LABELS[axis], f"{title}, with slopes")
    save(figure, path)


def main() -> None:
    parser = parser_of(__doc__, steps=2)
    parser.add_argument("--axes", default=",".join(AXES), help="default: all of them")
    parser.add_argument("--largest", type=float, default=math.inf, help="leave out larger points")
    parser.add_argument("--subjects", default="", help="separated by semicolons; default: all")
    parser.add_argument("--point", nargs=3, help=argparse.SUPPRESS)  # subject, axis, size
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)  # a folder, for tests
    arguments = parsed(parser)
    if arguments.point:
        subject, axis, size = arguments.point
        print(json.dumps(measure(subject, axis, int(size), arguments.steps)))
        return

    print(machine(), flush=True)  # minutes pass between lines
    wanted = arguments.subjects.split(";") if arguments.subjects else None
    folder = arguments.output or Path(__file__).parent / "results"
    common = ("--threads", arguments.threads, "--steps", arguments.steps)
    axes: dict[str, Any] = {}
    for axis in arguments.axes.split(","):
        found: dict[str, Any] = {}
        for subject, size in points_of(axis, arguments.largest):
            if wanted and subject not in wanted:
                continue
            point = json.loads(answer_of(__file__, "--point", subject, axis, size, *common))
            found.setdefault(subject, {"points": []})["points"].append(point)
            print(
                f"  {subject}, {size:,} {LABELS[axis]}: {point['seconds']:.2f} s of processor "
                f"time, {point['added_memory_mib']:,.0f} MiB more, in all "
                f"{point['process_mib']:,.0f}",
                flush=True,
            )
        for record in found.values():
            points = record["points"]
            record["slopes"] = {value: slopes(points, value) for value in VALUES}
            record["largest_to_smallest"] = round(points[-1]["seconds"] / points[0]["seconds"], 2)
        axes[axis] = found
        picture(axis, found, folder / f"growth-{axis}.png")
    unless_varied = {"items": ITEMS, "batch": BATCH_SIZE, "exact_items": POSTTRAINING.exact_items}
    write_result(Path(__file__), {**unless_varied, "axes": axes}, arguments.output)


if __name__ == "__main__":
    main()
