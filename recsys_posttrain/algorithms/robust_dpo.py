"""Direct preference optimisation on pairs of which a known share is the wrong way round.

    right = -log sigmoid(beta h),   wrong = -log sigmoid(-beta h),   h = lr(a_w) - lr(a_l)
    cDPO: loss = (1 - e) right + e wrong
    rDPO: loss = ((1 - e) right - e wrong) / (1 - 2 e)

lr(a) = log pi(a | x) - log pi_ref(a | x); e is the assumed probability that a pair is flipped.
cDPO smooths the labels: it is least at beta h = log((1 - e) / e). rDPO is unbiased: where pairs are
flipped with probability e, its mean over flips is DPO's loss on the right pairs. Its price: it is
unbounded below, with a slope of -beta e / (1 - 2 e) in h that never ends.
Limits: e -> 0 is DPO, in both forms. At pi = pi_ref the gradient is DPO's, times 1 - 2 e in cDPO
and divided by it in rDPO.
Source: cDPO, "A note on DPO with noisy preferences" (E. Mitchell, 2023); rDPO, arXiv 2403.00409.
TRL calls e `label_smoothing`.
Departures: those of the pairs (dpo.py); e is our guess of the share of pairs that the reward model
orders wrongly. Adam divides the factor 1 - 2 e out.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.margin import loss_of_pairs
from recsys_posttrain.algorithms.pairs import PairSource, SampledPairs
from recsys_posttrain.config import require, require_above_0
from recsys_posttrain.types import Batch, LossOutput


def robust_loss(margin: Tensor, beta: float, flip_probability: float, unbiased: bool) -> Tensor:
    """The loss of cDPO, or of rDPO where it is to be unbiased, element by element."""
    right, wrong = -logsigmoid(beta * margin), -logsigmoid(-beta * margin)
    if unbiased:
        return ((1 - flip_probability) * right - flip_probability * wrong) / (
            1 - 2 * flip_probability
        )
    return (1 - flip_probability) * right + flip_probability * wrong


@dataclass(frozen=True)
class RobustDPO:
    """Direct preference optimisation that expects flipped pairs; the defaults are ours."""

    family: ClassVar[str] = "preferences"
    beta: float = 4.0  # how strongly pi is held to pi_ref
    flip_probability: float = 0.1  # e
    unbiased: bool = False  # rDPO; False: cDPO
    pairs: PairSource = SampledPairs()  # where the preferred and the rejected item come from

    def __post_init__(self) -> None:
        require_above_0(self, "beta")
        require(
            0 <= self.flip_probability < 0.5,
            f"RobustDPO: flip_probability={self.flip_probability} must be at least 0 and below "
            "0.5, from where on pairs are uninformative.",
        )

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        loss_of_margin = partial(
            robust_loss,
            beta=self.beta,
            flip_probability=self.flip_probability,
            unbiased=self.unbiased,
        )
        return loss_of_pairs(batch, actors, self.pairs, loss_of_margin, self.beta)
