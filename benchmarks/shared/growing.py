"""What benchmarks/growth.py measures: a unit of work of each subject, on a log of one size."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
from posttrain_step import step_of
from shared.memory import peak_resident_mib, start_of_peak
from shared.workload import BATCH_SIZE, LENGTH, SHORTEST, synthetic
from torch import from_numpy
from train_step import our_step

from recsys_posttrain.algorithms import ASFT, CQL, DPO, OfflinePPO
from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.data.hold_out import targets_where
from recsys_posttrain.data.repeats import removed_for
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.evaluation.ranking import top_items
from recsys_posttrain.losses import SampledSoftmax
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.studies.run import Run
from recsys_posttrain.training.catalogue import proposal_of
from recsys_posttrain.training.posttrain import POSTTRAINING
from recsys_posttrain.types import Corpus, Split

TARGETS = 512  # of an evaluation, unless users are the axis
MEAN_LENGTH = 12  # where users are the axis
# One of each family.
METHODS: dict[str, Algorithm] = {
    "weighted likelihood (ASFT)": ASFT(),
    "preferences (DPO)": DPO(),
    "policy gradient (OfflinePPO)": OfflinePPO(),
    "value based (CQL)": CQL(),
}
SUBJECTS = ("pretraining", "pretraining, sampled", *METHODS, "evaluation", "recommending")
EXACT = ", exact"  # the same step with sums over the whole catalogue


def log_of(axis: str, size: int, steps: int) -> tuple[Corpus, int]:
    """The log of one point, and the longest history that a model reads."""
    # Targets that their user has had are left out, as everywhere: up to 7 of 10 here.
    users = max(BATCH_SIZE * (steps + 1), 4 * TARGETS)
    if axis == "events":
        mean = float(synthetic(users=2_000, longest=LENGTH + 1).sequences.lengths_N.double().mean())
        return synthetic(users=round(size / mean), longest=LENGTH + 1), LENGTH
    if axis == "users":
        return synthetic(users=size, shortest=MEAN_LENGTH, longest=MEAN_LENGTH), LENGTH
    if axis == "catalogue":
        return synthetic(users=users, items=size, shortest=SHORTEST, longest=LENGTH + 1), LENGTH
    return synthetic(users=users, shortest=size + 1, longest=size + 1), size


def measure(subject: str, axis: str, size: int, steps: int) -> dict[str, Any]:
    """One point, in this process: processor seconds of the unit, the median of `steps` after one
    that is not counted (an evaluation is done once), and peak memory above the process with its
    data and models."""
    corpus, length = log_of(axis, size, steps)
    data = LeaveOneOut(minimum_item_ratings=1).split(corpus)
    work = units(subject, data, axis, length, steps)
    next(work)  # models are there
    before, seconds = start_of_peak(), list[float]()
    began = time.process_time()
    for _ in work:
        seconds.append(time.process_time() - began)
        began = time.process_time()
    return {
        "size": len(corpus.sequences.items_E) if axis == "events" else size,
        "seconds": round(median(seconds[1:] or seconds), 4),
        "added_memory_mib": round(peak_resident_mib() - before, 1),
        "process_mib": round(peak_resident_mib(), 1),
        "table_mib": round(4 * SASRec().dim * corpus.num_items / 2**20, 1),
    }


def units(subject: str, data: Split, axis: str, length: int, steps: int) -> Iterator[None]:
    """Stops before the work begins, and after each unit of it."""
    name = subject.removesuffix(EXACT)
    backbone, num_items = SASRec(max_length=length), data.corpus.num_items
    if name.startswith("pretraining"):
        stream = BatchStream(data.train, length, BATCH_SIZE, 1, seed=0)
        loss = {"loss": SampledSoftmax()} if name.endswith("sampled") else {}
        step = our_step(num_items, backbone, **loss)
        batches = list(islice(stream, steps + 1))
    elif name in METHODS:
        reference = FrozenPolicy(new_policy(backbone, num_items, seed=0))
        reward = RewardFactors().build(num_items).eval()
        batches = list(islice(POSTTRAINING.batches(data.train, length, seed=0), steps + 1))
        is_sampled = num_items > POSTTRAINING.exact_items and subject == name
        share_V = proposal_of(reference, batches[:1]) if is_sampled else None
        run = Run(algorithm=METHODS[name], posttraining=POSTTRAINING)
        step = step_of(run, data, reference, reward, share_V)
    else:
        evaluation = evaluation_of(name, data, backbone, axis)
        yield
        evaluation()
        yield
        return
    yield
    for batch in batches:
        step(batch)
        yield


def evaluation_of(name: str, data: Split, backbone: SASRec, axis: str) -> Callable[[], object]:
    kept_N = np.arange(len(data.test.items_N)) < (TARGETS if axis != "users" else np.inf)
    targets = targets_where(data.test, from_numpy(kept_N))
    policy = new_policy(backbone, data.corpus.num_items, seed=1).eval()
    if name == "recommending":
        return lambda: top_items(*policy.scores(targets.history), 10, removed_for(targets))
    reference = FrozenPolicy(new_policy(backbone, data.corpus.num_items, seed=0))
    reward = RewardFactors().build(data.corpus.num_items).eval()
    return lambda: evaluate(policy, replace(data, test=targets), reward, reference)
