"""A policy that no longer changes, so that its outputs are computed once."""

from collections.abc import Callable

import torch
from torch import Tensor

from recsys_posttrain.data.positions import TrainingPositions
from recsys_posttrain.models.cache import OutputCache
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Batch, Sequences


class FrozenPolicy(Policy):
    """A policy without gradients and dropout; it shares the backbone of `policy`, and freezes it.

    At the positions of `set_positions` its hidden states (where they fit in memory), normaliser and
    expected reward are cached.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy.backbone, policy.item_ids)
        self.requires_grad_(False).train(False)
        self._cache = OutputCache()
        self._expected_of: tuple[RewardModel, ...] = ()  # in a tuple: not a part of this module

    def train(self, mode: bool = True) -> "FrozenPolicy":
        """Stays in evaluation mode, whatever the trainer asks for."""
        super().train(False)
        return self

    def set_positions(self, positions: TrainingPositions | None) -> None:
        """From now on every batch consists of these positions; None: of any others."""
        self._cache.set_positions(positions)

    def _scalars(self, name: str, batch: Batch, of_batch: Callable[[Batch], Tensor]) -> Tensor:
        """of_batch(batch), [N], from the cache where there is one."""
        if batch.catalogue_sample is not None or not self._cache.holds(1):
            return of_batch(batch)
        return self._cache.get(name, batch, of_batch, self.item_embedding_VD)

    @torch.no_grad()
    def hidden_states(self, batch: Batch) -> Tensor:
        if not self._cache.holds(self.item_embedding_VD.shape[1]):
            return super().hidden_states(batch)
        if self._latest is None or self._latest[0] is not batch:
            hidden_ND = self._cache.get(
                "hidden states", batch, super().hidden_states, self.item_embedding_VD
            )
            self._latest = (batch, False, hidden_ND)
        return self._latest[2]

    def log_normaliser(self, batch: Batch) -> Tensor:
        return self._scalars(f"normaliser in {self.logits_dtype}", batch, super().log_normaliser)

    def expected_reward(self, batch: Batch, reward: RewardModel) -> Tensor:
        expected = super().expected_reward
        if reward.is_resampled:
            return expected(batch, reward)
        if not any(known is reward for known in self._expected_of):
            self._expected_of = (reward,)
            self._cache.drop("expected")
        return self._scalars("expected", batch, lambda batch: expected(batch, reward))

    def last_hidden_states(
        self, histories: Sequences, next_times_N: Tensor | None = None, rows: int = 32
    ) -> Tensor:
        compute = super().last_hidden_states
        return self._cache.after(histories, lambda: compute(histories, next_times_N, rows))
