"""KuaiRec's full matrix as a world: people whose watching of nearly every video is known.

small_matrix.csv (data/kuairec.py) holds 99.6% of all pairs of 1,411 users and 3,327 videos. The
reward is the share of a video that was watched, at most twice, as stars: r = 1 + 2 min(ratio, 2).
A pair that is missing (the user blocked the author) has the user's mean plus what the video's mean
is above that of all, within 1 to 5. Where a pair stands twice, the mean counts.

Only the log is ours. User u is shown video v, out of those not shown yet, with probability
proportional to

    exp(popularity * z_v + preference * (r_uv + noise * e_uv))

where z_v is the video's mean reward over users, in standard deviations over videos, and e_uv one
standard normal number per user and video. Each user is shown a number of videos drawn evenly from 3
to `length`.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from recsys_posttrain.config import require
from recsys_posttrain.data.kuairec import URL
from recsys_posttrain.data.published import published_file
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Interactions
from recsys_posttrain.worlds.base import Truth
from recsys_posttrain.worlds.plackett_luce import draw_without_replacement

SHORTEST = 3  # videos shown to anyone
SECONDS = 60  # between two videos
MOST = 2.0  # times that a video counts as watched


@dataclass(frozen=True)
class KuaiRecWorld:
    """popularity, preference and noise are those of the formula above."""

    length: int = 60  # the most videos shown to a user
    popularity: float = 1.0
    preference: float = 0.5
    noise: float = 1.0
    seed: int = 0  # of the noise and the draws
    data_root: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        require(self.length >= SHORTEST, f"KuaiRecWorld: length={self.length}; give 3 or more.")
        require(self.noise >= 0, f"KuaiRecWorld: noise={self.noise} must be 0 or more.")

    @property
    def name(self) -> str:
        return "kuairec-world"

    def content_hash(self) -> str:
        """Of the log itself, so of everything that it depends on."""
        content = hashlib.sha256()
        for column in self._frame.columns:
            content.update(self._frame[column].to_numpy().tobytes())
        return content.hexdigest()

    def load(self) -> Interactions:
        """User by user, in the order shown."""
        return Interactions(self.name, self._frame, self.content_hash())

    def truth(self) -> Truth:
        """The matrix itself: a user's state is their rewards, a video's factor picks its own."""
        user_ids, item_ids, reward_UV = self._matrix
        state_UR = torch.from_numpy(reward_UV).float()
        return Truth(state_UR, torch.eye(len(item_ids)), user_ids, item_ids)

    @cached_property
    def _matrix(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Ids of users and videos, and every reward."""
        path = published_file(self.name, URL, self.data_root, ["small_matrix.csv"])
        frame = pd.read_csv(path, usecols=["user_id", "video_id", "watch_ratio"])
        require(
            frame["watch_ratio"].ge(0).all(),  # NaN is not
            f"{path}: watch_ratio must be 0 or more in every row; give the original file.",
        )
        reward = 1 + 2 * frame["watch_ratio"].clip(upper=MOST)
        user_E, user_ids = pd.factorize(frame["user_id"], sort=True)
        item_E, item_ids = pd.factorize(frame["video_id"], sort=True)
        shape, pair_E = (len(user_ids), len(item_ids)), user_E * len(item_ids) + item_E
        count_UV = np.bincount(pair_E, minlength=shape[0] * shape[1]).reshape(shape)
        total_UV = np.bincount(pair_E, reward, shape[0] * shape[1]).reshape(shape)
        user_U1 = total_UV.sum(1, keepdims=True) / count_UV.sum(1, keepdims=True)
        item_V = total_UV.sum(0) / count_UV.sum(0)
        reward_UV = (user_U1 + item_V - reward.mean()).clip(1, 1 + 2 * MOST)
        np.divide(total_UV, count_UV, out=reward_UV, where=count_UV > 0)
        return np.asarray(user_ids), np.asarray(item_ids), reward_UV

    @cached_property
    def _frame(self) -> pd.DataFrame:
        user_ids, item_ids, reward_UV = self._matrix
        require(
            self.length <= len(item_ids),
            f"KuaiRecWorld: length={self.length}, and there are {len(item_ids):,} videos.",
        )
        mean_V = reward_UV.mean(axis=0)
        standard_V = (mean_V - mean_V.mean()) / max(float(mean_V.std()), 1e-12)
        taste_UV = self._generator("taste").standard_normal(reward_UV.shape) * self.noise
        logit_UV = self.popularity * standard_V + self.preference * (reward_UV + taste_UV)
        drawn = draw_without_replacement(logit_UV, self.length, self._generator("log"))
        length_U = self._generator("lengths").integers(SHORTEST, self.length + 1, len(user_ids))
        row_E, step_E = (np.arange(self.length) < length_U[:, None]).nonzero()
        item_E = drawn.index_NL[row_E, step_E]
        return pd.DataFrame(
            {
                "user_id": user_ids[row_E],
                "item_id": item_ids[item_E],
                "rating": reward_UV[row_E, item_E],
                "timestamp": SECONDS * (step_E + 1),
                "propensity": drawn.propensity_NL[row_E, step_E],
            }
        )

    def _generator(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng(derived_seed(self.seed, "kuairec", purpose))
