"""A tabular world in float64: the policy's logits are a table that a test writes down.

The context of an action is the item before it, and the item embedding is the identity, so the
state of a context *is* its row of logits, and gradients land in that table in closed form.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from recsys_posttrain.algorithms.actors import Actors, LoggedRewards
from recsys_posttrain.algorithms.base import heads_of
from recsys_posttrain.logged import Shown
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Batch

EVEN = ((0.0, 0.0),)  # logits or scores of two items in one context


class Table(nn.Module):
    """logits_XV: row x - 1 holds the logits after item x."""

    def __init__(self, logits_XV):
        super().__init__()
        catalogue = logits_XV.shape[1]
        self.dim, self.max_length = catalogue, 100
        self.item_embedding = nn.Embedding(catalogue + 1, catalogue, dtype=logits_XV.dtype)
        with torch.no_grad():
            self.item_embedding.weight.copy_(torch.eye(catalogue + 1, dtype=logits_XV.dtype)[:, 1:])
        self.logits = nn.Parameter(logits_XV.clone())

    def forward(self, history):
        return self.logits[(history.items_BT - 1).clamp(min=0)]


class ScoreTable(RewardModel):
    """scores_MXV: what member m predicts for item v + 1 after item x + 1."""

    def __init__(self, scores_MXV):
        super().__init__()
        self.max_length = 100
        self.scores = nn.Parameter(scores_MXV.clone())

    def member_factors(self, batch):
        context_N = batch.real(batch.history_BT) - 1
        eye = torch.eye(self.scores.shape[2], dtype=self.scores.dtype)
        return self.scores[:, context_N], eye.expand(len(self.scores), -1, -1)

    def difference_spread(self, batch, first_NK, second_NK):
        """One member alone is certain here; other models with one do not say (reward_model.py)."""
        if len(self.scores) == 1:
            return self.scores.new_zeros(first_NK.shape)
        return super().difference_spread(batch, first_NK, second_NK)


def build_actors(
    reference=EVEN, policy=EVEN, scores=EVEN, rewards=(1.0, 3.0, 5.0), old=None, algorithm=None
):
    """reference, policy, old: logits [X, V]; scores: [X, V] or [M, X, V]."""
    reference, policy, scores = (
        torch.as_tensor(each, dtype=torch.float64) for each in (reference, policy, scores)
    )
    rewards = torch.as_tensor(rewards, dtype=torch.float64)
    catalogue = reference.shape[1]
    scores = scores if scores.dim() == 3 else scores[None]
    item_mean_V = torch.arange(1, catalogue + 1, dtype=torch.float64) / 2
    heads = {} if algorithm is None else heads_of(algorithm, catalogue, catalogue)
    heads = {name: head.double() for name, head in heads.items()}
    log = LoggedRewards(rewards, item_mean_V)
    actors = Actors(FrozenPolicy(Policy(Table(reference))), ScoreTable(scores), log, heads)
    with torch.no_grad():
        actors.policy.backbone.logits.copy_(policy)
        actors.old.backbone.logits.copy_(
            reference if old is None else torch.as_tensor(old, dtype=torch.float64)
        )
    return actors


def build_batch(history=((1,),), actions=((1,),), rewards=((0.0,),), history_rewards=None):
    """Nested lists [B, T], by default one event; a 0 in `history` is padding."""
    history_BT = torch.tensor(history)
    rewards_BT = torch.tensor(rewards, dtype=torch.float64)
    past_BT = rewards_BT * 0 if history_rewards is None else torch.tensor(history_rewards).double()
    return Batch(
        history_BT,
        past_BT,
        torch.zeros_like(history_BT),
        torch.tensor(actions),
        rewards_BT,
        torch.zeros_like(history_BT),
        history_BT > 0,
        torch.arange(len(history_BT)),
    )


def with_shown(batch, *slates, positions=None):
    """The batch, and items that were shown with each of its positions."""
    ends = np.cumsum([0, *map(len, slates)])
    items_S = torch.tensor([item for slate in slates for item in slate], dtype=torch.int64)
    shown = Shown(items_S, torch.tensor(ends), positions)
    return type(batch)(*batch._replace(shown=shown))


def random_world(algorithm=None, members=1, seed=0, contexts=3, catalogue=5):
    """Policy, old and reference all differ; two sequences of lengths 3 and 2."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    actors = build_actors(
        draw(contexts, catalogue),
        draw(contexts, catalogue),
        draw(members, contexts, catalogue),
        old=draw(contexts, catalogue),
        algorithm=algorithm,
    )
    batch = build_batch([[1, 3, 2], [2, 1, 0]], [[3, 2, 5], [1, 4, 0]], [[5.0, 1, 3], [4, 2, 0]])
    return batch, actors


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def tables(actors):
    """Probabilities of policy, old and reference, and r_hat, as NumPy tables [X, V]."""
    logits = (each.backbone.logits.detach().numpy() for each in (actors.policy, actors.old))
    policy, old = (np.array([softmax(row) for row in table]) for table in logits)
    reference = np.array([softmax(row) for row in actors.reference.backbone.logits.numpy()])
    return policy, old, reference, actors.reward.scores.numpy().mean(axis=0)


def clipped_term(policy, old, reference, advantage, clip, coefficient):
    """The sampled objective of one action, with branches where the package has minima."""
    ratio = policy / old
    held = min(max(ratio, 1 - clip), 1 + clip)
    surrogate = min(ratio * advantage, held * advantage)
    kl = ratio * math.log(policy / reference) - ratio + reference / old
    return -surrogate + coefficient * kl


@pytest.fixture
def tabular():
    return SimpleNamespace(
        actors=build_actors,
        batch=build_batch,
        random=random_world,
        with_shown=with_shown,
        tables=tables,
        clipped_term=clipped_term,
    )
