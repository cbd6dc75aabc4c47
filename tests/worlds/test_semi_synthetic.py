from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_world import SMALL, SmallSource
from worlds.calibration import RERATED, calibration, scatter

from recsys_posttrain.data import LeaveOneOut, MovieLens100K, prepare
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.headroom import headroom, share_of_people
from recsys_posttrain.worlds.base import truth_of
from recsys_posttrain.worlds.preferences import Preferences
from recsys_posttrain.worlds.semi_synthetic import SemiSyntheticMovieLens, apart


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path))


def test_the_log_has_the_real_users_at_their_times():
    real, log = SMALL.source.load().frame, SMALL.load().frame
    assert list(log) == ["user_id", "item_id", "rating", "timestamp", "propensity"]
    assert log["user_id"].drop_duplicates().tolist() == list(range(80, 0, -1))
    assert not log.duplicated(["user_id", "item_id"]).any()
    assert set(log["item_id"]) <= set(real["item_id"])
    assert set(log["rating"]) <= {1, 2, 3, 4, 5}
    for user, events in real.groupby("user_id"):
        own = log[log["user_id"] == user]
        assert len(own) == len(events)
        assert (own["timestamp"].diff().dropna() >= 1).all()
        assert (own["timestamp"].to_numpy() >= events["timestamp"]).all()


def test_times_are_moved_apart():
    user_E = np.array([0, 0, 0, 0, 0, 1, 1])
    time_E = np.array([9, 9, 9, 10, 20, 5, 5])
    assert apart(user_E, time_E).tolist() == [9, 10, 11, 12, 20, 5, 6]


def test_ratings_have_the_true_value_as_expectation():
    """Mean of rating - r* over the log, in standard errors; the scatter is at most 2 stars."""
    log, truth = SMALL.load().frame, SMALL.truth()
    rows = pd.Index(truth.user_ids).get_indexer(log["user_id"])
    columns = pd.Index(truth.item_ids).get_indexer(log["item_id"])
    reward_NV = truth.rewards(torch.arange(80)).numpy()
    assert reward_NV.min() >= 1 - 1e-5
    assert reward_NV.max() <= 5 + 1e-5
    difference_E = log["rating"].to_numpy() - reward_NV[rows, columns]
    assert abs(difference_E.mean()) < 4 * 2 / np.sqrt(len(log))


def test_the_truth_is_aligned_with_the_corpus():
    corpus = prepare(SMALL, minimum_item_ratings=1)
    truth = SMALL.truth().aligned(corpus)
    assert truth.state_UR.shape[0] == len(corpus.sequences) == 80
    assert truth.factor_VR.shape[0] == corpus.num_items
    assert truth.state_UR.dtype == truth.factor_VR.dtype == torch.float32
    propensity_E = SMALL.load().frame["propensity"].to_numpy()  # by user and time already
    assert np.array_equal(corpus.sequences.propensities_E, propensity_E)
    assert propensity_E.dtype == np.float64
    assert (propensity_E > 0).all()
    assert (propensity_E <= 1).all()


def test_one_seed_is_one_world(tmp_path, monkeypatch):
    log, truth = SMALL.load().frame, SMALL.truth()
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "another"))
    pd.testing.assert_frame_equal(SMALL.load().frame, log)
    assert torch.equal(SMALL.truth().state_UR, truth.state_UR)
    assert not replace(SMALL, seed=1).load().frame.equals(log)


def test_the_hash_covers_all_that_the_world_depends_on(monkeypatch):
    worlds = [
        SMALL,
        replace(SMALL, source=SmallSource(version=1)),
        replace(SMALL, seed=1),
        replace(SMALL, users=10),
        replace(SMALL, preferences=Preferences(rank=3)),
        replace(SMALL, logging=replace(SMALL.logging, dynamics=0.5)),
    ]
    hashes = [world.content_hash() for world in worlds]
    monkeypatch.setattr(
        "recsys_posttrain.worlds.semi_synthetic.code_digest", lambda *_: "other code"
    )
    assert len({*hashes, SMALL.content_hash()}) == len(worlds) + 1
    assert SMALL.load().content_hash == SMALL.content_hash()


def test_fewer_users():
    ten = replace(SMALL, users=10)
    log, truth = ten.load().frame, ten.truth()
    assert set(truth.user_ids) == set(log["user_id"])
    assert len(truth.user_ids) == 10
    # The preferences are those of the whole world.
    place = pd.Index(SMALL.truth().user_ids).get_indexer(truth.user_ids)
    assert torch.equal(truth.state_UR, SMALL.truth().state_UR[place])


def test_more_users_than_there_are():
    with pytest.raises(UserError, match="semi-small has 80 users and cannot give 81; set users to"):
        replace(SMALL, users=81).load()
    with pytest.raises(UserError, match="users is 0; give 1 or more"):
        replace(SMALL, users=0)


def test_ml_100k_is_like_the_real_one(shared_data):
    """Bounds of twice what was measured: ratings .006, popularity .015, pairs .07, steps .06."""
    world = SemiSyntheticMovieLens(MovieLens100K(str(shared_data)))
    table = calibration(world.source.load(), world.load()).set_index("figure")["distance"]
    assert table["events per user, median"] == 0
    assert table["rating, mean"] < 0.012
    assert table["events per item, Gini"] < 0.03
    pairs = table[["frequent pairs, median Jaccard", "frequent pairs, median lift"]]
    assert (pairs < 0.14).all()
    assert table["steps taken >= 3 times, share"] < 0.12
    low, high = RERATED
    assert low < scatter(world)[2] < high
    data = LeaveOneOut().split(prepare(world))
    values = headroom(truth_of(world, data.corpus), data)
    order = ["uniform", "popularity", "best fixed list", "oracle"]
    assert values["list"].loc[order].is_monotonic_increasing
    assert share_of_people(values) > 0.5
