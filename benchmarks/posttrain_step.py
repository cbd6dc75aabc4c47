"""The step of every algorithm, in units of a step of behaviour cloning.

    python benchmarks/posttrain_step.py [--data-root ml-1m.zip] [--threads 2]

Policies and the reward model are untrained: a step costs the same. The algorithms take turns on the
same batches, and the median over rounds of the ratio to BC in the same round is reported. What
frozen models say about the training log is in memory after the first round, as it is in a study
after its first run (frozen.py); `filling` is what it takes to get there, once. Algorithms that the
main study does not have are here with their defaults.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from shared.workload import LENGTH, machine, ml_1m_or_synthetic, parsed, parser_of, show_result

from recsys_posttrain import algorithms
from recsys_posttrain.algorithms.actors import Actors, logged_rewards
from recsys_posttrain.algorithms.base import after_step, heads_of
from recsys_posttrain.data.positions import TrainingPositions
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.studies.run import Run
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.training.posttrain import POSTTRAINING
from recsys_posttrain.types import Batch, LossOutput, Split
from recsys_posttrain.untrained.base import Untrained

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from movielens_main import RUNS

MAIN = {type(run.algorithm) for run in RUNS}
OTHERS = [
    replace(RUNS[0], algorithm=kind())
    for kind in vars(algorithms).values()
    if isinstance(kind, type) and hasattr(kind, "loss") and kind not in MAIN
]

Step = Callable[[Batch], None]


def step_of(run: Run, data: Split, reference: FrozenPolicy, reward: RewardModel) -> Step:
    num_items, algorithm = data.corpus.num_items, run.algorithm
    assert not isinstance(algorithm, Untrained)
    heads = heads_of(algorithm, reference.item_embedding_VD.shape[1], num_items)
    actors = Actors(reference, reward, logged_rewards(data.train, num_items), heads)
    actors.set_logits_dtype(run.posttraining.logits_dtype("cpu"))

    def objective(batch: Batch) -> LossOutput:
        actors.clear_cache()
        return algorithm.loss(batch, actors)

    module = TrainingModule(actors, objective, run.posttraining, seed=0, dropout=False)
    optimizer = module.configure_optimizers()

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        module.training_step(batch, 0).backward()
        optimizer.step()
        actors.step += 1
        after_step(algorithm, actors)

    return step


def main() -> None:
    arguments = parsed(parser_of(__doc__, reads_data=True, rounds=7, batches=2))

    data = ml_1m_or_synthetic(arguments.data_root)
    num_items = data.corpus.num_items
    base = RUNS[0]
    reference = FrozenPolicy(new_policy(base.setup.backbone, num_items, seed=0))
    reward = RewardEnsemble().build(num_items, 3.5).eval()
    steps = {run.label: step_of(run, data, reference, reward) for run in [*RUNS, *OTHERS]}
    stream = iter(POSTTRAINING.batches(data.train, LENGTH, seed=0))
    batches = [next(stream) for _ in range(arguments.batches)]
    events = sum(len(batch.action_N) for batch in batches)
    print(f"{data.corpus.name}: {events:,} events in {len(batches)} batches; {machine()}")

    for model in (reference, reward):
        model.set_positions(TrainingPositions(data.train, LENGTH))
    began = time.perf_counter()
    for step in steps.values():
        step(batches[0])
    filling = time.perf_counter() - began
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            for batch in batches:
                step(batch)
            seconds[name].append(time.perf_counter() - began)
    result = {
        "dataset": data.corpus.name,
        "batches": len(batches),
        "rounds": arguments.rounds,
        "filling_seconds": round(filling, 1),
        "microseconds_per_event_median": {
            name: round(1e6 * statistics.median(each) / events, 1) for name, each in seconds.items()
        },
        "ratio_to_bc_median": {
            name: round(
                statistics.median(one / bc for one, bc in zip(each, seconds["BC"], strict=True)), 2
            )
            for name, each in seconds.items()
        },
    }
    show_result(Path(__file__), result)


if __name__ == "__main__":
    main()
