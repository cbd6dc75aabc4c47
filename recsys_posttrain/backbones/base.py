"""What a backbone is: items in, hidden states out, and an item embedding. Nothing else."""

from typing import Protocol

from torch import Tensor, nn


class Backbone(Protocol):
    """An nn.Module with these members; see sasrec.py for one.

    dim: width D of its states. max_length: the longest history it reads.
    item_embedding: [V + 1, D]; row 0 is padding. forward: state at t sees events up to t only.
    """

    dim: int
    max_length: int
    item_embedding: nn.Embedding

    def __call__(self, history_BT: Tensor, history_rewards_BT: Tensor) -> Tensor: ...


class BackboneConfig(Protocol):
    """A frozen dataclass whose fields are the architecture."""

    @property
    def max_length(self) -> int: ...

    def build(self, num_items: int) -> nn.Module:
        """A freshly initialised Backbone; draws from torch's global generator (seed it)."""
        ...
