"""A small saved policy, for tests of what is materialised from it."""

import pytest

from recsys_posttrain.backbones import SASRec
from recsys_posttrain.data import RatingsFile, prepare
from recsys_posttrain.live.rules import EventRules
from recsys_posttrain.saved_policy import save_policy
from recsys_posttrain.training.pretrain import new_policy

BACKBONE = SASRec(dim=8, blocks=1, feed_forward=16, max_length=10)


@pytest.fixture(scope="module")
def policy_folder(small_ratings_csv, tmp_path_factory, own_cache):
    """Random weights; 60 users, 40 items, 6 to 20 events each."""
    corpus = prepare(RatingsFile(str(small_ratings_csv)))
    policy = new_policy(BACKBONE, corpus.num_items, seed=1)
    made = tmp_path_factory.mktemp("policy")
    save_policy(made, policy, BACKBONE, corpus, str(small_ratings_csv), 5)
    return made


@pytest.fixture
def rules():
    """Item 7, not in the list, first and fourth."""
    return EventRules("final", "7", {"before": None, "live": 1, "after": 4})
