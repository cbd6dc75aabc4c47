"""A small log, a reference that is far from uniform, and every kind of error."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from data_factory import random_sequences

from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Corpus

USERS, ITEMS, LENGTH = 24, 30, 8


class Tables(RewardModel):
    """Two members, each a table of the latest item times a table of items; scores around 3."""

    max_length = LENGTH

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.state_MXR = torch.randn(2, ITEMS + 1, 3, generator=generator)
        self.factor_MVR = torch.randn(2, ITEMS, 3, generator=generator)
        self.state_MXR[..., 0], self.factor_MVR[..., 0] = 1.0, 3.0

    def member_factors(self, batch):
        return self.state_MXR[:, batch.real(batch.history_BT)], self.factor_MVR


@pytest.fixture(scope="session")
def small():
    """data: users of 2 to 33 events (some too short to be tested); reference, reward."""
    lengths = [2, 30, 5, 2, 33, *np.random.default_rng(1).integers(3, 16, USERS - 5).tolist()]
    drawn = random_sequences(lengths, ITEMS)
    corpus = Corpus("made", drawn, np.arange(USERS), np.arange(1, ITEMS + 1), "0" * 64)
    backbone = SASRec(dim=8, blocks=1, feed_forward=16, max_length=LENGTH)
    reference = FrozenPolicy(new_policy(backbone, ITEMS, seed=0))
    reference.backbone.item_embedding.weight *= 20
    return SimpleNamespace(
        data=LeaveOneOut().split(corpus), reference=reference, reward=Tables().eval()
    )
