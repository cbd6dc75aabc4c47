"""What a backbone is: past events in, hidden states out, and an item embedding. Nothing else."""

from typing import Protocol

import torch
from torch import Tensor, nn

from recsys_posttrain.config import require, require_counts
from recsys_posttrain.types import History


class Backbone(Protocol):
    """An nn.Module with these members; see sasrec.py for one.

    dim: width D of its states. max_length: the longest history it reads.
    item_embedding: [V + 1, D]; row 0 is padding. forward: state at t sees events up to t only.
    """

    dim: int
    max_length: int
    item_embedding: nn.Embedding

    def __call__(self, history: History) -> Tensor: ...


def check_sizes(
    owner: str, *, dim: int, blocks: int, heads: int, max_length: int, dropout: float
) -> None:
    """Raises UserError for sizes that no model has: they are checked before memory is asked for."""
    require_counts(owner, 1, 2**16, dim=dim, heads=heads)
    require_counts(owner, 1, 1000, blocks=blocks)
    require_counts(owner, 1, 2**20, max_length=max_length)
    require(
        dim % heads == 0,
        f"{owner}: dim={dim} cannot be split over heads={heads}; choose a number of heads that "
        "divides dim.",
    )
    require(0 <= dropout < 1, f"{owner}: dropout={dropout} must be at least 0 and below 1.")


class BackboneConfig(Protocol):
    """A frozen dataclass whose fields are the architecture."""

    @property
    def max_length(self) -> int: ...

    def build(self, num_items: int) -> nn.Module:
        """A freshly initialised Backbone; draws from torch's global generator (seed it)."""
        ...


def last_hidden_states(backbone: nn.Module, history: History, length_B: Tensor) -> Tensor:
    """The state after the last real event of each row, [B, D].

    From the backbone's optional method `last` of the same arguments, where it can do less work than
    for all positions.
    """
    last = getattr(backbone, "last", None)
    if last is not None:
        state_BD: Tensor = last(history, length_B)
        return state_BD
    hidden_BTD: Tensor = backbone(history)
    return hidden_BTD[torch.arange(len(length_B), device=length_B.device), length_B - 1]
