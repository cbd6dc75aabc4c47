"""Generalised binary cross-entropy: is this candidate the logged item, yes or no?

    loss = -(beta log sigmoid(s(a)) + sum over draws v != a of log(1 - sigmoid(s(v)))) / (K + 1)
    beta = rate (t (1 - 1 / rate) + 1 / rate) = 1 - t (1 - rate)

s are logits, a is the logged item, K the number of draws, and rate the probability that an item
other than a is among them. Every logged item is a candidate, but few of the other items are, so
plain binary cross-entropy learns probabilities that are too high. The minimum has
sigmoid(s(v)) = beta p(v) / (beta p(v) + rate (1 - p(v))).

Limits: t = 0 is binary cross-entropy; t = 1 has beta = rate and sigmoid(s(v)) = p(v), calibrated.
Source: gSASRec, arXiv 2308.07192, with its defaults of 256 negatives and t = 0.75.
Departures: negatives are shared by all positions of a step and drawn, stratified, from all V items;
those that are the logged item, or not eligible at the position, are dropped. Another item is then
drawn rate = K / V times in expectation. The paper draws K of the other V - 1 items for each
position: rate = K / (V - 1).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from recsys_posttrain.config import require
from recsys_posttrain.losses.base import Objective
from recsys_posttrain.losses.negatives import Candidates, candidates, draw, proposal
from recsys_posttrain.losses.one_pass import LossOfChunk, over_candidates
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.types import Batch


def gbce_beta(t: float, rate: float) -> float:
    """The exponent beta of the logged item's probability.

    t: calibration, from 0 to 1.
    rate: probability that an item other than the logged one is among the negatives.
    """
    return 1 - t * (1 - rate)


def gbce(
    hidden_ND: Tensor, candidates: Candidates, beta: float, logits_dtype: torch.dtype | None = None
) -> Tensor:
    """The generalised binary cross-entropy of each position, [N]."""
    share = 1 / (len(candidates.negative_KD) + 1)

    def formula(logit_C: Tensor, logit_CK: Tensor) -> LossOfChunk:
        rejected_C = functional.softplus(logit_CK).sum(dim=1, dtype=logit_C.dtype)
        loss_C = share * (beta * functional.softplus(-logit_C) + rejected_C)
        grad_C = -share * beta * (-logit_C).sigmoid()
        return LossOfChunk(loss_C, grad_C, torch.full_like(logit_C, share), logit_CK.sigmoid_())

    return over_candidates(hidden_ND, candidates, formula, logits_dtype)


@dataclass(frozen=True)
class GBCE:
    """Generalised binary cross-entropy on sampled negatives, with the paper's defaults."""

    negatives: int = 256  # K, per step, drawn uniformly
    t: float = 0.75  # 0 is binary cross-entropy, 1 is calibrated

    def __post_init__(self) -> None:
        require(self.negatives >= 1, f"GBCE: negatives={self.negatives} must be at least 1.")
        require(0 <= self.t <= 1, f"GBCE: t={self.t} must be from 0 to 1.")

    def build(self, count_V: Tensor) -> Objective:
        share_V = proposal(count_V, exponent=0.0)
        beta = gbce_beta(self.t, self.negatives / len(count_V))

        def objective(policy: Policy, batch: Batch, generator: torch.Generator) -> Tensor:
            drawn = candidates(policy, batch, draw(share_V, self.negatives, generator))
            return gbce(policy.hidden_states(batch), drawn, beta, policy.logits_dtype)

        return objective
