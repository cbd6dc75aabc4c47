"""Direct preference optimisation on pairs of items that the reward model is sure about.

    loss = -log sigmoid(beta (lr(a_w) - lr(a_l))) - nll_coefficient log pi(a_w | x)
    lr(a) = log pi(a | x) - log pi_ref(a | x),   a_w: the preferred item,   a_l: the rejected one

Limits: beta -> 0 is the constant log 2 (without the NLL term); at pi = pi_ref the gradient is that
of -(beta / 2) (log pi(a_w) - log pi(a_l)).
Source: DPO, arXiv 2305.18290, equation 7. Pairs (pairs.py): RS-DPO as the Netflix Technology Blog
(October 2025, see asft.py) describes it: candidates scored by an ensemble, kept where confidence
intervals separate.
Departures: candidates are drawn from pi_ref at every step, not stored; a pair is kept where the
difference of its scores is more than `width` of its standard deviations, and the share kept is
logged (`pairs/kept`); the NLL term (off by default) is there because DPO tends to lower the chosen
log-probability too, which `logps/chosen` shows.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.margin import loss_of_pairs
from recsys_posttrain.algorithms.pairs import PairSource, SampledPairs
from recsys_posttrain.config import require_above_0, require_at_least
from recsys_posttrain.types import Batch, LossOutput


def dpo_loss(margin: Tensor, beta: float) -> Tensor:
    """The loss -log sigmoid(beta margin), element by element; margin = lr(a_w) - lr(a_l)."""
    return -logsigmoid(beta * margin)


@dataclass(frozen=True)
class DPO:
    """Direct preference optimisation; the default beta is ours, from three trials on ML-1M's
    validation targets (0.5 destroys the policy within 100 steps)."""

    family: ClassVar[str] = "preferences"
    beta: float = 8.0  # how strongly pi is held to pi_ref
    pairs: PairSource = SampledPairs()  # where the preferred and the rejected item come from
    nll_coefficient: float = 0.0

    def __post_init__(self) -> None:
        require_above_0(self, "beta")
        require_at_least(self, 0, "nll_coefficient")

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        loss_of_margin = partial(dpo_loss, beta=self.beta)
        return loss_of_pairs(
            batch, actors, self.pairs, loss_of_margin, self.beta, self.nll_coefficient
        )
