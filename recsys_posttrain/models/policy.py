"""A policy: a backbone and the softmax over the catalogue that its item embedding defines."""

import numpy as np
import torch
from torch import Tensor, nn

from recsys_posttrain import ops
from recsys_posttrain.data.batching import history_batches
from recsys_posttrain.models.backbone import BackboneConfig, last_states
from recsys_posttrain.ops.log_prob import LossOfLogProb, log_prob, loss_of_log_prob
from recsys_posttrain.ops.logsumexp import linear_logsumexp, weighted_nll
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Batch, History, Sequences

# Rows of one block share one padded length. Batches arrive sorted by length (data/batching.py),
# so small blocks carry almost no padding; very small ones waste the cores.
ROWS_PER_BLOCK = 16


def packed_states(backbone: nn.Module, batch: Batch) -> Tensor:
    """Hidden states of the real positions only, [N, D], in the order of `ops.pack`."""
    history = batch.history
    return torch.cat(
        [
            ops.pack(
                backbone(History(*(field_BT[rows, :longest] for field_BT in history))),
                batch.mask_BT[rows, :longest],
            )
            for rows, longest in _blocks(batch.mask_BT.sum(dim=1).tolist())
        ]
    )


def _blocks(lengths: list[int]) -> list[tuple[slice, int]]:
    """Consecutive rows and the length that the longest of them needs."""
    starts = range(0, len(lengths), ROWS_PER_BLOCK)
    return [
        (slice(start, start + ROWS_PER_BLOCK), max(lengths[start : start + ROWS_PER_BLOCK]))
        for start in starts
    ]


class Policy(nn.Module):
    """pi(item | history) with the states of the current batch remembered.

    Several parts of a loss ask for the same states; they are computed once per batch, until
    `forget` is called (the training module does so after every step).

    products: dtype of the products with the catalogue in gradients (see logsumexp.py); None is
    that of the weights. item_ids: item_ids[v - 1] is the dataset's id of item v; None: unknown,
    because the policy was built by hand.
    """

    products: torch.dtype | None = None

    def __init__(self, backbone: nn.Module, item_ids: np.ndarray | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.item_ids = item_ids
        self._remembered: tuple[Batch, bool, Tensor] | None = None

    @property
    def table_VD(self) -> Tensor:
        """Output vectors of items 1..V: the item embedding without its padding row."""
        embedding: nn.Embedding = self.backbone.item_embedding  # type: ignore[assignment]
        return embedding.weight[1:]

    @property
    def max_length(self) -> int:
        return int(self.backbone.max_length)  # type: ignore[arg-type]

    def forget(self) -> None:
        self._remembered = None

    def remember(self, batch: Batch, states_ND: Tensor) -> None:
        """What `states` returns for this batch until `forget`; without a graph."""
        self._remembered = (batch, False, states_ND)

    def states(self, batch: Batch) -> Tensor:
        """[N, D] at the real positions."""
        # States remembered without a graph must not serve a caller who needs the gradient.
        graph = torch.is_grad_enabled()
        known = self._remembered
        if known is None or known[0] is not batch or known[1] < graph:
            known = (batch, graph, packed_states(self.backbone, batch))
            self._remembered = known
        return known[2]

    @torch.no_grad()
    def log_normaliser(self, batch: Batch) -> Tensor:
        """log sum_v exp(logit_v), [N] at the real positions, without a gradient."""
        return linear_logsumexp(self.states(batch), self.table_VD, self.products)

    def log_prob(
        self,
        batch: Batch,
        items_BTK: Tensor | None = None,
        *,
        constant_normaliser: bool = False,
    ) -> Tensor:
        """log pi of the logged actions, [B, T], or of given candidates, [B, T, K]; 0 at padding.

        constant_normaliser: leave its gradient out, for a loss that only compares items of one
        position: their difference does not depend on it.
        """
        chosen_BTK = batch.actions_BT[..., None] if items_BTK is None else items_BTK
        items_NK = ops.pack(chosen_BTK, batch.mask_BT)
        states_ND = self.states(batch)
        if states_ND.requires_grad and not constant_normaliser:
            log_prob_NK = log_prob(states_ND, self.table_VD, items_NK, self.products)
        else:
            logit_NK = ops.chosen_logits(states_ND, self.table_VD, items_NK)
            log_prob_NK = logit_NK - self.log_normaliser(batch)[:, None]
        log_prob_BTK = ops.unpack(log_prob_NK, batch.mask_BT)
        return log_prob_BTK.squeeze(-1) if items_BTK is None else log_prob_BTK

    def weighted_nll(self, batch: Batch, weight_BT: Tensor) -> Tensor:
        """-weight log pi of the logged actions, [B, T], in one pass; 0 at padding.

        The weight is a constant, whatever it was computed from.
        """
        loss_N = weighted_nll(
            self.states(batch),
            self.table_VD,
            ops.pack(batch.actions_BT, batch.mask_BT),
            ops.pack(weight_BT, batch.mask_BT),
            self.products,
        )
        return ops.unpack(loss_N, batch.mask_BT)

    def loss_of_log_prob(
        self, batch: Batch, items_BTK: Tensor, loss_of: LossOfLogProb, *extra_BTK: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(loss [B, T], log pi of the items without a gradient [B, T, K]); 0 at padding.

        loss_of(log_prob_NK, *extra_NK) -> loss_N, from nothing but the values of one position; the
        fused form of applying it to `log_prob`.
        """
        made_N = loss_of_log_prob(
            self.states(batch),
            self.table_VD,
            ops.pack(items_BTK, batch.mask_BT),
            loss_of,
            *(ops.pack(each_BTK, batch.mask_BT) for each_BTK in extra_BTK),
            products=self.products,
        )
        loss_BT, log_prob_BTK = (ops.unpack(each_N, batch.mask_BT) for each_N in made_N)
        return loss_BT, log_prob_BTK

    def sample(self, batch: Batch, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` independent items per position and log pi of each, [B, T, K]; 0 at padding."""
        drawn_NK = ops.sample_items(
            self.states(batch), self.table_VD, count, generator, self.products
        )
        items_BTK, log_prob_BTK = (ops.unpack(each_NK, batch.mask_BT) for each_NK in drawn_NK)
        return items_BTK, log_prob_BTK

    @torch.inference_mode()
    def last_states(
        self, histories: Sequences, next_times_N: Tensor | None = None, rows: int = 32
    ) -> Tensor:
        """The state after each whole history (its latest `max_length` events), [N, D].

        next_times_N: as for `history_batches`; read only by a backbone that asks for it.
        """
        table_VD = self.table_VD
        states_ND = table_VD.new_empty(len(histories), table_VD.shape[1])
        for index_B, history, length_B in history_batches(
            histories, self.max_length, rows, next_times_N
        ):
            states_ND[index_B] = last_states(
                self.backbone, history.to(table_VD), length_B.to(table_VD.device)
            )
        return states_ND


def new_policy(backbone: BackboneConfig, num_items: int, seed: int) -> Policy:
    """A freshly initialised policy; the caller's global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "policy weights"))
        return Policy(backbone.build(num_items))
