"""One small world for all training tests: 60 users, 40 items, and models that train in no time."""

from types import SimpleNamespace

import pytest

from recsys_posttrain.data import LeaveOneOut, RatingsFile, prepare
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.plan import Training
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.training.reward import train_reward


@pytest.fixture(scope="session")
def tiny(small_ratings_csv, tmp_path_factory):
    """data, backbone, policy (fresh) and reward (trained); deep-copied where they are trained."""
    corpus = prepare(RatingsFile(str(small_ratings_csv)), cache=tmp_path_factory.mktemp("cache"))
    data = LeaveOneOut().split(corpus)
    backbone = SASRec(dim=8, blocks=1, feed_forward=16, max_length=10, dropout=0.2)
    encoder = SASRec(dim=8, blocks=1, feed_forward=16, max_length=10, history_rewards=True)
    once = Training(epochs=2, batch_size=16, learning_rate=0.01)
    reward, _ = train_reward(data, RewardEnsemble(encoder, members=2, rank=4, training=once))
    policy = new_policy(backbone, corpus.num_items, seed=0)
    return SimpleNamespace(data=data, backbone=backbone, reward=reward, policy=policy)
