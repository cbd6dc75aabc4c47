"""Training of a reward model of any class."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from recsys_posttrain.config import require, require_kinds, require_trainer
from recsys_posttrain.data.split import whole_sequences
from recsys_posttrain.errors import UserError
from recsys_posttrain.fitted import Fitted
from recsys_posttrain.models.reward_model import RewardConfig, RewardData, RewardModel
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Sequences, Split


class UserParts(NamedTuple):
    """Disjoint sets of users, as indices of their sequences."""

    fit_N: Tensor  # the model learns from them
    validation_N: Tensor  # early stopping, or the choice of a setting, looks at them
    judged_N: Tensor  # the quality table is measured on them


def user_parts(sequences: Sequences, held_out: float, seed: int) -> UserParts:
    """A random split of users: a share `held_out` in two halves, and the rest to learn from.

    Raises: UserError where fewer than three users have two events.
    """
    usable_N = (sequences.lengths_N >= 2).nonzero().squeeze(1)
    half = min(round(len(usable_N) * held_out / 2), (len(usable_N) - 1) // 2)
    half = max(1, half)
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
    config: RewardConfig = RewardFactors(),
    seed: int = 0,
    folder: Path | None = None,
    device: str = "cpu",
    noise: RewardNoise = RewardNoise(),
) -> tuple[RewardModel, Fitted]:
    """A reward model of the logged rewards in `data.reward`; a share `config.held_out` of its users
    is kept from it.

    folder: as for `pretrain`.
    noise: changes the training rewards or users (rewards/noise).

    Returns: the model in evaluation mode, and how long it was trained.
    Raises: UserError where the log has no rewards, or too few users.
    """
    require_kinds({"folder": folder}, data=data, config=config, seed=seed)
    require_trainer(device, ())
    missing = data.corpus.reward_scale.missing
    require(
        not missing,
        f"{data.corpus.name} has no rewards for a model to learn: {missing}; use methods that "
        "read none, such as BC.",
    )
    if noise.of_training() != RewardNoise():
        check_learns(config, "noise in what a reward model learns from")
    parts = user_parts(data.reward, config.held_out, seed)
    train, fit_N = noise.on_training(data.reward, parts.fit_N)
    fit, validation = (whole_sequences(train, rows_N) for rows_N in (fit_N, parts.validation_N))
    learned = RewardData(fit, validation, data.corpus.num_items, data.corpus, fit_N)
    model, fitted = config.train(learned, seed, folder, device)
    model.know(data.corpus)
    return model.eval(), fitted


def check_learns(config: RewardConfig, what: str) -> None:
    """Raises: UserError where this reward model learns nothing, so that `what` cannot reach it."""
    require(
        getattr(config, "learns", True),
        f"{type(config).__name__} learns nothing from the log, so that {what} cannot change it; "
        "take one that does, such as RewardFactors, or leave it out.",
    )
