"""A MovieLens whose true preferences are known, because they are a model fitted on the real one.

Real: who there is, when and how often they rate. Drawn given the real ratings: what everybody would
rate every item (preferences.py). Fitted: how ratings scatter (ordinal.py), what is watched next
(logging_policy.py). Drawn from those: the items and ratings of the log.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array

from recsys_posttrain import store as stages
from recsys_posttrain.closure import code_digest
from recsys_posttrain.config import digest, require
from recsys_posttrain.data.movielens import MovieLens1M, MovieLens100K
from recsys_posttrain.data.notes import note
from recsys_posttrain.data.sources import cache_folder
from recsys_posttrain.files import read_parquet, write_parquet
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Interactions
from recsys_posttrain.worlds import ordinal, sampling
from recsys_posttrain.worlds.base import Truth
from recsys_posttrain.worlds.logging_policy import Log, LoggingPolicy, Weights
from recsys_posttrain.worlds.preferences import Preferences

TABLES = ("users.parquet", "items.parquet", "log.parquet")


@dataclass(frozen=True)
class SemiSyntheticMovieLens:
    """source: the real ratings. users: how many of its users, drawn evenly; None: all of them.

    Users keep their id, their number of events and their times, which are moved apart to differ
    by a second at least. Items keep their id. A rating's expectation given user and item is r*.
    The world is built once and kept in `cache_folder()`: minutes for ML-1M, seconds for ML-100K.
    """

    source: MovieLens100K | MovieLens1M = MovieLens100K()
    users: int | None = None
    seed: int = 0
    preferences: Preferences = Preferences()
    logging: LoggingPolicy = LoggingPolicy()

    def __post_init__(self) -> None:
        require(self.users is None or self.users >= 1, f"users is {self.users}; give 1 or more")

    @property
    def name(self) -> str:
        return f"semi-{self.source.name}"

    def content_hash(self) -> str:
        """Of the source's ratings, all fields and the code that builds the world."""
        return digest(self._key(), 64)

    def load(self) -> Interactions:
        """The log, by user and in time order.

        Raises: UserError when there are fewer users than asked for, or as the source's `load`.
        """
        frame = read_parquet(self._folder() / "log.parquet")
        return Interactions(self.name, frame, self.content_hash())

    def truth(self) -> Truth:
        """r* of its users and all items.

        Raises: as `load`.
        """
        users, items = (read_parquet(self._folder() / name) for name in TABLES[:2])
        return Truth(
            torch.tensor(users.drop(columns="user_id").to_numpy()),
            torch.tensor(items.drop(columns="item_id").to_numpy()),
            users["user_id"].to_numpy(),
            items["item_id"].to_numpy(),
        )

    def _key(self) -> dict[str, Any]:
        code = code_digest([fitted_and_drawn], (self.preferences, self.logging))
        return {"source": self.source.content_hash(), "world": self, "code": code}

    def _folder(self) -> Path:
        """The folder with the world's tables, which are built at the first call."""
        key = self._key()
        folder = stages.stage_folder(cache_folder() / "worlds", self.name, key)
        stages.build(folder, key, self._build, TABLES)
        return folder

    def _build(self, folder: Path) -> dict[str, Any]:
        note(f"{self.name}: fitting the world and drawing its log, once")
        frames = fitted_and_drawn(self, self.source.load().frame)
        for frame, name in zip(frames, TABLES, strict=True):
            write_parquet(frame, folder / name)
        return {"events": len(frames[2]), "users": len(frames[0])}


def fitted_and_drawn(world: SemiSyntheticMovieLens, real: pd.DataFrame) -> list[pd.DataFrame]:
    """The world's users, items and log. Raises: UserError for more users than there are."""
    seed = partial(derived_seed, world.seed, "semi-synthetic")
    user_E, user_ids = pd.factorize(real["user_id"])
    item_E, item_ids = pd.factorize(real["item_id"])
    known = len(user_ids)
    wanted = known if world.users is None else world.users
    require(
        wanted <= known,
        f"{world.name} has {known:,} users and cannot give {wanted:,}; set users to {known:,} or "
        "fewer",
    )
    # In the source's order.
    users_N = np.random.default_rng(seed("users")).choice(known, size=wanted, replace=False)
    users_N.sort()
    log, rating_E = _in_order(user_E, item_E, real)

    rating_NV = csr_array((rating_E, (log.user_E, log.item_E)))
    state_NR, factor_VR = world.preferences.draw(rating_NV, seed("preferences"))
    reward_NV = state_NR @ factor_VR.T  # float32, 90 MB for ML-1M, as the weights below
    weights = world.logging.weights(log, reward_NV, seed("taste"))

    kept_E = np.isin(log.user_E, users_N)
    user_E = log.user_E[kept_E]
    generator = np.random.default_rng(seed("draw"))
    item_E, propensity_E = sampling.draw_items(
        Weights(weights.item_NV[users_N], weights.follows_VV),
        log.lengths_N[users_N],
        log.sitting_E[kept_E],
        generator,
    )
    mean_E = reward_NV[user_E, item_E]
    star_K, count_K = np.unique(rating_E, return_counts=True)
    scatter = ordinal.calibrated(star_K, count_K / count_K.sum(), mean_E)
    drawn = pd.DataFrame(
        {
            "user_id": user_ids[user_E],
            "item_id": item_ids[item_E],
            "rating": scatter.draw(mean_E, generator),
            "timestamp": log.time_E[kept_E],
            "propensity": propensity_E,
        }
    )
    users = _factors("user_id", user_ids[users_N], state_NR[users_N])
    return [users, _factors("item_id", item_ids, factor_VR), drawn]


def _in_order(user_E: np.ndarray, item_E: np.ndarray, real: pd.DataFrame) -> tuple[Log, np.ndarray]:
    """The real events by user and in time, and their ratings."""
    order_E = np.lexsort((real["timestamp"], user_E))  # stable: ties keep the file's order
    user_E, item_E = user_E[order_E], item_E[order_E]
    time_E = apart(user_E, real["timestamp"].to_numpy()[order_E])
    log = Log(user_E, item_E, time_E, np.bincount(user_E), int(item_E.max()) + 1)
    return log, real["rating"].to_numpy()[order_E]


def apart(user_E: np.ndarray, time_E: np.ndarray) -> np.ndarray:
    """Each user's times, in order, moved to later whole seconds only as far as makes them differ.

    user_E: increasing.
    """
    # One running maximum for all users: each is moved beyond the users before, and each event
    # back by its place, because times one second apart are then equal.
    moved_E = user_E * (np.ptp(time_E) + len(time_E) + 1) - np.arange(len(time_E))
    return np.asarray(np.maximum.accumulate(time_E + moved_E) - moved_E)


def _factors(name: str, ids: Any, factor_NR: np.ndarray) -> pd.DataFrame:
    columns = [f"factor_{number}" for number in range(factor_NR.shape[1])]
    frame = pd.DataFrame(factor_NR, columns=columns)
    frame.insert(0, name, ids)
    return frame
