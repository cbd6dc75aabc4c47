"""KuaiRec's full matrix, of a file that is written small: its truth, and the log that is drawn."""

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.data import LeaveOneOut, prepare
from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds.base import truth_of
from recsys_posttrain.worlds.catalog import dataset_named
from recsys_posttrain.worlds.full_matrix import KuaiRecWorld

USERS, ITEMS = 40, 12


@pytest.fixture(scope="module")
def ratio_uv():
    """Watch ratios; one pair is missing."""
    ratio = np.random.default_rng(0).gamma(2.0, 0.5, (USERS, ITEMS))
    ratio[3, 4] = np.nan
    return ratio


@pytest.fixture(scope="module")
def root(ratio_uv, tmp_path_factory):
    """The columns of the published file, in which some rows have no time; one pair stands twice."""
    user, video = np.nonzero(~np.isnan(ratio_uv))
    frame = pd.DataFrame(
        {
            "user_id": 100 + user,
            "video_id": 7 * video,
            "play_duration": 1000,
            "video_duration": 2000,
            "time": None,
            "date": None,
            "timestamp": None,
            "watch_ratio": ratio_uv[user, video],
        }
    )
    twice = frame[(frame["user_id"] == 100) & (frame["video_id"] == 0)]
    frame = pd.concat([frame, twice.assign(watch_ratio=0.0)]).sample(frac=1, random_state=0)
    folder = tmp_path_factory.mktemp("kuairec") / "KuaiRec 2.0" / "data"
    folder.mkdir(parents=True)
    frame.to_csv(folder / "small_matrix.csv", index=False)
    return str(folder.parents[1])


def test_the_truth_is_the_matrix(root, ratio_uv):
    truth = KuaiRecWorld(length=8, data_root=root).truth()
    reward = truth.state_UR @ truth.factor_VR.T
    wanted = 1 + 2 * np.minimum(ratio_uv, 2)
    wanted[0, 0] = (wanted[0, 0] + 1) / 2  # the mean of the two rows of that pair
    assert truth.user_ids.tolist() == list(range(100, 100 + USERS))
    assert truth.item_ids.tolist() == [7 * v for v in range(ITEMS)]
    known = ~np.isnan(ratio_uv)
    np.testing.assert_allclose(reward.numpy()[known], wanted[known], rtol=1e-5)
    # Of the missing pair: the user's mean and what the video is above the mean of all rows.
    rows = 1 + 2 * np.minimum(ratio_uv[known], 2)
    mean = (rows.sum() + 1) / (len(rows) + 1)
    guess = np.nanmean(wanted[3]) + np.nanmean(wanted[:, 4]) - mean
    assert float(reward[3, 4]) == pytest.approx(guess, abs=1e-5)


def test_the_truth_of_a_corpus_is_the_reward_of_its_every_event(root, own_cache):
    world = KuaiRecWorld(length=8, data_root=root)
    corpus = prepare(world, 1)
    log, truth = corpus.sequences, truth_of(world, corpus)
    users_E = np.repeat(np.arange(len(log.lengths_N)), log.lengths_N)
    reward_E = (truth.state_UR @ truth.factor_VR.T).numpy()[users_E, log.items_E.numpy() - 1]
    np.testing.assert_allclose(log.rewards_E.numpy(), reward_E, rtol=1e-5)
    assert LeaveOneOut(1).split(corpus).test.propensities_N is not None


def test_the_log_is_drawn_by_its_own_propensities(root):
    """Evenly where nothing is preferred: of V videos with k shown, 1 / (V - k). With a preference
    what is liked comes sooner. Another seed draws another log."""
    even = KuaiRecWorld(length=8, popularity=0, preference=0, noise=0, data_root=root).load().frame
    place = even.groupby("user_id").cumcount()
    np.testing.assert_allclose(even["propensity"], 1 / (ITEMS - place))
    lengths = even.groupby("user_id").size()
    assert lengths.between(3, 8).all()
    assert not even.duplicated(["user_id", "item_id"]).any()
    liked = KuaiRecWorld(length=8, popularity=0, preference=1e5, noise=0, data_root=root)
    frame = liked.load().frame
    assert (frame.groupby("user_id")["rating"].diff().dropna() <= 1e-9).all()
    again = KuaiRecWorld(length=8, popularity=0, preference=1e5, noise=0, seed=1, data_root=root)
    assert again.content_hash() != liked.content_hash()


def test_mistakes_are_named(root, tmp_path):
    assert dataset_named("kuairec-world", root) == KuaiRecWorld()
    with pytest.raises(UserError, match="length=60, and there are 12 videos"):
        dataset_named("kuairec-world", root).load()
    with pytest.raises(UserError, match="length=2; give 3 or more"):
        KuaiRecWorld(length=2)
    (tmp_path / "small_matrix.csv").write_text("user_id,video_id,watch_ratio\n1,2,\n")
    with pytest.raises(UserError, match="watch_ratio must be 0 or more in every row"):
        KuaiRecWorld(data_root=str(tmp_path)).truth()
