"""A policy: a backbone and the softmax over the catalogue that its item embedding defines."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from recsys_posttrain import ops
from recsys_posttrain.data.batching import history_batches
from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.models.backbone import BackboneConfig, last_hidden_states
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.ops.log_prob import LossOfLogProb, log_prob, loss_of_log_prob
from recsys_posttrain.ops.logsumexp import graph_logsumexp, linear_logsumexp, weighted_nll
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


class Softmax(NamedTuple):
    """A policy's softmax at N positions, over the catalogue or over what stands for it.

    Letters: M places, which are the items 1..V or those of a CatalogueSample; E columns.
    """

    hidden_NE: Tensor
    vectors_ME: Tensor
    excluded: Excluded | None  # places that do not count
    action_N: Tensor  # the place of the logged item, 1..M


class Policy(nn.Module):
    """The policy pi(item | history) = softmax over items of hidden state . item embedding.

    It is a softmax over the items that are eligible at each position (`Batch.excluded`). Where the
    batch has a sample of a large catalogue, sums over items are estimated from that; items are
    1..V all the same.

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
    def _weight_V1D(self) -> Tensor:
        """The item embedding with its padding row."""
        embedding: nn.Embedding = self.backbone.item_embedding  # type: ignore[assignment]
        return embedding.weight

    @property
    def item_embedding_VD(self) -> Tensor:
        """The output vectors of items 1..V: the item embedding without its padding row."""
        return self._weight_V1D[1:]

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

    def softmax(self, batch: Batch, hidden_ND: Tensor | None = None) -> Softmax:
        """What sums over the catalogue take. hidden_ND: None: `hidden_states`."""
        hidden_ND = self.hidden_states(batch) if hidden_ND is None else hidden_ND
        sample = batch.catalogue_sample
        if sample is None:
            return Softmax(hidden_ND, self.item_embedding_VD, batch.excluded, batch.action_N)
        vectors_ME, hidden_NE = sample.vectors(self._weight_V1D), sample.states(hidden_ND)
        return Softmax(hidden_NE, vectors_ME, sample.excluded, sample.action_N)

    def logits(self, batch: Batch, items_NK: Tensor) -> Tensor:
        """The logits of given items, [N, K], with a gradient: log pi up to a constant of each n."""
        hidden_ND = self.hidden_states(batch)
        if batch.catalogue_sample is None:
            return ops.chosen_logits(hidden_ND, self.item_embedding_VD, items_NK)
        # The leaf with its padding row, whose gradient can be sparse; `chosen_logits` subtracts 1.
        weight = self._weight_V1D
        return ops.chosen_logits(hidden_ND, weight, items_NK + 1, sparse=weight.is_leaf)

    @torch.no_grad()
    def log_normaliser(self, batch: Batch) -> Tensor:
        """The log-normaliser log sum_v exp(logit_v), [N], without a gradient."""
        hidden_NE, vectors_ME, excluded, _ = self.softmax(batch)
        return linear_logsumexp(hidden_NE, vectors_ME, self.logits_dtype, excluded=excluded)

    def expected_reward(self, batch: Batch, reward: RewardModel) -> Tensor:
        """The expected reward E_{a ~ pi}[r_hat(x, a)] over the eligible items, [N]."""
        hidden_NE, vectors_ME, excluded, _ = self.softmax(batch)
        factors = reward.place_factors(batch)
        return ops.expected_score(hidden_NE, vectors_ME, *factors, excluded=excluded)

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
        if not self.hidden_states(batch).requires_grad or constant_normaliser:
            return self.logits(batch, items_NK) - self.log_normaliser(batch)[:, None]
        hidden_NE, vectors_ME, excluded, _ = self.softmax(batch)
        how: Any = {"logits_dtype": self.logits_dtype, "excluded": excluded}
        if batch.catalogue_sample is None:
            return log_prob(hidden_NE, vectors_ME, items_NK, **how)
        return self.logits(batch, items_NK) - graph_logsumexp(hidden_NE, vectors_ME, **how)[:, None]

    def weighted_nll(
        self, batch: Batch, weight_N: Tensor, hidden_ND: Tensor | None = None
    ) -> Tensor:
        """-weight log pi of the logged actions, [N], in one pass over the catalogue.

        weight_N: constants; no gradient flows into them. hidden_ND: None: `hidden_states`.
        """
        hidden_NE, vectors_ME, excluded, action_N = self.softmax(batch, hidden_ND)
        given = hidden_NE, vectors_ME, action_N, weight_N, self.logits_dtype
        return weighted_nll(*given, excluded=excluded)

    def loss_of_log_prob(
        self, batch: Batch, items_NK: Tensor, loss_of: LossOfLogProb, *extra_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The fused form of loss_of(self.log_prob(batch, items_NK), *extra_N).

        loss_of: (log_prob_CK, *extra_C) -> loss_C; each loss depends on its own position only.
        extra_N: constants, one row per position.

        Returns: loss_N, and log pi of the items, [N, K], without a gradient.
        """
        if batch.catalogue_sample is not None:
            log_prob_NK = self.log_prob(batch, items_NK)
            constants_N = (each.detach() for each in extra_N)
            return loss_of(log_prob_NK, *constants_N), log_prob_NK.detach()
        hidden_ND, item_embedding_VD, excluded, _ = self.softmax(batch)
        how: Any = {"logits_dtype": self.logits_dtype, "excluded": excluded}
        return loss_of_log_prob(hidden_ND, item_embedding_VD, items_NK, loss_of, *extra_N, **how)

    def sample(self, batch: Batch, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` independent draws per position and log pi of each, [N, count]."""
        hidden_NE, vectors_ME, excluded, _ = self.softmax(batch)
        drawn = ops.sample_items(
            hidden_NE, vectors_ME, count, generator, self.logits_dtype, excluded=excluded
        )
        return _items(batch, *drawn)

    def sample_with_value(
        self, batch: Batch, count: int, generator: torch.Generator, reward: RewardModel
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The fused form of `sample` and `expected_reward`: items and log pi [N, count], and [N].

        The expectation is over all eligible items, and rounds as `logits_dtype` does.
        """
        hidden_NE, vectors_ME, excluded, _ = self.softmax(batch)
        factors = reward.place_factors(batch)
        places_NK, log_prob_NK, expected_N = ops.sample_and_expect(
            *(hidden_NE, vectors_ME, count, generator, *factors, self.logits_dtype),
            excluded=excluded,
        )
        return *_items(batch, places_NK, log_prob_NK), expected_N

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

        next_times_N: as for `history_batches`; some backbones read it. rows: histories at a time.
        """
        dtype = torch.promote_types(self.item_embedding_VD.dtype, torch.float32)
        shape = len(histories), self.item_embedding_VD.shape[1]
        hidden_ND = self.item_embedding_VD.new_empty(shape, dtype=dtype)
        for index_B, history, length_B in history_batches(
            histories, self.max_length, rows, next_times_N
        ):
            hidden_ND[index_B] = last_hidden_states(
                self.backbone, history.to(hidden_ND), length_B.to(hidden_ND.device)
            )
        return hidden_ND


def _items(batch: Batch, places_NK: Tensor, log_prob_NK: Tensor) -> tuple[Tensor, Tensor]:
    """The items at these places, and log pi of an item: that of its place holds its weight too."""
    if batch.catalogue_sample is None:
        return places_NK, log_prob_NK
    items_M, log_weight_M, _ = batch.catalogue_sample
    return items_M[places_NK - 1], log_prob_NK - log_weight_M[places_NK - 1]


def new_policy(backbone: BackboneConfig, num_items: int, seed: int) -> Policy:
    """A freshly initialised policy; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "policy weights"))
        policy = Policy(backbone.build(num_items))
    policy.backbone.config = backbone  # type: ignore[assignment]  # whoever saves it reads it
    return policy
