"""Sampled softmax: the partition sum of the softmax is estimated from K shared negatives.

    loss  = log Z_hat - s(a)
    Z_hat = exp(s(a)) + sum over draws v != a of exp(s(v)) / (K q(v))

s are logits, q is the proposal (negatives.py), and exp(s - log(K q)) is the logQ correction. The
logged item a is there with certainty, so its logit is not corrected, and draws that hit it are
dropped. So are, at each position, draws of items that are not eligible there.

Unbiased: Z_hat, so that E[exp(loss)] = 1 / pi(a | x) exactly. Biased: the loss, which is too small
in expectation because log is concave, and the gradient; both biases vanish as K grows.
Limits: with K = V uniform draws it is the full softmax.
Source: importance sampling of the partition sum, Bengio and Senecal 2008 (IEEE Transactions on
Neural Networks 19(4)); logQ correction, Yi et al. 2019 (RecSys); the logged item left uncorrected,
as arXiv 2507.09331 argues.
Departures: negatives are shared by all positions of a step and their draws are stratified.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.losses.base import Objective
from recsys_posttrain.losses.negatives import Candidates, candidates, draw, proposal
from recsys_posttrain.losses.one_pass import LossOfChunk, over_candidates
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.types import Batch


def sampled_softmax(
    hidden_ND: Tensor, candidates: Candidates, logits_dtype: torch.dtype | None = None
) -> Tensor:
    """The loss log Z_hat - s(a) of each position, [N]."""
    weight_K = 1 / candidates.negatives.expected_K

    def formula(logit_C: Tensor, logit_CK: Tensor) -> LossOfChunk:
        # In the dtype of logit_CK, because passes over mixed ones make copies.
        top_C = torch.maximum(logit_CK.amax(dim=1), logit_C.to(logit_CK))
        others_CK = logit_CK.sub_(top_C[:, None]).exp_().mul_(weight_K.to(logit_CK))
        own_C = (logit_C - top_C).exp()
        total_C = own_C + others_CK.sum(dim=1, dtype=logit_C.dtype)
        loss_C = total_C.log() + top_C - logit_C
        return LossOfChunk(loss_C, own_C / total_C - 1, 1 / total_C, others_CK)

    return over_candidates(hidden_ND, candidates, formula, logits_dtype)


@dataclass(frozen=True)
class SampledSoftmax:
    """Cross-entropy with a sampled partition sum.

    With 1,024 negatives a training step is faster than with FullSoftmax from about 2,000 items on
    (benchmarks/sampled.py measures it). On a smaller catalogue take FullSoftmax: it is exact, and
    its policy is the one that a sampled loss approaches.
    """

    negatives: int = 1024  # K, per step
    popularity_exponent: float = 0.5  # of the proposal; 0 is uniform

    def __post_init__(self) -> None:
        require(
            self.negatives >= 1,
            f"SampledSoftmax: negatives={self.negatives} must be at least 1.",
        )
        require(
            self.popularity_exponent >= 0,
            f"SampledSoftmax: popularity_exponent={self.popularity_exponent} must be at least 0; "
            "0 draws all items alike.",
        )

    def build(self, count_V: Tensor) -> Objective:
        share_V = proposal(count_V, self.popularity_exponent)

        def objective(policy: Policy, batch: Batch, generator: torch.Generator) -> Tensor:
            drawn = candidates(policy, batch, draw(share_V, self.negatives, generator))
            return sampled_softmax(policy.hidden_states(batch), drawn, policy.logits_dtype)

        return objective
