"""HSTU: pointwise causal aggregation that reads positions and times (arXiv 2402.17152).

A block, with the products per head and the two biases shared by its heads:

    u, q, k, v = SiLU(norm(x) W)
    a_ts = SiLU(q_t . k_s + position[t - s] + time[bucket(now_t - time_s)])    for s <= t, else 0
    x_t  = x_t + W_o dropout(norm(sum_s a_ts v_s / n_t) * u_t) + b_o

    bucket(d) = min(floor(ln(max(d, 1)) / 0.301), 127),  d in seconds

There is no softmax: the sum keeps how strongly the past supports a state, not only which part does
so. now_t is the time of event t. With `target_time` it is that of the action after event t; see
the class HSTU.

Source: equations 1 to 3 of the paper; the bucketing, the shared biases, norms without weights, a
projection without a bias, the place of the dropout and no scale on q . k are those of the authors'
code (github.com/meta-recsys/generative-recommenders, research/modeling/sequential/hstu.py).
Departures: now_t (the code's is always the next event's time); n_t is t + 1, the number of events
that are seen (the paper divides by nothing, the code by the padded length), so that a state never
depends on how many events follow. The norm after it would undo any divisor but for its epsilon: at
the start (width 64, 200 events) the code's divisor moves the normalised sums by 7% of their size,
most of it at a user's first events, where 200 times less than the sum is as small as the epsilon's
root. Further: embeddings, their start and the norm of the output are those of
SASRec, so that the two differ in their blocks alone; layers start as torch starts them, not with a
deviation of 0.02.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear, silu

from recsys_posttrain.models.backbone import check_sizes
from recsys_posttrain.models.dropout import Dropout
from recsys_posttrain.models.embedding import EventEmbedding
from recsys_posttrain.types import History

BUCKETS, BUCKET_WIDTH = 128, 0.301
EPSILON = 1e-6
BIAS_DEVIATION = 0.02
HIDDEN = -1e9  # SiLU and its slope are exactly 0 there


def time_buckets(seconds: Tensor) -> Tensor:
    """`bucket` of the module's text for int64 differences of any shape, int32.

    In float32: a difference within a millionth of a boundary may fall on either side.
    """
    logarithm = seconds.float().clamp_(min=1).log_()
    return (logarithm / BUCKET_WIDTH).int().clamp_(max=BUCKETS - 1)


class _Pairs(NamedTuple):
    """How each key s lies to each query: the same for all blocks. Q queries, all T or one."""

    distance_QT: Tensor  # int64: positions from key to query, negative in the future; or [B, 1, T]
    bucket_BQT: Tensor  # int32


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.heads = heads
        self.projection = nn.Linear(dim, 4 * dim, bias=False)
        self.output = nn.Linear(dim, dim)
        self.position_bias = nn.Parameter(BIAS_DEVIATION * torch.randn(max_length))
        self.time_bias = nn.Parameter(BIAS_DEVIATION * torch.randn(BUCKETS))
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: Tensor, pairs: _Pairs, at_B: Tensor | None = None) -> Tensor:
        """[B, T, D], or only the states at the positions `at_B`, [B, 1, D]: keys and values are
        then all that the other positions are needed for."""
        normed_BTD = layer_norm(x_BTD, x_BTD.shape[-1:], eps=EPSILON)
        if at_B is None:
            gate, query, key, value = silu(self.projection(normed_BTD)).chunk(4, dim=-1)
        else:
            row_B = torch.arange(at_B.shape[0], device=at_B.device)
            x_BTD, normed_B1D = x_BTD[row_B, at_B, None], normed_BTD[row_B, at_B, None]
            own, shared = self.projection.weight.chunk(2)
            gate, query = silu(linear(normed_B1D, own)).chunk(2, dim=-1)
            key, value = silu(linear(normed_BTD, shared)).chunk(2, dim=-1)
        score_BHQT = self._split(query) @ self._split(key).mT
        score_BHQT += self._bias(pairs)[:, None]
        mixed_BHQD = silu(score_BHQT) @ self._split(value)
        seen_Q1 = (pairs.distance_QT >= 0).sum(dim=-1, keepdim=True)
        mixed_BQD = mixed_BHQD.transpose(1, 2).flatten(2) / seen_Q1
        gated_BQD = layer_norm(mixed_BQD, mixed_BQD.shape[-1:], eps=EPSILON) * gate
        output_BQD: Tensor = x_BTD + self.output(self.dropout(gated_BQD))
        return output_BQD

    def _split(self, x_BTD: Tensor) -> Tensor:
        """[B, H, T, D / H]"""
        batch, time, dim = x_BTD.shape
        return x_BTD.view(batch, time, self.heads, dim // self.heads).transpose(1, 2)

    def _bias(self, pairs: _Pairs) -> Tensor:
        """position[...] + time[...] of the module's text, [B, Q, T]; HIDDEN in the future."""
        distance_QT, bucket_BQT = pairs
        past_QT = distance_QT.clamp(min=0)
        position_QT = self.position_bias.index_select(0, past_QT.flatten()).view_as(past_QT)
        time_BQT = self.time_bias.index_select(0, bucket_BQT.flatten()).view_as(bucket_BQT)
        time_BQT += position_QT.masked_fill(distance_QT < 0, HIDDEN)
        return time_BQT


