"""Whether a method reads the reward model: it is tried on two made-up users."""

from copy import deepcopy

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors, logged_rewards
from recsys_posttrain.algorithms.base import Algorithm, heads_of
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Batch, Sequences


class _WasAsked(Exception):
    pass


class _Asked(RewardModel):
    """It has no answer, and says that it was asked."""

    max_length = 1

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        raise _WasAsked


def reads_model(algorithm: Algorithm, policy: Policy) -> bool:
    """What the method refuses for another reason is for its training to say."""
    num_items = len(policy.item_embedding_VD)
    items_E = torch.arange(6) % num_items + 1
    rewards_E = torch.tensor([1.0, 5.0, 3.0, 4.0, 2.0, 5.0])
    log = Sequences(items_E, rewards_E, torch.arange(6), torch.tensor([0, 3, 6]))
    with torch.random.fork_rng(devices=[]):
        heads = heads_of(algorithm, policy.item_embedding_VD.shape[1], num_items)
    reference = FrozenPolicy(deepcopy(policy))
    actors = Actors(reference, _Asked(), logged_rewards(log, num_items), heads)
    try:
        algorithm.loss(batch_of(log, torch.arange(2), policy.max_length), actors)
    except _WasAsked:
        return True
    except UserError:
        pass
    return False
