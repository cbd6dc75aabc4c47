"""The input that backbones share: an item, its position and, where asked for, its logged reward."""

import torch
from torch import Tensor, nn

from recsys_posttrain.models.dropout import Dropout
from recsys_posttrain.types import History


class EventEmbedding(nn.Module):
    """A backbone derives from it: x = dropout(item + position + f(reward)), f a small network.

    Positions count from a user's first visible event, so that a state never depends on how many
    events follow.
    """

    def __init__(
        self, num_items: int, dim: int, max_length: int, history_rewards: bool, dropout: float
    ) -> None:
        super().__init__()
        self.dim = dim
        self.max_length = max_length
        self.item_embedding = nn.Embedding(num_items + 1, dim, padding_idx=0)
        self.position_embedding = nn.Embedding(max_length, dim)
        self.reward_embedding = (
            nn.Sequential(nn.Linear(1, dim), nn.GELU(), nn.Linear(dim, dim))
            if history_rewards
            else None
        )
        self.dropout = Dropout(dropout)

    @torch.no_grad()
    def start_small(self) -> None:
        """Dot products of unit-scale states with these rows start near 0: a nearly uniform policy.

        Called last by a backbone, so that the order of its random draws is that of its layers.
        """
        for embedding in (self.item_embedding, self.position_embedding):
            nn.init.normal_(embedding.weight, std=self.dim**-0.5 / 2)
        self.item_embedding.weight[0].zero_()

    def embedded(self, history: History) -> Tensor:
        """[B, T, D]"""
        positions_T = torch.arange(history.items_BT.shape[1], device=history.items_BT.device)
        x_BTD = self.item_embedding(history.items_BT) + self.position_embedding(positions_T)
        if self.reward_embedding is not None:
            x_BTD = x_BTD + self.reward_embedding(history.rewards_BT[..., None])
        embedded_BTD: Tensor = self.dropout(x_BTD)
        return embedded_BTD
