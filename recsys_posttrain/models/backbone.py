"""The contract of a backbone: past events in, hidden states out, and an item embedding."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from recsys_posttrain.config import require, require_counts
from recsys_posttrain.types import History


class Backbone(Protocol):
    """An nn.Module with these members; see sasrec.py for one."""

    dim: int  # width D of the hidden states
    max_length: int  # the longest history that it reads
    item_embedding: nn.Embedding  # [V + 1, D]; row 0 is padding

    def __call__(self, history: History) -> Tensor:
        """The hidden states, [B, T, D]; the one at t depends on events up to t only."""
        ...


class BackboneConfig(Protocol):
    """A frozen dataclass whose fields are the architecture."""

    @property
    def max_length(self) -> int:
        """The longest history that the backbone reads, in events."""
        ...

    def build(self, num_items: int) -> nn.Module:
        """A freshly initialised Backbone; it draws from torch's global generator (seed it)."""
        ...


def last_hidden_states(backbone: nn.Module, history: History, length_B: Tensor) -> Tensor:
    """The hidden state after the last event of each row, [B, D].

    The backbone's optional method `last`, with the same arguments, computes it where that is less
    work than all positions.
    """
    last = getattr(backbone, "last", None)
    if last is not None:
        state_BD: Tensor = last(history, length_B)
        return state_BD
    hidden_BTD: Tensor = backbone(history)
    return hidden_BTD[torch.arange(length_B.shape[0], device=length_B.device), length_B - 1]


def check_sizes(config: Any) -> None:
    """Raises UserError for sizes of a transformer that no model has, before memory is allocated."""
    owner, dim, heads, dropout = type(config).__name__, config.dim, config.heads, config.dropout
    require_counts(owner, 1, 2**16, dim=dim, heads=heads)
    require_counts(owner, 1, 1000, blocks=config.blocks)
    require_counts(owner, 1, 2**20, max_length=config.max_length)
    require(
        dim % heads == 0,
        f"{owner}: dim={dim} cannot be split over heads={heads}; choose a number of heads that "
        "divides dim.",
    )
    require(0 <= dropout < 1, f"{owner}: dropout={dropout} must be at least 0 and below 1.")
