"""Cloning with the outcome as an input: learn what was chosen at each reward, act as at the best.

    loss = -log pi(a | x, r),   pi(. | x, r) = softmax((h + (r - outcome) (W h + w)) . e)

h is the policy's state at x, e its item vectors; W and w are learned, 0 at first. **What its policy
is**: pi(. | x, outcome), that of the state h alone. So it is validated, measured, saved and served
at the outcome that was asked for, as every policy is, and W and w may be forgotten after training.
Limits: W = w = 0, or rewards that all are `outcome`, is behaviour cloning.
Source: PinRec, arXiv 2504.10507, and the decision transformer, arXiv 2106.01345: the desired
outcome as an input.
Departures: the outcome enters behind the backbone and moves the state along a line, so a pretrained
policy can be had without training it anew; the reward of the item, not the return of the sequence
(contextual bandit). An outcome that nobody had would be a guess, and is refused.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import Signal, observed_reward
from recsys_posttrain.algorithms.weights import means, scalar_head
from recsys_posttrain.config import require
from recsys_posttrain.types import Batch, LossOutput


@dataclass(frozen=True)
class ReturnConditioned:
    """Outcome-conditioned cloning."""

    family: ClassVar[str] = "weighted likelihood"
    outcome: float | None = None  # asked for, in stars; None: the highest logged reward
    reward: Signal = observed_reward  # r

    def heads(self, dim: int, num_items: int) -> dict[str, nn.Module]:
        return {"outcome": scalar_head(dim, dim)}

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        low, high = (float(each) for each in actors.log.rewards_E.aminmax())
        outcome = high if self.outcome is None else self.outcome
        require(
            low < high and low <= outcome <= high,
            f"ReturnConditioned: outcome={outcome:g} must be from the lowest to the highest logged "
            f"reward, which differ ({low:g} and {high:g} stars); where all are equal use BC.",
        )
        policy, gap_N = actors.policy, self.reward(batch, actors) - outcome
        shift_ND = gap_N[:, None] * actors.head("outcome", batch, trains_policy=True)
        state_ND = policy.hidden_states(batch)
        nll_N = policy.weighted_nll(batch, torch.ones_like(gap_N), state_ND + shift_ND)
        share_N = shift_ND.norm(dim=1) / state_ND.norm(dim=1).clamp(min=1e-6)
        return LossOutput(nll_N, means({"outcome/gap": gap_N, "outcome/shift": share_N}))
