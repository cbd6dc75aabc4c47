"""The input layer that backbones share: embeds an item, its position and its logged reward."""

import torch
from torch import Tensor, nn

from recsys_posttrain.models.dropout import Dropout
from recsys_posttrain.types import History

# From so many items on, the gradient of a look-up holds the rows that were looked up: a dense one
# per block of rows would be filled with zeros and added each time. training/module.py makes it
# dense once, for the optimiser.
SPARSE_FROM = 2**16


class EventEmbedding(nn.Module):
    """Base class of a backbone, with x = dropout(item + position + f(reward)), f a small network.

    Positions count from the first event in the window, so that a hidden state never depends on how
    many events follow.

    dim: D, width of the hidden states.
    max_length: the longest history that is read.
    history_rewards: whether the logged rewards of past events are read; without, f is 0.
    """

    def __init__(
        self, num_items: int, dim: int, max_length: int, history_rewards: bool, dropout: float
    ) -> None:
        super().__init__()
        self.dim = dim
        self.max_length = max_length
        is_sparse = num_items >= SPARSE_FROM
        self.item_embedding = nn.Embedding(num_items + 1, dim, padding_idx=0, sparse=is_sparse)
        self.position_embedding = nn.Embedding(max_length, dim)
        self.reward_embedding = (
            nn.Sequential(nn.Linear(1, dim), nn.GELU(), nn.Linear(dim, dim))
            if history_rewards
            else None
        )
        self.dropout = Dropout(dropout)

    @torch.no_grad()
    def start_small(self) -> None:
        """Small initial embeddings, whose logits are near 0: the policy starts nearly uniform.

        A backbone calls it last, so that its layers draw from the generator in their own order.
        """
        for embedding in (self.item_embedding, self.position_embedding):
            nn.init.normal_(embedding.weight, std=self.dim**-0.5 / 2)
        self.item_embedding.weight[0].zero_()

    def embedded(self, history: History) -> Tensor:
        """The embedded events, [B, T, D]."""
        positions_T = torch.arange(history.items_BT.shape[1], device=history.items_BT.device)
        x_BTD = self.item_embedding(history.items_BT) + self.position_embedding(positions_T)
        if self.reward_embedding is not None:
            x_BTD = x_BTD + self.reward_embedding(history.rewards_BT[..., None])
        embedded_BTD: Tensor = self.dropout(x_BTD)
        return embedded_BTD
