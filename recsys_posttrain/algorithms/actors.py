"""Everything a loss may look at besides the batch."""

from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from recsys_posttrain import ops
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.ops.logsumexp import positions_per_chunk
from recsys_posttrain.types import Batch, Sequences

FIXED = ("reference", "reward")  # the parts of `Actors` that never change
ARRAYS = 8  # of one chunk that `over_catalogue` holds at once, about


class CatalogueChunk(NamedTuple):
    """C positions against the whole catalogue; only `policy` carries a gradient."""

    policy_log_prob_CV: Tensor
    old_log_prob_CV: Tensor
    reference_log_prob_CV: Tensor
    reward_CV: Tensor


class LoggedRewards(NamedTuple):
    """Facts about the training log that a loss may need; fixed before the first step."""

    rewards_E: Tensor  # float32, every logged reward of the training part
    item_mean_V: Tensor  # float32, its mean per item (global mean for items without one)


def logged_rewards(train: Sequences, num_items: int) -> LoggedRewards:
    """Sums per item in float64, so that the mean does not depend on the order of events."""
    index_E = train.items_E - 1
    count_V = torch.bincount(index_E, minlength=num_items)
    total_V = torch.bincount(index_E, weights=train.rewards_E.double(), minlength=num_items)
    mean_V = torch.where(count_V > 0, total_V / count_V.clamp(min=1), train.rewards_E.mean())
    return LoggedRewards(train.rewards_E, mean_V.float())


class Actors(nn.Module):
    """The policy in training and the frozen models around it.

    reference: pi_ref, frozen. policy: a copy of it to train. old: pi_old, a copy of the policy,
    without gradients, that `refresh_old` renews. reward: frozen. heads: an algorithm's own
    layers on the policy's states, trained unless it froze them. generator: randomness of the
    current step. step: optimiser steps done.
    """

    def __init__(
        self,
        reference: FrozenPolicy,
        reward: RewardModel,
        log: LoggedRewards,
        heads: dict[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.reference = reference
        ids = reference.item_ids
        self.policy = Policy(deepcopy(reference.backbone), ids).requires_grad_(True)
        self.old = Policy(deepcopy(reference.backbone), ids).requires_grad_(False)
        self.reward = reward.requires_grad_(False).eval()
        self.heads = nn.ModuleDict(heads or {})
        self.log = log
        self.generator = torch.Generator()
        self.step = 0
        self._refreshed_at: int | None = None

    def set_logits_dtype(self, logits_dtype: torch.dtype | None) -> None:
        """The dtype of products with the catalogue: one for all, so that what it rounds away
        cancels in their ratios. It rounds the normalisers; the logits of chosen items are in the
        dtype of the weights. The ratio of the policy to a copy of it is exactly 1."""
        for actor in (self.policy, self.reference, self.old):
            actor.logits_dtype = logits_dtype

    def train(self, mode: bool = True) -> "Actors":
        """Frozen models stay in evaluation mode, whatever the trainer asks for."""
        super().train(mode)
        for model in (self.reference, self.old, self.reward):
            model.train(False)
        return self

    def forget(self) -> None:
        """Drop what was remembered about the current batch."""
        for actor in (self.policy, self.reference, self.old, self.reward):
            actor.forget()

    def refresh_old(self) -> None:
        """pi_old becomes the policy as it is now."""
        self.old.load_state_dict(self.policy.state_dict())
        self.old.forget()
        self._refreshed_at = self.step

    def old_at(self, batch: Batch) -> Policy:
        """pi_old, which has the policy's own states until the policy's next step."""
        if self._refreshed_at == self.step:
            self.old.remember(batch, self.policy.hidden_states(batch).detach())
        return self.old

    def head(self, name: str, batch: Batch, *, trains_policy: bool) -> Tensor:
        """What the head says of the policy's states, [N, ...].

        trains_policy: whether its gradient goes on into the policy. A critic's must not: it learns
        from the states and never bends them.
        """
        hidden_ND = self.policy.hidden_states(batch)
        output: Tensor = self.heads[name](hidden_ND if trains_policy else hidden_ND.detach())
        return output

    @torch.no_grad()
    def reference_value(self, batch: Batch) -> Tensor:
        """E_{a ~ pi_ref}[r_hat(x, a)], exactly over the catalogue, [N]."""
        return self.reference.expected_reward(batch, self.reward)

    def over_catalogue(
        self, batch: Batch, function: Callable[..., Tensor], *extra_N: Tensor
    ) -> Tensor:
        """function(chunk, *extra_C) -> [C, ...] for all positions, [N, ...]; for losses that sum
        over all items. Each of `extra_N` is cut into the same rows as the chunk."""
        state_NR, factor_VR = self.reward.factors(batch)

        def on_rows(
            policy_CD: Tensor,
            old_CD: Tensor,
            reference_CD: Tensor,
            state_CR: Tensor,
            *extra_C: Tensor,
        ) -> Tensor:
            chunk = CatalogueChunk(
                (policy_CD @ self.policy.item_embedding_VD.T).log_softmax(dim=1),
                (old_CD @ self.old.item_embedding_VD.T).log_softmax(dim=1),
                (reference_CD @ self.reference.item_embedding_VD.T).log_softmax(dim=1),
                state_CR @ factor_VR.T,
            )
            return function(chunk, *extra_C)

        with torch.no_grad():
            frozen_hidden = [actor.hidden_states(batch) for actor in (self.old, self.reference)]
        return ops.map_chunks(
            on_rows,
            self.policy.hidden_states(batch),
            *frozen_hidden,
            state_NR,
            *extra_N,
            chunk=positions_per_chunk(len(factor_VR), ARRAYS),
            recompute=True,
        )
