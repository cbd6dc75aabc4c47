"""A policy: a backbone and the softmax over the catalogue that its item embedding defines."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recsys_posttrain import ops
from recsys_posttrain.data.batching import history_batches
from recsys_posttrain.models.backbone import BackboneConfig, last_hidden_states
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.ops.log_prob import LossOfLogProb, log_prob, loss_of_log_prob
from recsys_posttrain.ops.logsumexp import linear_logsumexp, weighted_nll
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Batch, History, Sequences

# Rows of one block share one padded length. Batches arrive sorted by length (data/batching.py),
# so small blocks carry almost no padding; very small ones waste the cores.
ROWS_PER_BLOCK = 16


def packed_hidden_states(backbone: nn.Module, batch: Batch) -> Tensor:
    """The hidden states of the real positions, [N, D], row by row, in blocks of similar length."""
    history = batch.history
    hidden = []
    for rows, longest in _blocks(batch.mask_BT.sum(dim=1).tolist()):
        block = (rows, slice(longest))
        hidden_BTD = backbone(History(*(field_BT[block] for field_BT in history)))
        hidden.append(hidden_BTD[batch.mask_BT[block]])
    return torch.cat(hidden)


def _blocks(lengths: list[int]) -> list[tuple[slice, int]]:
    """The consecutive rows of each block, and the length of its longest row."""
    starts = range(0, len(lengths), ROWS_PER_BLOCK)
    return [
        (slice(start, start + ROWS_PER_BLOCK), max(lengths[start : start + ROWS_PER_BLOCK]))
        for start in starts
    ]


class Policy(nn.Module):
    """The policy pi(item | history) = softmax over items of hidden state . item embedding.

    It is a softmax over the items that are eligible at each position (`Batch.excluded`).

    Several parts of a loss need the hidden states of one batch, so the latest batch's are cached
    until `clear_cache`, which an objective calls at the start of every step.

    backbone: computes the hidden states and holds the item embedding.
    item_ids: item_ids[v - 1] is the dataset's id of item v; None: a policy built by hand.
    """

    logits_dtype: torch.dtype | None = None  # see ops/logsumexp.py; None: that of the weights

    def __init__(self, backbone: nn.Module, item_ids: np.ndarray | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.item_ids = item_ids
        # The batch, whether its hidden states have a graph, and the hidden states.
        self._latest: tuple[Batch, bool, Tensor] | None = None

    @property
    def item_embedding_VD(self) -> Tensor:
        """The output vectors of items 1..V: the item embedding without its padding row."""
        embedding: nn.Embedding = self.backbone.item_embedding  # type: ignore[assignment]
        return embedding.weight[1:]

    @property
    def max_length(self) -> int:
        """The longest history that the policy reads, in events."""
        return int(self.backbone.max_length)  # type: ignore[arg-type]

    def clear_cache(self) -> None:
        """Drops the cached hidden states: the weights or the batch are about to change."""
        self._latest = None

    def cache_hidden_states(self, batch: Batch, hidden_ND: Tensor) -> None:
        """Caches hidden states that were computed elsewhere, without a graph."""
        self._latest = (batch, False, hidden_ND)

    def hidden_states(self, batch: Batch) -> Tensor:
        """The hidden states of the real positions, [N, D]; cached."""
        # Hidden states without a graph must not serve a caller who needs the gradient.
        graph = torch.is_grad_enabled()
        cached = self._latest
        if cached is None or cached[0] is not batch or cached[1] < graph:
            cached = (batch, graph, packed_hidden_states(self.backbone, batch))
            self._latest = cached
        return cached[2]

    def _softmax(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What every function of ops takes first."""
        return self.hidden_states(batch), self.item_embedding_VD

    def logits(self, batch: Batch, items_NK: Tensor) -> Tensor:
        """The logits of given items, [N, K], with a gradient: log pi up to a constant of each n."""
        return ops.chosen_logits(*self._softmax(batch), items_NK)

    @torch.no_grad()
    def log_normaliser(self, batch: Batch) -> Tensor:
        """The log-normaliser log sum_v exp(logit_v), [N], without a gradient."""
        return linear_logsumexp(*self._softmax(batch), self.logits_dtype, excluded=batch.excluded)

    def expected_reward(self, batch: Batch, reward: RewardModel) -> Tensor:
        """The exact expected reward E_{a ~ pi}[r_hat(x, a)] over the eligible items, [N]."""
        return ops.expected_score(
            *self._softmax(batch), *reward.factors(batch), excluded=batch.excluded
        )

    def log_prob(
        self,
        batch: Batch,
        items_NK: Tensor | None = None,
        *,
        constant_normaliser: bool = False,
    ) -> Tensor:
        """log pi of the logged actions, [N], or of given items, [N, K], with a gradient.

        constant_normaliser: leave out the gradient of the normaliser, for a loss that depends only
            on differences between items of one position.
        """
        if items_NK is None:
            one_N1 = batch.action_N[:, None]
            return self.log_prob(batch, one_N1, constant_normaliser=constant_normaliser)[:, 0]
        softmax = self._softmax(batch)
        if softmax[0].requires_grad and not constant_normaliser:
            return log_prob(*softmax, items_NK, self.logits_dtype, excluded=batch.excluded)
        return self.logits(batch, items_NK) - self.log_normaliser(batch)[:, None]

    def weighted_nll(self, batch: Batch, weight_N: Tensor) -> Tensor:
        """-weight log pi of the logged actions, [N], in one pass over the catalogue.

        weight_N: constants; no gradient flows into them.
        """
        return weighted_nll(
            *(*self._softmax(batch), batch.action_N, weight_N, self.logits_dtype),
            excluded=batch.excluded,
        )

    def loss_of_log_prob(
        self, batch: Batch, items_NK: Tensor, loss_of: LossOfLogProb, *extra_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The fused form of loss_of(self.log_prob(batch, items_NK), *extra_N).

        loss_of: (log_prob_CK, *extra_C) -> loss_C; each loss depends on its own position only.
        extra_N: constants, one row per position.

        Returns: loss_N, and log pi of the items, [N, K], without a gradient.
        """
        hidden_ND, item_embedding_VD = self._softmax(batch)
        how: Any = {"logits_dtype": self.logits_dtype, "excluded": batch.excluded}
        return loss_of_log_prob(hidden_ND, item_embedding_VD, items_NK, loss_of, *extra_N, **how)

    def sample(self, batch: Batch, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` independent draws per position and log pi of each, [N, count]."""
        return ops.sample_items(
            *self._softmax(batch), count, generator, self.logits_dtype, excluded=batch.excluded
        )

    def sample_with_value(
        self, batch: Batch, count: int, generator: torch.Generator, reward: RewardModel
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The fused form of `sample` and `expected_reward`: items and log pi [N, count], and [N].

        The expectation is over all eligible items, and rounds as `logits_dtype` does.
        """
        return ops.sample_and_expect(
            *(*self._softmax(batch), count, generator, *reward.factors(batch), self.logits_dtype),
            excluded=batch.excluded,
        )

    def scores(
        self, histories: Sequences, times_N: Tensor | None = None, users_N: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What a ranker is asked for (ranker.py), without dropout and gradients."""
        self.eval()
        return self.last_hidden_states(histories, times_N), self.item_embedding_VD.detach()

    @torch.inference_mode()
    def last_hidden_states(
        self, histories: Sequences, next_times_N: Tensor | None = None, rows: int = 32
    ) -> Tensor:
        """The hidden state after each whole history, [N, D]: after its latest `max_length` events.

        next_times_N: as for `history_batches`; not every backbone reads it.
        rows: histories at a time.
        """
        item_embedding_VD = self.item_embedding_VD
        hidden_ND = item_embedding_VD.new_empty(len(histories), item_embedding_VD.shape[1])
        for index_B, history, length_B in history_batches(
            histories, self.max_length, rows, next_times_N
        ):
            hidden_ND[index_B] = last_hidden_states(
                self.backbone, history.to(item_embedding_VD), length_B.to(item_embedding_VD.device)
            )
        return hidden_ND


def new_policy(backbone: BackboneConfig, num_items: int, seed: int) -> Policy:
    """A freshly initialised policy; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "policy weights"))
        policy = Policy(backbone.build(num_items))
    policy.backbone.config = backbone  # type: ignore[assignment]  # whoever saves it reads it
    return policy
