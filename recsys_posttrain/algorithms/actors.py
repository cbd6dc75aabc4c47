"""The models and the facts that a loss may read besides the batch."""

from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from recsys_posttrain import ops
from recsys_posttrain.eligibility import Excluded, leave_out
from recsys_posttrain.logged import Signals
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.ops.logsumexp import positions_per_chunk
from recsys_posttrain.types import Batch, Sequences

FIXED = ("reference", "reward")  # the parts of `Actors` that never change
NEVER = -1e30  # the log-probability of an excluded item; finite, so that pi log pi is 0
ARRAYS = 8  # [chunk, V] temporaries that `over_catalogue` holds at once, about


class CatalogueChunk(NamedTuple):
    """C positions against the whole catalogue, or against the places of a sample of it, whose
    weights the log-probabilities hold.

    Items that are not eligible have log-probability -1e30, so probability 0 and ratios of 1.
    """

    policy_log_prob_CV: Tensor  # the only one with a gradient
    old_log_prob_CV: Tensor
    reference_log_prob_CV: Tensor
    reward_CV: Tensor  # r_hat, in stars


class LoggedRewards(NamedTuple):
    """The rewards of the training log, in stars, float32."""

    rewards_E: Tensor  # of every training event
    item_mean_V: Tensor  # mean per item; the global mean for items without an event
    liked: float = 4.0  # from which reward on an item counts as liked
    signals: Signals | None = None  # of every training event


def logged_rewards(train: Sequences, num_items: int) -> LoggedRewards:
    """The rewards of a log of `num_items` items, and their mean per item."""
    # In float64, so that the mean does not depend on the order of events.
    index_E = train.items_E - 1
    count_V = torch.bincount(index_E, minlength=num_items)
    total_V = torch.bincount(index_E, weights=train.rewards_E.double(), minlength=num_items)
    mean_V = torch.where(count_V > 0, total_V / count_V.clamp(min=1), train.rewards_E.mean())
    return LoggedRewards(train.rewards_E, mean_V.float(), signals=train.signals)


class Actors(nn.Module):
    """The policy in training and the frozen models around it.

    reference: pi_ref, frozen.
    policy: pi, a copy of the reference, to train.
    old: pi_old, a copy of the policy as of the last `refresh_old`, without gradients.
    reward: the reward model, frozen.
    heads: an algorithm's own layers on the policy's hidden states, trained unless it froze them.
    log: the rewards of the training log.
    generator: randomness of the current step.
    step: optimiser steps done.
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
        """Sets one dtype of logits for the three policies, so that rounding cancels in ratios.

        It rounds the normalisers; the logits of chosen items are in the dtype of the weights. The
        ratio of the policy to a copy of it is exactly 1.
        """
        for actor in (self.policy, self.reference, self.old):
            actor.logits_dtype = logits_dtype

    def train(self, mode: bool = True) -> "Actors":
        """Frozen models stay in evaluation mode, whatever the trainer asks for."""
        super().train(mode)
        for model in (self.reference, self.old, self.reward):
            model.train(False)
        return self

    def clear_cache(self) -> None:
        """Drops all that is cached about the current batch."""
        for actor in (self.policy, self.reference, self.old, self.reward):
            actor.clear_cache()

    def refresh_old(self) -> None:
        """Copies the policy, as it is now, into pi_old."""
        self.old.load_state_dict(self.policy.state_dict())
        self.old.clear_cache()
        self._refreshed_at = self.step

    def old_at(self, batch: Batch) -> Policy:
        """pi_old; until the policy's next step it shares the policy's hidden states."""
        if self._refreshed_at == self.step:
            self.old.cache_hidden_states(batch, self.policy.hidden_states(batch).detach())
        return self.old

    def head(self, name: str, batch: Batch, *, trains_policy: bool) -> Tensor:
        """The output of a head on the policy's hidden states, [N, ...].

        trains_policy: whether the gradient flows on into the policy. That of a critic must not.
        """
        hidden_ND = self.policy.hidden_states(batch)
        output: Tensor = self.heads[name](hidden_ND if trains_policy else hidden_ND.detach())
        return output

    @torch.no_grad()
    def reference_value(self, batch: Batch) -> Tensor:
        """The exact expected reward of the reference, E_{a ~ pi_ref}[r_hat(x, a)], [N]."""
        return self.reference.expected_reward(batch, self.reward)

    @torch.no_grad()
    def old_value(self, batch: Batch) -> Tensor:
        """The exact expected reward of pi_old, E_{a ~ pi_old}[r_hat(x, a)], [N]."""
        return self.old_at(batch).expected_reward(batch, self.reward)

    def over_catalogue(
        self, batch: Batch, function: Callable[..., Tensor], *extra_N: Tensor
    ) -> Tensor:
        """The values of a function that sums over all items, [N, ...], computed in chunks.

        function: (CatalogueChunk, *extra_C) -> [C, ...].
        extra_N: further arguments, cut into the same rows as the chunk.
        """
        state_NR, factor_VR = self.reward.place_factors(batch)
        policy = self.policy.softmax(batch)
        with torch.no_grad():
            old, reference = (actor.softmax(batch) for actor in (self.old, self.reference))

        def log_prob(hidden_CE: Tensor, vectors_ME: Tensor, excluded_C: Excluded | None) -> Tensor:
            logits_CV = hidden_CE @ vectors_ME.T
            return leave_out(logits_CV, excluded_C, NEVER).log_softmax(dim=1)

        def on_rows(
            policy_CE: Tensor,
            old_CE: Tensor,
            reference_CE: Tensor,
            state_CR: Tensor,
            excluded_C: Excluded | None,
            *extra_C: Tensor,
        ) -> Tensor:
            chunk = CatalogueChunk(
                log_prob(policy_CE, policy.vectors_ME, excluded_C),
                log_prob(old_CE, old.vectors_ME, excluded_C),
                log_prob(reference_CE, reference.vectors_ME, excluded_C),
                state_CR @ factor_VR.T,
            )
            return function(chunk, *extra_C)

        return ops.map_chunks(
            on_rows,
            policy.hidden_NE,
            old.hidden_NE,
            reference.hidden_NE,
            state_NR,
            policy.excluded,
            *extra_N,
            chunk=positions_per_chunk(len(factor_VR), ARRAYS),
            recompute=True,
        )
