"""Direct preference optimisation of one item over several others at once.

    loss = -log sigmoid(-log sum over a_l of exp(beta (lr(a_l) - lr(a_w))))
    lr(a) = log pi(a | x) - log pi_ref(a | x),   a_w: the preferred item,   a_l: the rejected ones

It is -log of a_w's share of exp(beta lr) among a_w and the a_l.
Limits: one a_l is DPO; beta -> 0 is the constant log(1 + n) for n of them; at pi = pi_ref the
gradient is that of -beta n / (n + 1) (log pi(a_w) - mean of log pi(a_l)).
Source: S-DPO, arXiv 2406.09215: a_w is the logged item, the a_l are drawn from the catalogue, and
rewards are not read.
Departures: by default a_w is the draw from pi_ref with the highest r_hat, and the a_l are the draws
that the reward model is sure are worse, as for DPO (losers.py). The source's form is
LoggedVersusLosers(width=None), but for its negatives: drawn from pi_ref they are harder. The
accuracy and the rejected side of the metrics are of the mean over the a_l.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.losers import LoserSource, SampledLosers
from recsys_posttrain.algorithms.margin import log_ratios, preference_metrics
from recsys_posttrain.config import require_above_0
from recsys_posttrain.ops.softmax import masked_mean
from recsys_posttrain.types import Batch, LossOutput


def sdpo_loss(ratio_NK: Tensor, rejected_NK: Tensor, beta: float) -> Tensor:
    """log(1 + sum over the rejected of exp(beta (lr(a_l) - lr(a_w)))), [N].

    ratio_NK: lr; a_w is in column 0, which is never rejected.
    """
    is_out_NK = ~rejected_NK
    is_out_NK[:, 0] = False  # a_w itself: the 1
    gap_NK = beta * (ratio_NK - ratio_NK[:, :1])
    return gap_NK.masked_fill(is_out_NK, -torch.inf).logsumexp(dim=1)


@dataclass(frozen=True)
class SDPO:
    """Softmax direct preference optimisation; the defaults are ours."""

    family: ClassVar[str] = "preferences"
    beta: float = 8.0  # how strongly pi is held to pi_ref
    losers: LoserSource = SampledLosers()  # where the preferred and the rejected items come from

    def __post_init__(self) -> None:
        require_above_0(self, "beta")

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        items_NK, rejected_NK = self.losers(batch, actors)
        ratio_NK, log_prob_NK = log_ratios(batch, actors, items_NK, constant_normaliser=True)
        loss_N = sdpo_loss(ratio_NK, rejected_NK, self.beta)

        kept_N, share_NK = rejected_NK.any(dim=1), rejected_NK.to(ratio_NK)
        share_NK = share_NK / share_NK.sum(dim=1, keepdim=True).clamp(min=1)
        ratio_N2, log_prob_N2 = (
            torch.stack([each_NK[:, 0], (share_NK * each_NK).sum(dim=1)], dim=1)
            for each_NK in (ratio_NK, log_prob_NK)
        )
        metrics = preference_metrics(ratio_N2, log_prob_N2, kept_N, self.beta)
        metrics["pairs/rejected"] = masked_mean(rejected_NK.to(ratio_NK).sum(dim=1), kept_N)
        return LossOutput(loss_N, metrics, kept_N)
