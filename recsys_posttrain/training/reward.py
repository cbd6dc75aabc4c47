"""Training of the reward ensemble, and its quality beside naive baselines on held-out users.

The judge is a second ensemble, trained on users that neither the policy nor its reward model learns
from. Its predictions do not rise where an algorithm exploits errors of its own reward model.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.data.batching import fixed_batches
from recsys_posttrain.data.split import latest_events
from recsys_posttrain.errors import UserError
from recsys_posttrain.rewards.baselines import NAIVE_BASELINES, judged_events
from recsys_posttrain.rewards.ensemble import EnsembleModule, RewardEnsemble, bootstrap_weights
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.rewards.quality import quality_frame
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.training.fit import Fitted, fit
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.types import Batch, LossOutput, Sequences, Split


class UserParts(NamedTuple):
    """Disjoint sets of users, as indices of their sequences."""

    fit_N: Tensor  # the model learns from them
    validation_N: Tensor  # early stopping looks at them
    judged_N: Tensor  # the quality table is measured on them


def user_parts(sequences: Sequences, held_out: float, seed: int) -> UserParts:
    """A random split of users: a share `held_out` in two halves, and the rest to learn from.

    Raises: UserError where fewer than three users have two events.
    """
    usable_N = (sequences.lengths_N >= 2).nonzero().squeeze(1)
    half = max(1, round(len(usable_N) * held_out / 2))
    if len(usable_N) < 2 * half + 1:
        raise UserError(
            f"a reward model cannot be trained: {len(usable_N)} users have two training events, "
            "and it needs at least three (one to learn from, two held out); give more data."
        )
    generator = torch.Generator().manual_seed(derived_seed(seed, "reward users"))
    shuffled_N = usable_N[torch.randperm(len(usable_N), generator=generator)]
    return UserParts(shuffled_N[2 * half :], shuffled_N[:half], shuffled_N[half : 2 * half])


def train_reward(
    data: Split,
    config: RewardEnsemble = RewardEnsemble(),
    seed: int = 0,
    folder: Path | None = None,
    device: str = "cpu",
    noise: RewardNoise = RewardNoise(),
) -> tuple[EnsembleModule, Fitted]:
    """A reward model by least squares on the logged rewards of the users of `data.reward`.

    Training stops when the error on the validation users no longer falls.

    folder: as for `pretrain`.
    noise: changes the training rewards or users (rewards/noise).

    Returns: the model in evaluation mode, and how long it was trained.
    Raises: UserError where the log has no rewards, or too few users.
    """
    missing = data.corpus.reward_scale.missing
    require(
        not missing,
        f"{data.corpus.name} has no rewards for a model to learn: {missing}; use methods that "
        "read none, such as BC.",
    )
    parts = user_parts(data.reward, config.held_out, seed)
    train, fit_N = noise.on_training(data.reward, parts.fit_N)
    length = config.encoder.max_length
    fit_on = latest_events(train, fit_N, length + 1)
    stop_on = latest_events(train, parts.validation_N, length + 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "reward weights"))
        model = config.build(data.corpus.num_items, float(fit_on.rewards_E.double().mean()))
    model.item_ids = data.corpus.item_ids
    weight_MS = bootstrap_weights(
        config.members, len(fit_on), derived_seed(seed, "reward bootstrap")
    )
    model.start_from_item_means(fit_on, weight_MS)

    def objective(batch: Batch) -> LossOutput:
        return model.loss(batch, weight_MS)

    def validate() -> dict[str, float]:
        predicted_E = predict_logged(model, stop_on)
        error_E = predicted_E - judged_events(stop_on).reward_E
        return {"negative_rmse": -float(np.sqrt(np.square(error_E).mean()))}

    module = TrainingModule(model, objective, config.training, seed, dropout=True)
    stream = config.training.batches(fit_on, length, seed)
    fitted = fit(
        module,
        stream,
        folder,
        device=device,
        validate=validate,
        monitor="negative_rmse",
    )
    return model.eval(), fitted


def train_judge(
    data: Split,
    config: RewardEnsemble = RewardEnsemble(),
    seed: int = 0,
    folder: Path | None = None,
    device: str = "cpu",
) -> tuple[EnsembleModule, Fitted]:
    """The judge: `train_reward` on users of its own, with seeds of its own.

    Raises: UserError where the split keeps no users for a judge.
    """
    return train_reward(of_judge(data), config, derived_seed(seed, "judge"), folder, device)


def judge_quality(
    model: EnsembleModule, data: Split, config: RewardEnsemble, seed: int
) -> pd.DataFrame:
    """The quality table of the judge that `train_judge` trained with this seed."""
    return reward_quality(model, of_judge(data), config, derived_seed(seed, "judge"))


def of_judge(data: Split) -> Split:
    """The same split, with the judge's users in place of those of the reward model.

    Raises: UserError where the split keeps no users for a judge.
    """
    require(
        data.judge is not None,
        f"the split of {data.corpus.name} keeps no users for a judge; use UserHoldout.",
    )
    assert data.judge is not None
    return replace(data, reward=data.judge)


@torch.inference_mode()
def predict_logged(model: EnsembleModule, sequences: Sequences) -> np.ndarray:
    """The ensemble's mean prediction for each event but the first of its sequence, [E], flat.

    sequences: each no longer than the model's max_length + 1.
    """
    order_N = sequences.lengths_N.argsort(descending=True, stable=True)
    order_N = order_N[sequences.lengths_N[order_N] >= 2]
    predicted = [
        model.logged_scores(batch).mean(dim=0)
        for batch in fixed_batches(sequences, model.max_length, batch_size=128)
    ]
    pieces = torch.split(torch.cat(predicted), (sequences.lengths_N[order_N] - 1).tolist())
    back_N = order_N.argsort()
    return torch.cat([pieces[index] for index in back_N.tolist()]).double().numpy()


def reward_quality(
    model: EnsembleModule, data: Split, config: RewardEnsemble, seed: int
) -> pd.DataFrame:
    """The quality table of the model and the naive baselines on the users that judge it.

    Their latest events are predicted, in the log's own unit; `quality_frame` has the columns.
    """
    parts = user_parts(data.reward, config.held_out, seed)
    length = config.encoder.max_length + 1
    fit_on = latest_events(data.reward, parts.fit_N, length)
    judged_on = latest_events(data.reward, parts.judged_N, length)
    predictions = {
        name: baseline(fit_on, judged_on, data.corpus.num_items)
        for name, baseline in NAIVE_BASELINES
    }
    predictions[f"ensemble of {config.members}"] = predict_logged(model, judged_on)
    judged, raw = judged_events(judged_on), data.corpus.reward_scale.from_stars
    rewards_E = data.reward.rewards_E
    return quality_frame(
        {name: raw(predicted_E) for name, predicted_E in predictions.items()},
        raw(judged.reward_E),
        judged.user_E,
        (raw(float(rewards_E.min())), raw(float(rewards_E.max()))),
        np.random.default_rng(derived_seed(seed, "reward quality")),
    )
