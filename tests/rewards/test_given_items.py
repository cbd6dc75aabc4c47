"""Which methods need sums over the catalogue is known before anything is trained."""

import pytest

import recsys_posttrain as rp
from recsys_posttrain import algorithms
from recsys_posttrain.errors import TrainingFailed
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.own import RewardFunction
from recsys_posttrain.studies.given_items import needs_sums

EVERY = [
    getattr(algorithms, name)
    for name in dir(algorithms)
    if isinstance(getattr(algorithms, name), type)
]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_what_needs_sums_is_known_before_it_is_trained(kind, own_log):
    """Training is what tells."""
    model, _ = rp.train_reward(own_log.data, RewardFunction(_length))
    refused = ""
    try:
        rp.posttrain(own_log.policy, own_log.data, kind(), model, Training(steps=2, batch_size=8))
    except TrainingFailed as failure:
        refused = str(failure)
    assert ("scores given items only" in refused) == needs_sums(kind()), refused


def _length(frame):
    return frame["history_items"].map(len) + frame["item_id"].map(len)
