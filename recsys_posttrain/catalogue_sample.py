"""What stands for a catalogue that is too large to sum over: items drawn once per training step.

    sum over v of f(v)   is estimated by   f(a) + sum over drawn v != a of w(v) f(v)
    w(v) = (times that v was drawn) / (expected number of times)

a is the logged item of a position, which is there with certainty. A softmax over the M places of a
sample has logits h . e_v + log w(v), so whatever sums over a catalogue sums over a sample instead:
it is given vectors with two columns more, which hold log w(v), and states with two ones more.

Unbiased: sums, that of the normaliser too. Biased, by about one over the number drawn: their log
and their ratios, so log pi, expectations and KL; the same sample serves policy, pi_old and
reference, so that errors of their normalisers are alike and cancel in ratios.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from recsys_posttrain.eligibility import Excluded


class CatalogueSample(NamedTuple):
    """M places: those of the drawn items, ascending, then one of each item logged in the batch.

    At a position the places of other positions' logged items do not count, nor do drawn items that
    are its own logged item or are not eligible there: `excluded`, in places 1..M.
    """

    items_M: Tensor  # int64, 1..V: the item at each place
    log_weight_M: Tensor  # float32: log w; 0 for a logged item
    excluded: Excluded

    def to(self, device: torch.device | None) -> "CatalogueSample":
        items_M, log_weight_M, excluded = self
        return CatalogueSample(items_M.to(device), log_weight_M.to(device), excluded.to(device))

    @property
    def action_N(self) -> Tensor:
        """The place of each position's logged item, int64."""
        assert self.excluded.but_N is not None
        return self.excluded.but_N

    def states(self, hidden_ND: Tensor) -> Tensor:
        """The hidden states with two ones more."""
        return functional.pad(hidden_ND, (0, 2), value=1.0)

    def vectors(self, weight_V1D: Tensor) -> Tensor:
        """The vectors of the places, with log w, from an item embedding with its padding row.

        Two columns: a logit in bfloat16 would round one, by up to .03; the second holds what is
        left. The gradient is sparse, so that it costs nothing per item of the catalogue.
        """
        vector_MD = functional.embedding(self.items_M, weight_V1D, sparse=weight_V1D.is_leaf)
        log_M = self.log_weight_M.to(vector_MD)
        high_M = log_M.bfloat16().to(log_M)
        return torch.cat([vector_MD, high_M[:, None], (log_M - high_M)[:, None]], dim=1)

    def rows(self, values_VR: Tensor) -> Tensor:
        """A table's rows of the places."""
        return values_VR[self.items_M - 1]
