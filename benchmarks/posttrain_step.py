"""What a step of every method costs, in units of a step of behaviour cloning, and its memory.

    python benchmarks/posttrain_step.py [--data-root ml-1m.zip] [--threads 2]

Policies are untrained: a step costs the same. The reward model is the studies' default, and what
users had before is left out of the softmax, as in studies. The methods take turns on the same
batches, and the median over rounds of the ratio to BC in the same round is reported, of CPU time,
which other work on the machine changes least. What frozen models say about the training log
is in memory after the first round, as it is in a study after its first run (frozen.py); `filling`
is what it takes to get there, once. Memory: the most bytes of tensors that a method holds at once,
from its first step on, beyond what was there before it. results/posttrain_step.md is the table.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.workload import LENGTH, machine, ml_1m_or_synthetic, parsed, parser_of, show_result
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import recsys_posttrain as rp
from recsys_posttrain.algorithms.actors import Actors, logged_rewards
from recsys_posttrain.algorithms.base import after_step, heads_of
from recsys_posttrain.data.positions import TrainingPositions
from recsys_posttrain.data.repeats import rule_of
from recsys_posttrain.files import write_text
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.report.cells import Block, Sheet, cells, headings
from recsys_posttrain.report.render import markdown
from recsys_posttrain.report.table import in_families
from recsys_posttrain.studies.run import Run
from recsys_posttrain.training.catalogue import with_sample
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.training.posttrain import POSTTRAINING
from recsys_posttrain.types import Batch, LossOutput, Split
from recsys_posttrain.untrained.base import Untrained

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from movielens_main import ON_REQUEST, RUNS

Step = Callable[[Batch], None]


def step_of(
    run: Run,
    data: Split,
    reference: FrozenPolicy,
    reward: RewardModel,
    share_V: Tensor | None = None,
) -> Step:
    """share_V: the proposal that a sample of the catalogue is drawn from; None: sums are exact."""
    num_items, algorithm = data.corpus.num_items, run.algorithm
    assert not isinstance(algorithm, Untrained)
    heads = heads_of(algorithm, reference.item_embedding_VD.shape[1], num_items)
    actors = Actors(reference, reward, logged_rewards(data.train, num_items), heads)
    actors.set_logits_dtype(run.posttraining.logits_dtype("cpu"))

    def objective(batch: Batch) -> LossOutput:
        actors.clear_cache()
        if share_V is not None:
            number = run.posttraining.sampled_items
            batch = with_sample(batch, share_V, number, actors.generator)
        return algorithm.loss(batch, actors)

    module = TrainingModule(actors, objective, run.posttraining, seed=0, dropout=False)
    optimizer = module.configure_optimizers()

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        module.training_step(batch, 0).backward()
        module.on_after_backward()
        optimizer.step()
        actors.step += 1
        after_step(algorithm, actors)

    return step


def peak_mib(work: Callable[[], object]) -> float:
    """The most memory of tensors, in MiB, that the work holds at once, beyond what was there."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    now = most = 0
    assert profiled.profiler is not None
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most / 2**20


def table(record: dict[str, Any]) -> str:
    """The Markdown of results/posttrain_step.md."""
    ratios, memory = record["ratio_to_bc_median"], record["memory_mib"]
    families = in_families(list(ratios), record["family"])
    rows = [
        cells([name, f"{ratios[name]:.2f}", f"{mib:,.0f}", f"{mib - memory['BC']:+,.0f}"])
        for name, mib in ((name, memory[name]) for name in families)
    ]
    caption = (
        f"What a step of post-training costs on {record['dataset']}: CPU time in units of a step "
        f"of BC (median over {record['rounds']} rounds of {record['batches']} batches, methods in "
        "turns), the memory of its tensors at their most, and how much more than BC's that is. "
        f"Commit {record['commit']}; command: {record['command']}."
    )
    columns = headings("method", "step, in steps of BC", "MiB", "MiB beyond BC")
    return markdown(Sheet(caption, [Block("", columns, rows, tuple(families.values()))]))


def main() -> None:
    arguments = parsed(parser_of(__doc__, reads_data=True, rounds=7, batches=2))

    data = ml_1m_or_synthetic(arguments.data_root)
    num_items = data.corpus.num_items
    runs = {run.label: run for run in (*RUNS, *ON_REQUEST)}
    reference = FrozenPolicy(new_policy(RUNS[0].setup.backbone, num_items, seed=0))
    reward, _ = rp.train_reward(data)
    steps = {name: step_of(run, data, reference, reward) for name, run in runs.items()}
    stream = iter(POSTTRAINING.batches(data.train, LENGTH, 0, rule_of(data.corpus)))
    batches = [next(stream) for _ in range(arguments.batches)]
    events = sum(len(batch.action_N) for batch in batches)
    print(f"{data.corpus.name}: {events:,} events in {len(batches)} batches; {machine()}")

    for model in (reference, reward):
        model.set_positions(TrainingPositions(data.train, LENGTH))
    began = time.process_time()
    for step in steps.values():
        step(batches[0])
    filling = time.process_time() - began
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            began = time.process_time()
            for batch in batches:
                step(batch)
            seconds[name].append(time.process_time() - began)

    def memory(run: Run) -> float:
        step = step_of(run, data, reference, reward)
        # The first step makes the optimiser's state.
        return round(peak_mib(lambda: [step(batches[0]) for _ in range(2)]), 1)

    result = {
        "dataset": data.corpus.name,
        "batches": len(batches),
        "rounds": arguments.rounds,
        "filling_seconds": round(filling, 1),
        "family": {name: run.family for name, run in runs.items()},
        "microseconds_per_event_median": {
            name: round(1e6 * statistics.median(each) / events, 1) for name, each in seconds.items()
        },
        "ratio_to_bc_median": {
            name: round(
                statistics.median(one / bc for one, bc in zip(each, seconds["BC"], strict=True)), 2
            )
            for name, each in seconds.items()
        },
        "memory_mib": {name: memory(run) for name, run in runs.items()},
    }
    file = Path(__file__)
    show_result(file, result)
    written = file.parent / "results" / f"{file.stem}.json"
    write_text(written.with_suffix(".md"), table(json.loads(written.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
