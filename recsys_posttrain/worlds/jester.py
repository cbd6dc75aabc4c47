"""Jester as a world: people who rated all 100 jokes, and a log of the jokes we show them.

The complete block of ratings is the reward of every choice, measured, so the value of any policy
is a look-up. Only the log is ours. At each step user u is shown joke v, out of those not shown yet,
with probability proportional to

    count_v ** popularity * exp(preference * (r_uv + noise * e_uv))

where count_v is how many of the file's other users rated the joke, r_uv is the reward, and e_uv is
one standard normal number per user and joke: a display that knows popularity and some of the taste.
Each user is shown a number of jokes drawn evenly from 3 to `length`, so the last one, the target of
every split, is at a random position.
The logged reward is the person's own rating, mapped from -10..10 to 1..5 in a straight line,
r = 3 + rating / 5, not rounded to stars.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from recsys_posttrain.config import require
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Interactions
from recsys_posttrain.worlds.base import Truth
from recsys_posttrain.worlds.jester_file import jester_ratings
from recsys_posttrain.worlds.plackett_luce import Draws, draw_without_replacement

USERS, JOKES = 7200, 100
SHORTEST = 3  # jokes shown to anyone
SECONDS = 60  # between two jokes; the file has no times


class _World(NamedTuple):
    """The users, their rewards and the log."""

    user_id_U: NDArray[np.int64]  # row in the file, from 1
    reward_UV: NDArray[np.float64]
    logit_UV: NDArray[np.float64]  # of the logging policy
    drawn: Draws  # as many for each user
    shown_UL: NDArray[np.bool_]  # those of the log: the first of each user


@dataclass(frozen=True)
class Jester:
    """The Jester world; popularity, preference and noise are those of the formula above."""

    users: int = USERS  # drawn at random from the 7,200 complete ones
    length: int = 40  # the most jokes shown to a user
    popularity: float = 2.0
    preference: float = 0.5
    noise: float = 1.0
    seed: int = 0  # of the users, the noise and the draws
    data_root: str | None = field(default=None, compare=False)  # see `sources.fetch`

    def __post_init__(self) -> None:
        require(
            1 <= self.users <= USERS,
            f"Jester: users={self.users}, but {USERS:,} users rated all {JOKES} jokes; ask for 1 "
            f"to {USERS:,}.",
        )
        require(
            SHORTEST <= self.length <= JOKES,
            f"Jester: length={self.length} must be from {SHORTEST} (one joke to train on, one to "
            f"validate, one to test) to {JOKES} (all there are).",
        )
        require(self.noise >= 0, f"Jester: noise={self.noise} must be 0 or more.")

    @property
    def name(self) -> str:
        return "jester"

    def content_hash(self) -> str:
        """Of the log itself, so of everything that it depends on."""
        return _hash(self._frame(self._world))

    def load(self) -> Interactions:
        """User by user, in the order shown; user_id is the row in the file, item_id the joke, both
        from 1."""
        frame = self._frame(self._world)
        return Interactions(self.name, frame, _hash(frame))

    def truth(self) -> Truth:
        """The block itself: a user's state is their rewards, a joke's factor picks its own."""
        world = self._world
        return Truth(
            state_UR=torch.from_numpy(world.reward_UV).float(),
            factor_VR=torch.eye(JOKES),
            user_ids=world.user_id_U,
            item_ids=np.arange(1, JOKES + 1),
        )

    def logging_logits(self) -> NDArray[np.float64]:
        """The logging policy is their softmax over the jokes not shown yet, [U, V], in the order of
        the truth. They hold true rewards: for evaluation alone, as the truth."""
        return self._world.logit_UV

    @cached_property
    def _world(self) -> _World:
        rating_UV = jester_ratings(self.data_root)
        is_complete_U = ~np.isnan(rating_UV).any(axis=1)
        count_V = (~np.isnan(rating_UV[~is_complete_U])).sum(axis=0)
        row_U = np.flatnonzero(is_complete_U)
        row_U = np.sort(self._generator("users").permutation(row_U)[: self.users])
        reward_UV = 3 + rating_UV[row_U] / 5
        taste_UV = reward_UV + self.noise * self._generator("taste").standard_normal(
            reward_UV.shape
        )
        logit_UV = self.popularity * np.log(count_V) + self.preference * taste_UV
        drawn = draw_without_replacement(logit_UV, self.length, self._generator("log"))
        lengths_U = self._generator("lengths").integers(SHORTEST, self.length + 1, len(row_U))
        is_shown_UL = np.arange(self.length) < lengths_U[:, None]
        return _World(row_U + 1, reward_UV, logit_UV, drawn, is_shown_UL)

    def _frame(self, world: _World) -> pd.DataFrame:
        row_E, step_E = world.shown_UL.nonzero()
        joke_E = world.drawn.index_NL[row_E, step_E]
        return pd.DataFrame(
            {
                "user_id": world.user_id_U[row_E],
                "item_id": joke_E + 1,
                "rating": world.reward_UV[row_E, joke_E],
                "timestamp": SECONDS * (step_E + 1),
                "propensity": world.drawn.propensity_NL[world.shown_UL],
            }
        )

    def _generator(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng(derived_seed(self.seed, "jester", purpose))


def _hash(frame: pd.DataFrame) -> str:
    content = hashlib.sha256()
    for column in frame.columns:
        content.update(frame[column].to_numpy().tobytes())
    return content.hexdigest()
