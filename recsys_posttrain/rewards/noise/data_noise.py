"""Real errors, not injected ones: the reward model learns from worse data, or from less."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.rewards.noise.base import Drawn, Level
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Batch, Sequences


@dataclass(frozen=True)
class Flips(Drawn):
    """Each rating becomes another one with probability `level`: any other value of the log, evenly.

    Drawn once from (seed, user, place in the user's sequence); resampled, which only a log can be:
    at every step.
    """

    most = 1

    def log(self, train: Sequences, seed: int) -> Sequences:
        """Errors: UserError for a log of one value."""
        lengths_N = train.lengths_N.tolist()
        uniform = [
            np.random.default_rng(derived_seed(seed, "rating flips", user)).random((length, 2))
            for user, length in enumerate(lengths_N)
        ]
        uniform_E2 = torch.from_numpy(np.concatenate([*uniform, np.empty((0, 2))]))
        rewards_E = flipped(train.rewards_E, uniform_E2, _values(train), self.level)
        return replace(train, rewards_E=rewards_E)

    def redraw(self, train: Sequences, batch: Batch, seed: int) -> Batch:
        """The batch of a step, flipped anew. train: the log that it is from, for its values."""
        first_B1 = batch.history_rewards_BT[:, :1]
        rewards_BS = torch.cat([first_B1, batch.rewards_BT], dim=1)
        generator = torch.Generator().manual_seed(derived_seed(seed, "rating flips"))
        uniform_BS2 = torch.rand(*rewards_BS.shape, 2, generator=generator, dtype=torch.float64)
        flipped_BS = flipped(
            rewards_BS, uniform_BS2.to(rewards_BS.device), _values(train).to(rewards_BS), self.level
        )
        return batch._replace(
            history_rewards_BT=flipped_BS[:, :-1].masked_fill(~batch.mask_BT, 0),
            rewards_BT=flipped_BS[:, 1:].masked_fill(~batch.mask_BT, 0),
        )


def flipped(rewards: Tensor, uniform_2: Tensor, values_K: Tensor, probability: float) -> Tensor:
    """`rewards` of any shape [...], another of the sorted values where uniform_2[..., 0] is below
    the probability; uniform_2[..., 1] says which. Uniform numbers in [0, 1)."""
    count = len(values_K)
    step = 1 + (uniform_2[..., 1] * (count - 1)).long()
    place = torch.searchsorted(values_K, rewards.contiguous()).clamp(max=count - 1)
    return torch.where(uniform_2[..., 0] < probability, values_K[(place + step) % count], rewards)


def _values(train: Sequences) -> Tensor:
    values_K = torch.from_numpy(np.unique(train.rewards_E.numpy()))
    require(
        len(values_K) > 1,
        f"Flips: every rating of the log is {float(values_K[0]):g}, so there is no other to flip "
        "to; use a log with at least two different ratings.",
    )
    return values_K


@dataclass(frozen=True)
class Starvation(Level):
    """The reward model learns from fewer users. level: the share that is left out, below 1.

    The users that stop and judge its training stay. One seed leaves out more and more of the same
    users as the level rises; at least one user stays.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.level < 1, f"Starvation: level={self.level} must be below 1, or nobody is left."
        )

    def users(self, fit_N: Tensor, seed: int) -> Tensor:
        """Those of the users to learn from that stay."""
        generator = torch.Generator().manual_seed(derived_seed(seed, "starvation"))
        order_N = torch.randperm(len(fit_N), generator=generator)
        return fit_N[order_N[: max(1, round(len(fit_N) * (1 - self.level)))]]
