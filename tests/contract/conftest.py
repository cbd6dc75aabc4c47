"""A small float32 world with a real backbone: what every plug-in must be able to live in."""

from types import SimpleNamespace

import pytest
import torch
from data_factory import random_sequences
from torch import nn
from torch.nn.functional import pad

from recsys_posttrain.algorithms.actors import Actors, logged_rewards
from recsys_posttrain.algorithms.base import heads_of
from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.types import Batch

DIM = 8


def alike(rows, generator):
    """[3, rows, 4]: one draw for all members and a small one for each."""
    shared, own = (torch.randn(k, rows, 4, generator=generator) for k in (1, 3))
    return shared + 0.01 * own


class LinearEnsemble(RewardModel):
    """Three members, each a table per previous item times a table per item; scores around 3.

    They agree but for about a hundredth, so that DPO finds pairs that all are sure about.
    """

    def __init__(self, num_items, generator):
        super().__init__()
        self.max_length = 12
        self.state = nn.Parameter(alike(num_items + 1, generator))
        self.factor = nn.Parameter(alike(num_items, generator))
        with torch.no_grad():
            self.state[..., 0], self.factor[..., 0] = 1.0, 3.0

    def member_factors(self, batch):
        return self.state[:, batch.real(batch.history_BT)], self.factor


def make_batch(lengths, num_items, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    mask_BT = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]

    def items():
        return torch.randint(1, num_items + 1, shape, generator=generator) * mask_BT

    def rewards():
        return torch.randint(1, 6, shape, generator=generator).float() * mask_BT

    history_BT, actions_BT = items(), items()
    past_BT, rewards_BT = rewards(), rewards()
    excluded = exclusions(actions_BT[mask_BT], num_items, generator)
    time_BT = torch.randint(1, 10**6, (shape[0], shape[1] + 1), generator=generator).cumsum(dim=1)
    return Batch(
        history_BT=history_BT,
        history_rewards_BT=past_BT,
        history_times_BT=time_BT[:, :-1] * mask_BT,
        actions_BT=actions_BT,
        rewards_BT=rewards_BT,
        action_times_BT=time_BT[:, 1:] * mask_BT,
        mask_BT=mask_BT,
        sequences_B=torch.arange(shape[0]),
        excluded=excluded,
    )


def exclusions(action_N, num_items, generator):
    """About a fifth of the items at each position, never the action; one item at all of them."""
    drawn_NV = torch.rand(len(action_N), num_items, generator=generator) < 1 / 5
    never = [v for v in range(num_items) if v + 1 not in action_N.tolist()]
    drawn_NV[:, never[:1]] = True
    drawn_NV[torch.arange(len(action_N)), action_N - 1] = False
    items_E = drawn_NV.nonzero()[:, 1] + 1
    return Excluded(items_E, pad(drawn_NV.sum(dim=1).cumsum(dim=0), (1, 0)))


def make_actors(algorithm, num_items, seed=0, scale=1.0, backbone=None):
    """Policy, old and reference all differ, and no head is new; `scale` multiplies the item table
    of all three."""
    generator = torch.Generator().manual_seed(seed)
    backbone = backbone or SASRec(dim=DIM, blocks=1, feed_forward=16, max_length=12, dropout=0.1)
    policy = new_policy(backbone, num_items, seed)
    reward = LinearEnsemble(num_items, generator)
    log = logged_rewards(random_sequences([40], num_items, seed), num_items)
    actors = Actors(FrozenPolicy(policy), reward, log, heads_of(algorithm, DIM, num_items))
    with torch.no_grad():
        for actor, noise in ((actors.policy, 0.1), (actors.old, 0.05), (actors.reference, 0.0)):
            for parameter in actor.parameters():
                parameter += noise * torch.randn(parameter.shape, generator=generator)
            actor.backbone.item_embedding.weight[0] = 0
            actor.backbone.item_embedding.weight *= scale
        for parameter in actors.heads.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    actors.generator.manual_seed(seed)
    return actors.eval()


@pytest.fixture(scope="session")
def small():
    return SimpleNamespace(actors=make_actors, batch=make_batch)
