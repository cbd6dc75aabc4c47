"""How post-training, evaluation and recommending grow with the catalogue, from 10^4 to 10^6 items.

    python benchmarks/large_catalogue.py [--threads 2] [--largest 1e6] [--subjects BC,evaluate]

Synthetic data of ML-1M's lengths, untrained models of the default sizes, and a reward model of
factors. Each point is a process of its own, so that its peak memory is its own.

* A method: processor seconds of a step of POSTTRAINING (64 sequences), the median of `--steps`
  after one that is not counted. Above `exact_items` sums are estimated from a sample, as they are
  in training; `exact` is the same step with exact sums, up to 10^5 items.
* proposal: what is drawn from, once per policy.
* evaluate, curve_point, recommend: of 512 users, with a reference and a reward model; top 10.

Added memory is the peak during the work above the process with its data and models. `table` is one
item table; a method has four more of them than the reference: policy, gradient and two moments.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from growth import slopes
from posttrain_step import step_of
from shared.memory import answer_of, peak_resident_mib, start_of_peak
from shared.workload import LENGTH, machine, parsed, parser_of, synthetic, write_result

from recsys_posttrain.algorithms import (
    ASFT,
    BC,
    CQL,
    DPO,
    GRPO,
    KTO,
    SNQN,
    ExactPPO,
    OfflinePPO,
)
from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.data.repeats import removed_for
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.evaluation.over_optimisation import curve_point
from recsys_posttrain.evaluation.ranking import top_items
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import Policy, new_policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.studies.run import Run
from recsys_posttrain.training.catalogue import proposal_of
from recsys_posttrain.training.posttrain import POSTTRAINING
from recsys_posttrain.types import Split

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
MOST_EXACT = 100_000  # items, of the comparison with exact sums
USERS = 512
METHODS = {
    type(each).__name__: each
    for each in (
        BC(), ASFT(), CQL(), SNQN(), DPO(), KTO(), GRPO(), OfflinePPO(), ExactPPO()
    )
}  # fmt: skip
WORK = ("proposal", "evaluate", "curve_point", "recommend")


def work_of(
    name: str, data: Split, policy: Policy, reference: FrozenPolicy, reward: RewardModel
) -> Callable[[], object]:
    """What is measured of a subject that is no method."""

    def proposal() -> object:
        stream = POSTTRAINING.batches(data.train, LENGTH, seed=0)
        return proposal_of(reference, islice(stream, 1))

    def recommend() -> object:
        scores = policy.scores(data.test.history)
        return top_items(*scores, 10, removed_for(data.test))

    return {
        "proposal": proposal,
        "evaluate": lambda: evaluate(policy, data, reward, reference),
        "curve_point": lambda: curve_point(policy, reference, data.test, {"proxy": reward}),
        "recommend": recommend,
    }[name]


def measure(subject: str, size: int, steps: int) -> dict[str, Any]:
    """One point, in this process."""
    name, _, exact = subject.partition(", ")
    data = LeaveOneOut(minimum_item_ratings=1).split(synthetic(users=USERS, items=size))
    reference = FrozenPolicy(new_policy(SASRec(), size, seed=0))
    reward = RewardFactors().build(size).eval()
    if name in WORK:
        policy = new_policy(SASRec(), size, seed=1).eval()
        before = start_of_peak()
        began, begun = time.perf_counter(), time.process_time()
        work_of(name, data, policy, reference, reward)()
        seconds = [time.process_time() - begun]
        wall = time.perf_counter() - began
    else:
        stream = POSTTRAINING.batches(data.train, LENGTH, seed=0)
        is_large = size > POSTTRAINING.exact_items and not exact
        share_V = proposal_of(reference, islice(stream, 1)) if is_large else None
        batches = list(islice(stream, steps + 1))
        before, seconds, wall = start_of_peak(), [], 0.0
        run = Run(algorithm=METHODS[name], posttraining=POSTTRAINING)
        step = step_of(run, data, reference, reward, share_V)
        for batch in batches:
            began, begun = time.perf_counter(), time.process_time()
            step(batch)
            seconds.append(time.process_time() - begun)
            wall = time.perf_counter() - began
        seconds = seconds[1:]
    return {
        "subject": subject,
        "size": size,
        "seconds": round(statistics.median(seconds), 3),
        "wall_seconds": round(wall, 3),
        "added_memory_mib": round(peak_resident_mib() - before, 1),
        "table_mib": round(4 * SASRec().dim * size / 2**20, 1),
    }


def main() -> None:
    parser = parser_of(__doc__, steps=3)
    subjects = [*METHODS, *(f"{name}, exact" for name in METHODS), *WORK]
    parser.add_argument("--subjects", default="", help="separated by semicolons; default: all")
    parser.add_argument("--largest", type=float, default=math.inf, help="leave out larger points")
    parser.add_argument("--point", nargs=2, metavar=("SUBJECT", "SIZE"), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)  # a folder, for tests
    arguments = parsed(parser)
    if arguments.point:
        subject, size = arguments.point
        print(json.dumps(measure(subject, int(size), arguments.steps)))
        return

    print(machine(), flush=True)  # minutes pass between lines
    common = ("--threads", arguments.threads, "--steps", arguments.steps)
    found: dict[str, Any] = {}
    for subject in arguments.subjects.split(";") if arguments.subjects else subjects:
        points = []
        for size in SIZES:
            if size > arguments.largest or (subject.endswith("exact") and size > MOST_EXACT):
                continue
            points.append(json.loads(answer_of(__file__, "--point", subject, size, *common)))
            print(
                f"  {subject}, {size:,} items: {points[-1]['seconds']:.2f} s of processor time, "
                f"{points[-1]['added_memory_mib']:,.0f} MiB",
                flush=True,
            )
        found[subject] = {"points": points, "slope": slopes(points, "seconds")}
        first, last = points[0], points[-1]
        found[subject]["largest_to_smallest"] = round(last["seconds"] / first["seconds"], 2)
    result = {"users": USERS, "exact_items": POSTTRAINING.exact_items, "subjects": found}
    write_result(Path(__file__), result, arguments.output)


if __name__ == "__main__":
    main()
