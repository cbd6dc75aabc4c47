"""A policy that no longer changes, and so need not compute anything twice."""

from collections.abc import Callable

import torch
from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.data.positions import TrainingPositions
from recsys_posttrain.policy import Policy
from recsys_posttrain.rewards.base import RewardModel
from recsys_posttrain.types import Batch, Sequences

LARGEST_NUMBER_OF_HISTORIES = 2  # sets of them whose states are kept: validation and test


class FrozenPolicy(Policy):
    """Shares the policy's backbone and turns gradients and dropout off, for good.

    While `at` names the training positions it reads what it says about them from memory: its
    states, where they fit, the normaliser of its softmax and its expected reward.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy.backbone)
        self.requires_grad_(False).train(False)
        self._positions: TrainingPositions | None = None  # of the batches that come now
        self._known_at: TrainingPositions | None = None
        self._known: dict[str, Tensor] = {}
        self._expected_of: tuple[RewardModel, ...] = ()  # in a tuple: not a part of this module
        self._last: list[tuple[Sequences, Tensor]] = []

    def train(self, mode: bool = True) -> "FrozenPolicy":
        super().train(False)
        return self

    def at(self, positions: TrainingPositions | None) -> None:
        """Every batch from now on holds these positions; None: any others."""
        self._positions = positions
        if positions is not None and positions != self._known_at:
            self._known_at, self._known = positions, {}

    def _at(self, name: str, batch: Batch, of_batch: Callable[[Batch], Tensor]) -> Tensor:
        """of_batch(batch), of width 1, from memory where there is one."""
        if self._positions is None:
            return of_batch(batch)
        if name not in self._known:
            self._known[name] = self._positions.values(of_batch, like=self.table_VD)
        return self._known[name][self._positions.index(batch)].to(self.table_VD.device)

    @torch.no_grad()
    def states(self, batch: Batch) -> Tensor:
        if self._positions is None or not self._positions.fit(self.table_VD.shape[1]):
            return super().states(batch)
        if self._remembered is None or self._remembered[0] is not batch:
            states_ND = self._at("states", batch, super().states)
            self._remembered = (batch, False, states_ND)
        return self._remembered[2]

    def log_normaliser(self, batch: Batch) -> Tensor:
        return self._at(f"normaliser in {self.products}", batch, super().log_normaliser)

    def expected_reward(self, batch: Batch, reward: RewardModel) -> Tensor:
        """E_{a ~ pi}[r_hat(x, a)], exactly over the catalogue, [N] at the real positions."""

        def expected(batch: Batch) -> Tensor:
            return ops.expected_score(self.states(batch), self.table_VD, *reward.factors(batch))

        if reward.is_resampled:
            return expected(batch)
        if not any(known is reward for known in self._expected_of):
            self._expected_of = (reward,)
            self._known.pop("expected", None)
        return self._at("expected", batch, expected)

    def last_states(
        self, histories: Sequences, next_times_N: Tensor | None = None, rows: int = 32
    ) -> Tensor:
        for known, states_ND in self._last:
            if known is histories:
                return states_ND
        states_ND = super().last_states(histories, next_times_N, rows)
        self._last = [*self._last[1 - LARGEST_NUMBER_OF_HISTORIES :], (histories, states_ND)]
        return states_ND
