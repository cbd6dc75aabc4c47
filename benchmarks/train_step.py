"""Pretraining speed and memory: our step against a naive one, on the same batches, in one process.

    python benchmarks/train_step.py [--profile] [--data-root ml-1m.zip] [--threads 2]

Both train the same SASRec on full softmax over the catalogue. naive: padded to 200, logits of all
positions at once, cross_entropy, AdamW as it comes. ours: what TrainingModule does. They take
turns, and medians over rounds are reported: on a shared machine the ratio is what can be compared.
ratio_eligible_to_all is what it costs to leave out what users had, its pairs of position and item
built for every batch anew.
Memory is measured in a process of its own for each.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from shared.memory import answer_of, peak_resident_mib, start_of_peak
from shared.workload import (
    BATCH_SIZE,
    LENGTH,
    machine,
    ml_1m_or_synthetic,
    parsed,
    parser_of,
    show_result,
)
from torch import Tensor, nn

from recsys_posttrain.data.batching import BatchStream, batch_of
from recsys_posttrain.data.repeats import Rule
from recsys_posttrain.losses import FullSoftmax
from recsys_posttrain.losses.base import PretrainingLoss
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.types import Batch, History, LossOutput, Sequences

Step = Callable[[Batch], None]


def naive_step(num_items: int) -> Step:
    policy = new_policy(SASRec(), num_items, seed=0)
    backbone = policy.backbone.train()
    optimizer = torch.optim.AdamW(policy.parameters())

    def padded(values_BT: Tensor) -> Tensor:
        return nn.functional.pad(values_BT, (0, LENGTH - values_BT.shape[1]))

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        hidden_BTD = backbone(History(*map(padded, batch.history)))
        logits_BTV = hidden_BTD @ policy.item_embedding_VD.T
        index_BT = padded(batch.actions_BT * batch.mask_BT) - 1
        loss = nn.functional.cross_entropy(
            logits_BTV.flatten(0, 1), index_BT.flatten(), ignore_index=-1
        )
        loss.backward()
        optimizer.step()

    return step


def our_step(
    num_items: int, backbone: SASRec = SASRec(), loss: PretrainingLoss = FullSoftmax()
) -> Step:
    policy = new_policy(backbone, num_items, seed=0).train()
    per_position = loss.build(torch.ones(num_items))
    generator = torch.Generator().manual_seed(0)

    training = Training(epochs=1)
    policy.logits_dtype = training.logits_dtype("cpu")

    def objective(batch: Batch) -> LossOutput:
        policy.clear_cache()
        return LossOutput(per_position(policy, batch, generator), {})

    module = TrainingModule(policy, objective, training, seed=0, dropout=True)
    optimizer = module.configure_optimizers()

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        module.training_step(batch, 0).backward()
        module.on_after_backward()  # of large catalogues, sparse gradients become dense
        optimizer.step()

    return step


STEPS = {"naive": naive_step, "ours": our_step}


def seconds_of(step: Step, batches: list[Batch]) -> float:
    began = time.perf_counter()
    for batch in batches:
        step(batch)
    return time.perf_counter() - began


def compare(batches: list[Batch], num_items: int, rounds: int) -> dict[str, list[float]]:
    """Seconds for all batches, per round and kind; the kinds take turns."""
    steps = {name: make(num_items) for name, make in STEPS.items()}
    for step in steps.values():
        step(batches[0])  # the first step allocates
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            seconds[name].append(seconds_of(step, batches))
    return seconds


def with_eligible_items(
    batches: list[Batch], sequences: Sequences, num_items: int, rounds: int
) -> list[float]:
    """Seconds per round of our step on batches that exclude what users had, and are built in that
    time, by seconds of our step on the same batches as they are."""
    step = our_step(num_items)

    def masked(batch: Batch) -> None:
        step(batch_of(sequences, batch.sequences_B, LENGTH, rule=Rule(history=True)))

    kinds = (step, masked)
    seconds = [[seconds_of(kind, batches) for kind in kinds] for _ in range(rounds + 1)]
    return [slow / fast for fast, slow in seconds[1:]]  # the first round allocates


def profile(batches: list[Batch], num_items: int, rounds: int) -> dict[str, float]:
    """Smallest seconds of each part of our step, over rounds, for all batches."""
    policy = new_policy(SASRec(), num_items, seed=0).train()
    policy.logits_dtype = Training(epochs=1).logits_dtype("cpu")
    optimizer = torch.optim.AdamW(policy.parameters(), fused=True)
    best: dict[str, float] = {}
    for _ in range(rounds):
        spent: dict[str, float] = {}
        for batch in batches:
            clock = [time.perf_counter()]
            policy.clear_cache()
            hidden_ND = policy.hidden_states(batch)
            clock.append(time.perf_counter())
            # Cut here, so that the two halves of backward can be told apart.
            leaf_ND = hidden_ND.detach().requires_grad_()
            policy._latest = (batch, True, leaf_ND)
            loss = policy.weighted_nll(batch, torch.ones_like(batch.reward_N)).mean()
            clock.append(time.perf_counter())
            loss.backward()
            clock.append(time.perf_counter())
            hidden_ND.backward(leaf_ND.grad)
            clock.append(time.perf_counter())
            optimizer.step()
            optimizer.zero_grad()
            clock.append(time.perf_counter())
            names = (
                "states forward",
                "softmax, both ways",
                "its gradient in the states",
                "states backward",
                "optimizer",
            )
            for name, start, stop in zip(names, clock, clock[1:], strict=False):
                spent[name] = spent.get(name, 0.0) + stop - start
        best = {name: min(best.get(name, value), value) for name, value in spent.items()}
    return best


def added_memory_mib(kind: str, arguments: argparse.Namespace) -> float:
    """What the steps of one kind add to the peak of a process that only loaded the data."""
    words = ["--memory-of", kind, "--threads", arguments.threads, "--batches", arguments.batches]
    if arguments.data_root:
        words += ["--data-root", arguments.data_root]
    return float(answer_of(__file__, *words))


def main() -> None:
    parser = parser_of(__doc__, reads_data=True, rounds=5, batches=2)
    parser.add_argument("--profile", action="store_true", help="only print the parts of our step")
    parser.add_argument("--memory-of", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parsed(parser)

    data = ml_1m_or_synthetic(arguments.data_root)
    num_items = data.corpus.num_items
    stream = iter(BatchStream(data.train, LENGTH, BATCH_SIZE, 1, seed=0))
    batches = [next(stream) for _ in range(arguments.batches)]
    events = sum(len(batch.action_N) for batch in batches)

    if arguments.memory_of:
        before = start_of_peak()
        seconds_of(STEPS[arguments.memory_of](num_items), batches)
        print(peak_resident_mib() - before)
        return
    print(f"{data.corpus.name}: {events:,} events in {len(batches)} batches; {machine()}")
    if arguments.profile:
        parts = profile(batches, num_items, arguments.rounds)
        whole = sum(parts.values())
        for name, part in parts.items():
            print(f"  {name:<18}{1e6 * part / events:7.2f} us/event {part / whole:6.1%}")
        print(f"  {'sum':<18}{1e6 * whole / events:7.2f} us/event = {events / whole:,.0f} events/s")
        return

    seconds = compare(batches, num_items, arguments.rounds)
    result = {
        "dataset": data.corpus.name,
        "batches": len(batches),
        "rounds": arguments.rounds,
        "events_per_second_median": {
            name: round(events / statistics.median(each)) for name, each in seconds.items()
        },
        "events_per_second_best": {
            name: round(events / min(each)) for name, each in seconds.items()
        },
        # Neighbours in time share what else the machine was doing.
        "ratio_median": round(
            statistics.median(
                slow / fast for slow, fast in zip(seconds["naive"], seconds["ours"], strict=True)
            ),
            2,
        ),
        "ratio_eligible_to_all_median": round(
            statistics.median(
                with_eligible_items(batches, data.train, num_items, arguments.rounds)
            ),
            3,
        ),
        "ratio_of_best": round(min(seconds["naive"]) / min(seconds["ours"]), 2),
        "added_memory_mib": {name: round(added_memory_mib(name, arguments)) for name in STEPS},
    }
    show_result(Path(__file__), result)


if __name__ == "__main__":
    main()
