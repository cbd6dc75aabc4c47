"""What a noise is: an error for every (history, item), which the policy may or may not see.

An error field has the form of a reward model, e(n, v) = state_n . factor_v, so that the errors of
the whole catalogue cost a few more columns in a product that is made anyway. On a reward model it
is added to each prediction, on a log to the reward of each logged action. A noise without a field
(data_noise.py) changes the data instead.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Batch, Split

# (state_NQ, factor_VQ) in reward units. A state reads events strictly before the action.
Field = Callable[[Batch], tuple[Tensor, Tensor]]


@runtime_checkable
class ErrorNoise(Protocol):
    """A frozen dataclass with a `level` and its error field.

    A noise whose `resampled` is True draws another field from each step's seed, with a mean of 0
    over seeds; one without that member is frozen.
    """

    @property
    def level(self) -> float: ...

    def field(self, data: Split, reference: Policy, seed: int) -> Field:
        """The field of this seed, the same in training and evaluation: `sequences_B` of its batches
        are users of the corpus. data: for sizes and popularity. reference: pi_ref."""
        ...


def is_resampled(noise: object) -> bool:
    return bool(getattr(noise, "resampled", False))


@dataclass(frozen=True)
class Level:
    """What every kind has: a level from 0 to `most`. Errors: UserError for another one."""

    level: float
    most: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        limit = (
            "a finite number, at least 0" if self.most == math.inf else f"from 0 to {self.most:g}"
        )
        require(
            math.isfinite(self.level) and 0 <= self.level <= self.most,
            f"{type(self).__name__}: level={self.level} must be {limit}.",
        )


@dataclass(frozen=True)
class Drawn(Level):
    """A kind whose errors are drawn: once, or at every step if resampled."""

    resampled: bool = False


def normals(seed: int, name: str, *shape: int) -> Tensor:
    """Independent N(0, 1) in float32, a function of (seed, name); more rows keep the first ones."""
    generator = np.random.default_rng(derived_seed(seed, name))
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))


def ones(batch: Batch) -> Tensor:
    """[N, 1]: the state of an error that only depends on the item."""
    return torch.ones_like(batch.reward_N)[:, None]