class HSTUModule(EventEmbedding):
    """The network; see backbone.py for the contract. Right-padded input needs no mask:
    a causal state never looks to its right."""

    def __init__(self, config: "HSTU", num_items: int) -> None:
        super().__init__(
            num_items, config.dim, config.max_length, config.history_rewards, config.dropout
        )
        self.target_time = config.target_time
        self.blocks = nn.ModuleList(
            _Block(config.dim, config.heads, config.dropout, config.max_length)
            for _ in range(config.blocks)
        )
        self.output_norm = nn.LayerNorm(config.dim)
        self.start_small()

    def forward(self, history: History) -> Tensor:
        """The hidden states, [B, T, D]."""
        hidden_BTD: Tensor = self.output_norm(self._through(self.blocks, history))
        return hidden_BTD

    def last(self, history: History, length_B: Tensor) -> Tensor:
        """The hidden states at position length - 1, [B, D]; the last block runs only there."""
        at_B = length_B - 1
        x_BTD = self._through(self.blocks[:-1], history)
        hidden_B1D: Tensor = self.blocks[-1](x_BTD, self._pairs(history, at_B), at_B)
        last_BD: Tensor = self.output_norm(hidden_B1D[:, 0])
        return last_BD

    def _through(self, blocks: nn.ModuleList, history: History) -> Tensor:
        x_BTD = self.embedded(history)
        if len(blocks):
            pairs = self._pairs(history)
            for block in blocks:
                x_BTD = block(x_BTD, pairs)
        return x_BTD

    def _pairs(self, history: History, at_B: Tensor | None = None) -> _Pairs:
        """Of all queries, or of the one at `at_B`."""
        now_BQ = history.next_times_BT if self.target_time else history.times_BT
        query_Q = key_T = torch.arange(now_BQ.shape[1], device=now_BQ.device)
        if at_B is not None:
            now_BQ, query_Q = now_BQ.gather(1, at_B[:, None]), at_B[:, None]
        return _Pairs(
            query_Q[..., None] - key_T,
            time_buckets(now_BQ[..., None] - history.times_BT[:, None]),
        )


@dataclass(frozen=True)
class HSTU:
    """Settings of HSTU; those that it shares with SASRec are described there.

    target_time: the hidden state after an event also depends on the time of the next action, in
        training and for a held-out target alike, as in the authors' code and the RecTools HSTU
        tutorial. The model then reads the target's timestamp, so it is not comparable with one that
        does not. Where no target is known, as in `recommend`, it is the time of the last event. Off
        by default: a hidden state then depends on no time after its own event's, as for SASRec.
    """

    dim: int = 64
    blocks: int = 2
    heads: int = 1
    dropout: float = 0.1
    max_length: int = 200
    history_rewards: bool = False
    target_time: bool = False

    def __post_init__(self) -> None:
        check_sizes(self)

    def build(self, num_items: int) -> HSTUModule:
        return HSTUModule(self, num_items)
