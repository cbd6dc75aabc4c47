"""SASRec: a causal transformer over item ids (arXiv 1808.09781).

A block is x + dropout(g(norm(x))) for attention and then for the feed-forward, and the output layer
is the item embedding itself, as in the paper. The authors' code, and others after it, differ: their
queries are normalised, keys and values are not, and the residual is added to the normalised query.

Departures from the paper:
- the feed-forward is GELU and, by default, four times as wide as the hidden states, not as wide;
- the attention has an output projection;
- input item vectors are not multiplied by the root of the width (they start small, embedding.py);
- the norms' epsilon is 1e-5 (the authors' code has 1e-8);
- dropout acts on the embedding and on both residual branches but not inside the attention (there it
  costs 1.7x on a CPU and did not pay);
- positions count from the first event in the window, not from the last.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from recsys_posttrain.config import require_counts
from recsys_posttrain.models.backbone import check_sizes
from recsys_posttrain.models.dropout import Dropout
from recsys_posttrain.models.embedding import EventEmbedding
from recsys_posttrain.types import History


class _Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each on a residual branch."""

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

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The block at all positions, [B, T, D]."""
        batch, time, dim = x_BTD.shape
        projected = self.query_key_value(self.attention_norm(x_BTD))
        split = projected.view(batch, time, 3, self.heads, dim // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind()
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        return self._after_attention(x_BTD, mixed.transpose(1, 2).flatten(2))

    def last(self, x_BTD: Tensor, at_B: Tensor) -> Tensor:
        """The block at one position of each row, `at_B`, [B, D].

        Keys and values of the normed inputs n_t are never formed: q . (W_k n_t + b_k) is
        (W_k' q) . n_t plus a constant in t, which the softmax drops, and sum_t a_t (W_v n_t + b_v)
        is W_v (sum_t a_t n_t) + b_v. Letters: H heads, C width of a head.
        """
        normed_BTD = self.attention_norm(x_BTD)
        row_B = torch.arange(at_B.shape[0], device=at_B.device)
        batch, _, dim = x_BTD.shape
        width = dim // self.heads
        query_weight, key_weight, value_weight = self.query_key_value.weight.chunk(3)
        query_bias, _, value_bias = self.query_key_value.bias.chunk(3)
        query_BD = linear(normed_BTD[row_B, at_B], query_weight, query_bias)
        query_BHC = query_BD.view(batch, self.heads, width) * width**-0.5
        key_weight_HCD = key_weight.view(self.heads, width, dim)
        query_BHD = torch.einsum("bhc,hcd->bhd", query_BHC, key_weight_HCD)
        score_BHT = query_BHD @ normed_BTD.transpose(1, 2)
        is_later_BT = torch.arange(x_BTD.shape[1], device=at_B.device) > at_B[:, None]
        score_BHT = score_BHT.masked_fill(is_later_BT[:, None], -torch.inf)
        mean_BHD = score_BHT.softmax(dim=2) @ normed_BTD
        value_weight_HCD = value_weight.view(self.heads, width, dim)
        mixed_BHC = torch.einsum("bhd,hcd->bhc", mean_BHD, value_weight_HCD)
        return self._after_attention(x_BTD[row_B, at_B], mixed_BHC.flatten(1) + value_bias)

    def _after_attention(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.dropout(self.attention_output(mixed))
        output: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return output


class SASRecModule(EventEmbedding):
    """The network of SASRec, a Backbone (backbone.py). It reads items and rewards, not times.

    Right-padded input needs no mask: causal attention never looks to its right.
    """

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
        """The hidden states, [B, T, D]."""
        x_BTD = self.embedded(history)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        hidden_BTD: Tensor = self.output_norm(x_BTD)
        return hidden_BTD

    def last(self, history: History, length_B: Tensor) -> Tensor:
        """The hidden states at position length - 1, [B, D]; the last block runs only there."""
        x_BTD = self.embedded(history)
        for block in self.blocks[:-1]:
            x_BTD = block(x_BTD)
        last_block: _Block = self.blocks[-1]  # type: ignore[assignment]
        hidden_BD: Tensor = self.output_norm(last_block.last(x_BTD, length_B - 1))
        return hidden_BD


@dataclass(frozen=True)
class SASRec:
    """Settings of SASRec.

    dim: width of the hidden states, a multiple of heads.
    blocks: transformer blocks.
    heads: attention heads of a block.
    feed_forward: width of the feed-forward layer.
    dropout: share of units that are dropped, on the embedding and on both residual branches.
    max_length: the longest history that is read.
    history_rewards: also read the logged reward of each past event (off for protocol A).
    """

    dim: int = 64
    blocks: int = 2
    heads: int = 1
    feed_forward: int = 256
    dropout: float = 0.1
    max_length: int = 200
    history_rewards: bool = False

    def __post_init__(self) -> None:
        check_sizes(self)
        require_counts("SASRec", 1, 2**20, feed_forward=self.feed_forward)

    def build(self, num_items: int) -> SASRecModule:
        return SASRecModule(self, num_items)
