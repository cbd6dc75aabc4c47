"""Identity preference optimisation: pairs whose margin is to be a fixed number, and no larger.

    loss = (h - 1 / (2 beta))^2,   h = lr(a_w) - lr(a_l)
    lr(a) = log pi(a | x) - log pi_ref(a | x),   a_w: the preferred item,   a_l: the rejected one

DPO's loss falls as long as h grows, and where all pairs of two items agree it grows without end;
this one is least at h = 1 / (2 beta), however sure the pairs are.
Limits: beta -> infinity keeps h at 0, that of pi_ref; at pi = pi_ref the gradient is that of
-(log pi(a_w) - log pi(a_l)) / beta.
Source: IPO, arXiv 2310.12036, equation 17 (tau there is beta here). On the pairs of pairs.py it is
the RS-IPO of the Netflix Technology Blog (October 2025, see asft.py).
Departures: those of the pairs (dpo.py). An action is one item, so that nothing is averaged over
tokens, as public code does.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.margin import loss_of_pairs
from recsys_posttrain.algorithms.pairs import PairSource, SampledPairs
from recsys_posttrain.config import require_above_0
from recsys_posttrain.types import Batch, LossOutput


def ipo_loss(margin: Tensor, beta: float) -> Tensor:
    """The loss (margin - 1 / (2 beta))^2, element by element; margin = lr(a_w) - lr(a_l)."""
    return (margin - 1 / (2 * beta)) ** 2


@dataclass(frozen=True)
class IPO:
    """Identity preference optimisation; the default beta is ours: a margin of 1/2 nat."""

    family: ClassVar[str] = "preferences"
    beta: float = 1.0  # how strongly pi is held to pi_ref: margins are to be 1 / (2 beta)
    pairs: PairSource = SampledPairs()  # where the preferred and the rejected item come from

    def __post_init__(self) -> None:
        require_above_0(self, "beta")

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        loss_of_margin = partial(ipo_loss, beta=self.beta)
        return loss_of_pairs(batch, actors, self.pairs, loss_of_margin, self.beta)
