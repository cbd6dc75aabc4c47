"""What a world's log does next: the probability of every choice, and how a choice is rated.

For evaluation alone, as the truth: both hold true rewards.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recsys_posttrain.basic_statistics import Floats
from recsys_posttrain.config import require
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Split
from recsys_posttrain.worlds import ordinal, semi_synthetic
from recsys_posttrain.worlds.jester import Jester
from recsys_posttrain.worlds.logging_policy import SITTING
from recsys_posttrain.worlds.semi_synthetic import SemiSyntheticMovieLens

Rated = Callable[[Floats, np.random.Generator], Floats]  # true rewards -> what the log says


class Choices(NamedTuple):
    """logit_NV: the log's policy is their softmax over the items that a user has not had."""

    logit_NV: Floats
    rated: Rated


def choices_at(world: Jester | SemiSyntheticMovieLens, data: Split) -> Choices:
    """At the test targets, with the items of the corpus: those that nobody was shown are not in
    it."""
    if isinstance(world, Jester):
        truth = world.truth()  # with users and jokes in the order of the logits
        users_N, items_V = _places(data, truth.user_ids, truth.item_ids)
        return Choices(world.logging_logits()[users_N][:, items_V], lambda reward_N, _: reward_N)
    return _of_semi_synthetic(world, data)


def _of_semi_synthetic(world: SemiSyntheticMovieLens, data: Split) -> Choices:
    """Fitted again, as the world was; its propensities say whether to the same."""
    require(world.users is None, f"{world.name}: choices are known of all its users; leave users.")
    real, truth = world.source.load().frame, world.truth()
    user_E, user_ids = pd.factorize(real["user_id"])
    item_E, item_ids = pd.factorize(real["item_id"])
    log, rating_E = semi_synthetic._in_order(user_E, item_E, real)
    reward_NV = truth.state_UR.numpy() @ truth.factor_VR.numpy().T
    seed = derived_seed(world.seed, "semi-synthetic", "taste")
    weights = world.logging.weights(log, reward_NV, seed)
    users_N, items_V = _places(data, user_ids, item_ids)
    targets, history = data.test, data.test.history
    end_N = history.offsets_N1[1:] - 1
    before_N = items_V[history.items_E[end_N].numpy() - 1]
    goes_on_N = (targets.times_N - history.timestamps_E[end_N] < SITTING).numpy()
    weight_NV = weights.item_NV[users_N].astype(np.float64)
    weight_NV[goes_on_N] *= weights.follows_VV[before_N[goes_on_N]]
    drawn = world.load().frame
    pairs = (user_ids, drawn["user_id"]), (item_ids, drawn["item_id"])
    shown = tuple(ids.get_indexer(pd.Index(column)) for ids, column in pairs)
    star_K, count_K = np.unique(rating_E, return_counts=True)
    scatter = ordinal.calibrated(star_K, count_K / count_K.sum(), reward_NV[shown])
    return Choices(np.log(weight_NV[:, items_V]), scatter.draw)


def _places(data: Split, user_ids: Any, item_ids: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of the targets' users and of the corpus's items among these ids."""
    users = data.corpus.user_ids[data.test.users_N.numpy()]
    return pd.Index(user_ids).get_indexer(users), pd.Index(item_ids).get_indexer(
        data.corpus.item_ids
    )
