"""What noise in the reward adds to a post-training step, by ratio to the same step without it.

    python benchmarks/noise.py [--data-root ml-1m.zip] [--threads 1] [--rows 64]

OfflinePPO asks the reward model for samples and for its exact mean under the reference; ASFT(model)
weights logged items by prediction minus that mean. Weights are random: the time does not depend
on them. Two kinds of steps: `first` computes everything, as on a position that no step has had yet;
`remembered` reads what frozen models say of a position from memory, as every later step of a study
does (frozen.py), where only resampled noise has to be asked again. The steps take turns in one
process, and the ratio of the CPU seconds of neighbours in time is taken: on a shared machine that
is what can be compared.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from shared.workload import LENGTH, machine, ml_1m_or_synthetic, parsed, parser_of, show_result

from recsys_posttrain.algorithms import ASFT, OfflinePPO
from recsys_posttrain.algorithms.actors import Actors, logged_rewards
from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.algorithms.signals import model_reward, reference_value
from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.data.positions import TrainingPositions
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.rewards.noise import (
    Gaussian,
    Independent,
    ItemBias,
    PopularityBias,
    RareOptimism,
    RewardNoise,
    UserBias,
)
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.training.posttrain import POSTTRAINING
from recsys_posttrain.types import Batch, LossOutput, Sequences, Split

ALGORITHMS: dict[str, Algorithm] = {
    "OfflinePPO": OfflinePPO(),
    "ASFT(model)": ASFT(model_reward, reference_value),
}
NOISES = {
    "none": RewardNoise(),
    "Gaussian": RewardNoise(model=Gaussian(0.5)),
    "Gaussian, resampled": RewardNoise(model=Gaussian(0.5, resampled=True)),
    "Independent, resampled": RewardNoise(model=Independent(0.5, resampled=True)),
    "ItemBias": RewardNoise(model=ItemBias(0.5)),
    "UserBias": RewardNoise(model=UserBias(0.5)),
    "PopularityBias": RewardNoise(model=PopularityBias(0.5)),
    "RareOptimism": RewardNoise(model=RareOptimism(0.5)),
    "log: Independent, resampled": RewardNoise(log=Independent(0.5, resampled=True)),
}
Step = Callable[[Batch], None]


def step_of(
    algorithm: Algorithm, noise: RewardNoise, data: Split, positions: TrainingPositions | None
) -> Step:
    """What `posttrain` does between two batches; with positions it remembers."""
    num_items = data.corpus.num_items
    reference = FrozenPolicy(new_policy(SASRec(), num_items, seed=0))
    reward = RewardEnsemble().build(num_items, 3.5)
    noisy = noise.on_model(reward, data, reference)
    actors = Actors(reference, noisy, logged_rewards(data.train, num_items))
    actors.set_logits_dtype(POSTTRAINING.logits_dtype("cpu"))
    log = noise.on_log(data, reference)
    for frozen in (reference, noisy):
        frozen.set_positions(positions if log.redraw is None else None)

    def objective(batch: Batch) -> LossOutput:
        actors.clear_cache()
        actors.reward.resample(actors.generator.initial_seed())
        if log.redraw is not None:
            batch = log.redraw(batch, actors.generator.initial_seed())
        return algorithm.loss(batch, actors)

    module = TrainingModule(actors, objective, POSTTRAINING, seed=0, dropout=False)
    module.model.train(False)
    optimizer = module.configure_optimizers()

    def step(batch: Batch) -> None:
        actors.step += 1
        actors.generator.manual_seed(actors.step)
        optimizer.zero_grad()
        module.training_step(batch, 0).backward()
        optimizer.step()

    return step


def first_of(sequences: Sequences, count: int) -> Sequences:
    """A log short enough to be remembered for each noise anew."""
    offsets_N1 = sequences.offsets_N1[: count + 1]
    events = slice(0, int(offsets_N1[-1]))
    return Sequences(
        sequences.items_E[events],
        sequences.rewards_E[events],
        sequences.timestamps_E[events],
        offsets_N1,
    )


def cpu_seconds(step: Step, batch: Batch) -> float:
    began = time.process_time()
    step(batch)
    return time.process_time() - began


def compare(
    algorithm: Algorithm,
    data: Split,
    positions: TrainingPositions | None,
    batch: Batch,
    rounds: int,
) -> dict[str, dict[str, float]]:
    """For each noise: medians over rounds of the seconds and of the ratio to the step before it
    without noise."""
    steps = {name: step_of(algorithm, noise, data, positions) for name, noise in NOISES.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    ratios: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + 1):
        for name, step in steps.items():
            plain, noisy = cpu_seconds(steps["none"], batch), cpu_seconds(step, batch)
            if round_ > 0:  # the first step allocates, and remembers
                seconds[name].append(noisy)
                ratios[name].append(noisy / plain)
    return {
        name: {
            "seconds": round(statistics.median(seconds[name]), 4),
            "ratio": round(statistics.median(ratios[name]), 3),
        }
        for name in steps
    }


def main() -> None:
    counts = {"rounds": 5, "rows": POSTTRAINING.batch_size, "threads": 1}
    arguments = parsed(parser_of(__doc__, reads_data=True, **counts))

    data = ml_1m_or_synthetic(arguments.data_root)
    remembered = first_of(data.train, 4 * arguments.rows)
    batch = next(iter(BatchStream(remembered, LENGTH, arguments.rows, 1, seed=0)))
    print(f"{data.corpus.name}: {len(batch.action_N):,} events a step; {machine()}")
    kinds = {"first": None, "remembered": TrainingPositions(remembered, LENGTH)}
    result = {
        "dataset": data.corpus.name,
        "events": len(batch.action_N),
        "items": data.corpus.num_items,
        "rounds": arguments.rounds,
        "cpu_seconds_of_a_step": {
            f"{name}, {kind}": compare(algorithm, data, positions, batch, arguments.rounds)
            for name, algorithm in ALGORITHMS.items()
            for kind, positions in kinds.items()
        },
    }
    show_result(Path(__file__), result)


if __name__ == "__main__":
    main()
