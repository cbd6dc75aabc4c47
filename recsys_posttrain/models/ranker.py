"""The contract of a ranker: logits of all items after a history, as a product of two factors.

    logit(n, v) = state_n . factor_v

Its list is the items with the highest logits, its policy the softmax over them. A `Policy` is one
(its hidden states and its item embedding), and so is every method without training (untrained/), so
that evaluation asks all of them alike.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.types import Sequences


class Ranker(Protocol):
    @property
    def item_ids(self) -> np.ndarray | None:
        """item_ids[v - 1] is the id of item v; None: built by hand, and taken as it is."""
        ...

    def scores(
        self, histories: Sequences, times_N: Tensor | None = None, users_N: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """state_NR and factor_VR, for the next action after each whole history.

        times_N: of that action; None: that of the last event. users_N: the user of each history
        (index into Corpus.user_ids), for one that knows users; None: history n is user n's.
        """
        ...


@dataclass(frozen=True, eq=False)
class SameForAll:
    """A ranker that gives every history the same logits. It compares by identity."""

    logit_V: Tensor
    item_ids: np.ndarray | None = None

    def scores(
        self, histories: Sequences, times_N: Tensor | None = None, users_N: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return torch.ones(len(histories), 1), self.logit_V.float()[:, None]
