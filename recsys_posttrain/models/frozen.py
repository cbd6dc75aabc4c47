"""A policy that no longer changes, and so need not compute anything twice."""

from collections.abc import Callable

import torch
from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.data.positions import Memory, TrainingPositions
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Batch, Sequences


class FrozenPolicy(Policy):
    """Shares the policy's backbone and turns gradients and dropout off, for good.

    While `at` names the training positions it reads what it says about them from memory: its
    states, where they fit, the normaliser of its softmax and its expected reward.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy.backbone, policy.item_ids)
        self.requires_grad_(False).train(False)
        self._memory = Memory()
        self._expected_of: tuple[RewardModel, ...] = ()  # in a tuple: not a part of this module

    def train(self, mode: bool = True) -> "FrozenPolicy":
        super().train(False)
        return self

    def at(self, positions: TrainingPositions | None) -> None:
        """Every batch from now on holds these positions; None: any others."""
        self._memory.at(positions)

    def _number(self, name: str, batch: Batch, of_batch: Callable[[Batch], Tensor]) -> Tensor:
        """of_batch(batch), [N], from memory where there is one."""
        if not self._memory.holds(1):
            return of_batch(batch)
        return self._memory.read(name, batch, of_batch, self.item_embedding_VD)

    @torch.no_grad()
    def hidden_states(self, batch: Batch) -> Tensor:
        if not self._memory.holds(self.item_embedding_VD.shape[1]):
            return super().hidden_states(batch)
        if self._remembered is None or self._remembered[0] is not batch:
            hidden_ND = self._memory.read(
                "states", batch, super().hidden_states, self.item_embedding_VD
            )
            self._remembered = (batch, False, hidden_ND)
        return self._remembered[2]

    def log_normaliser(self, batch: Batch) -> Tensor:
        return self._number(f"normaliser in {self.logits_dtype}", batch, super().log_normaliser)

    def expected_reward(self, batch: Batch, reward: RewardModel) -> Tensor:
        """E_{a ~ pi}[r_hat(x, a)], exactly over the catalogue, [N]."""

        def expected(batch: Batch) -> Tensor:
            return ops.expected_score(
                self.hidden_states(batch), self.item_embedding_VD, *reward.factors(batch)
            )

        if reward.is_resampled:
            return expected(batch)
        if not any(known is reward for known in self._expected_of):
            self._expected_of = (reward,)
            self._memory.drop("expected")
        return self._number("expected", batch, expected)

    def last_hidden_states(
        self, histories: Sequences, next_times_N: Tensor | None = None, rows: int = 32
    ) -> Tensor:
        compute = super().last_hidden_states
        return self._memory.after(histories, lambda: compute(histories, next_times_N, rows))
