"""SASRec: a causal transformer over item ids (arXiv 1808.09781).

Departures from the paper: normalisation comes before each sub-layer (steadier training), the
feed-forward is GELU, dropout acts on the embedding and on both residual branches but not inside
the attention (there it costs 1.7x on a CPU and did not pay), positions count from a user's first
visible event, so that a state never depends on how many events follow. The output layer is the
item embedding itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from recsys_posttrain.backbones.dropout import Dropout
from recsys_posttrain.backbones.embedding import EventEmbedding
from recsys_posttrain.config import require
from recsys_posttrain.types import History


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.attention_output = nn.Linear(dim, dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, feed_forward), nn.GELU(), nn.Linear(feed_forward, dim)
        )
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: Tensor, at_B: Tensor | None = None) -> Tensor:
        """[B, T, D], or only the states at the positions `at_B`, [B, 1, D]: keys and values are
        then all that the other positions are needed for."""
        normed_BTD = self.attention_norm(x_BTD)
        if at_B is None:
            query, key, value = self._projections(normed_BTD, first=0)
            mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            key, value = self._projections(normed_BTD, first=1)
            row_B = torch.arange(len(at_B), device=at_B.device)
            x_BTD, normed_B1D = x_BTD[row_B, at_B, None], normed_BTD[row_B, at_B, None]
            (query,) = self._projections(normed_B1D, first=0, last=1)
            visible_BT = torch.arange(key.shape[2], device=at_B.device) <= at_B[:, None]
            mixed = scaled_dot_product_attention(query, key, value, visible_BT[:, None, None])
        mixed_BTD = mixed.transpose(1, 2).flatten(2)
        x_BTD = x_BTD + self.dropout(self.attention_output(mixed_BTD))
        fed_BTD = self.feed_forward(self.feed_forward_norm(x_BTD))
        output_BTD: Tensor = x_BTD + self.dropout(fed_BTD)
        return output_BTD

    def _projections(self, x_BTD: Tensor, first: int, last: int = 3) -> tuple[Tensor, ...]:
        """Those from `first` up to `last` of query, key and value, each [B, H, T, D / H]."""
        batch, time, dim = x_BTD.shape
        rows = slice(first * dim, last * dim)
        weight, bias = self.query_key_value.weight[rows], self.query_key_value.bias[rows]
        projected = nn.functional.linear(x_BTD, weight, bias)
        split = projected.view(batch, time, last - first, self.heads, dim // self.heads)
        return split.permute(2, 0, 3, 1, 4).unbind()


class SASRecModule(EventEmbedding):
    """The network; see backbones/base.py for the contract. Right-padded input needs no mask:
    a causal state never looks to its right. Times are not read."""

    def __init__(self, config: "SASRec", num_items: int) -> None:
        super().__init__(
            num_items, config.dim, config.max_length, config.history_rewards, config.dropout
        )
        self.blocks = nn.ModuleList(
            _Block(config.dim, config.heads, config.feed_forward, config.dropout)
            for _ in range(config.blocks)
        )
        self.output_norm = nn.LayerNorm(config.dim)
        self.start_small()

    def forward(self, history: History) -> Tensor:
        """Hidden states [B, T, D]."""
        x_BTD = self.embedded(history)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        hidden_BTD: Tensor = self.output_norm(x_BTD)
        return hidden_BTD

    def last(self, history: History, length_B: Tensor) -> Tensor:
        """The states at positions length - 1 alone, [B, D]; the last block is run only there."""
        x_BTD = self.embedded(history)
        for block in self.blocks[:-1]:
            x_BTD = block(x_BTD)
        hidden_B1D: Tensor = self.output_norm(self.blocks[-1](x_BTD, length_B - 1))
        return hidden_B1D[:, 0]


@dataclass(frozen=True)
class SASRec:
    """history_rewards: also read the logged reward of each past event (off for protocol A)."""

    dim: int = 64
    blocks: int = 2
    heads: int = 1
    feed_forward: int = 256
    dropout: float = 0.1
    max_length: int = 200
    history_rewards: bool = False

    def __post_init__(self) -> None:
        require(
            min(self.dim, self.blocks, self.heads, self.feed_forward, self.max_length) >= 1,
            f"SASRec: every size must be at least 1, but this is {self}.",
        )
        require(
            self.dim % self.heads == 0,
            f"SASRec: dim={self.dim} cannot be split over heads={self.heads}; "
            "choose a number of heads that divides dim.",
        )
        require(
            0 <= self.dropout < 1,
            f"SASRec: dropout={self.dropout} must be at least 0 and below 1.",
        )

    def build(self, num_items: int) -> SASRecModule:
        return SASRecModule(self, num_items)
