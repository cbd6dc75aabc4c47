"""A learned reward model: an ensemble of M small members on one encoder of the history.

    r_hat_m(x, v) = mu + b_mv + u_m(x) + c_m(x) + s_m(x) . f_mv

mu: the training mean. b_mv, f_mv: bias and factor of the item. c_m, s_m: linear in the encoder's
hidden state, which reads past items and their rewards, strictly before the action. u_m: the user's
damped mean deviation, sum over past events of (r - mu - b_mv) / (events + damping).

b starts as the item's damped mean deviation and c and s near 0, so training starts at the user +
item bias, a strong naive baseline, and corrects it; f starts at its full size, so that s learns at
once. Members differ by their initial weights and by
a Poisson(1) bootstrap over users, so their spread grows where there are few data.
"""

import torch
from torch import Tensor, nn

from recsys_posttrain.models.policy import packed_hidden_states
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.types import Batch, LossOutput, Sequences

# Added to the number of events in a damped mean, as if so many had deviation 0; ours, in the middle
# of the values that the naive baselines choose from (baselines.DAMPINGS).
ITEM_DAMPING = 5.0
USER_DAMPING = 5.0


class EnsembleModule(RewardModel):
    """The network of a RewardEnsemble; the formula is at the top of this file."""

    mean_reward: Tensor

    def __init__(
        self, encoder: SASRec, members: int, rank: int, num_items: int, mean_reward: float
    ) -> None:
        super().__init__()
        self.members = members
        self.max_length = encoder.max_length
        self.encoder = encoder.build(num_items)
        self.state_projection = nn.Linear(encoder.dim, members * (rank + 1))
        self.item_factor = nn.Parameter(torch.randn(members, num_items, rank) * rank**-0.5)
        self.item_bias = nn.Parameter(torch.zeros(members, num_items))
        self.register_buffer("mean_reward", torch.tensor(mean_reward))
        with torch.no_grad():
            self.state_projection.weight.mul_(0.1)
            self.state_projection.bias.zero_()

    @torch.no_grad()
    def start_from_item_means(self, sequences: Sequences, weight_MS: Tensor) -> None:
        """Sets b_mv = sum of (r - mu) / (n + damping) over the n events of item v.

        weight_MS: how often member m's bootstrap has sequence s.
        """
        sequence_E = torch.repeat_interleave(sequences.lengths_N)
        deviation_E = sequences.rewards_E - self.mean_reward
        for bias_V, weight_S in zip(self.item_bias, weight_MS, strict=True):
            weight_E = weight_S[sequence_E].double()
            item_E, items = sequences.items_E - 1, len(bias_V)
            count_V = torch.bincount(item_E, weight_E, minlength=items)
            total_V = torch.bincount(item_E, weight_E * deviation_E, minlength=items)
            bias_V.copy_(total_V / (count_V + ITEM_DAMPING))

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The formula as one product: r_hat = [s, u + c, 1] . [f, 1, mu + b]."""
        hidden_ND = packed_hidden_states(self.encoder, batch)
        projected_NMR = self.state_projection(hidden_ND).unflatten(1, (self.members, -1))
        projected_MNR = projected_NMR.transpose(0, 1)
        state_MNR, correction_MN1 = projected_MNR[..., :-1], projected_MNR[..., -1:]
        user_MN1 = correction_MN1 + self._user_bias(batch)[..., None]
        one_MN1 = projected_MNR.new_ones(*projected_MNR.shape[:2], 1)
        one_MV1 = self.item_bias.new_ones(*self.item_bias.shape, 1)
        bias_MV1 = (self.mean_reward + self.item_bias)[..., None]
        return (
            torch.cat([state_MNR, user_MN1, one_MN1], dim=2),
            torch.cat([self.item_factor, one_MV1, bias_MV1], dim=2),
        )

    def _user_bias(self, batch: Batch) -> Tensor:
        """u_m at each position, [M, N]."""
        bias_MBT = _rows(self.item_bias[..., None], (batch.history_BT - 1).clamp(min=0))[..., 0]
        deviation_MBT = batch.history_rewards_BT - self.mean_reward - bias_MBT
        count_T = torch.arange(1, batch.history_BT.shape[1] + 1, device=deviation_MBT.device)
        mean_MBT = deviation_MBT.cumsum(dim=2) / (count_T + USER_DAMPING)
        return mean_MBT[:, batch.mask_BT]

    def logged_scores(self, batch: Batch) -> Tensor:
        """Each member's prediction for the logged actions, [M, N]."""
        state_MNR, factor_MVR = self.member_factors(batch)
        return (state_MNR * _rows(factor_MVR, batch.action_N - 1)).sum(dim=2)

    def loss(self, batch: Batch, weight_MS: Tensor) -> LossOutput:
        """Squared error of each member on its bootstrap, averaged over members, [N].

        weight_MS: how often member m's bootstrap has sequence s, for all S training sequences.
        """
        error_MN = (self.logged_scores(batch) - batch.reward_N).square()
        loss_N = (error_MN * weight_MS[:, batch.user_N]).mean(dim=0)
        return LossOutput(loss_N, {"rmse": error_MN.mean().detach().sqrt()})


def _rows(values_MVR: Tensor, index: Tensor) -> Tensor:
    """The same as values_MVR[:, index], [M, *index, R], with a reproducible gradient.

    The gradient of indexing is summed in the order in which threads arrive, so the same seed would
    not give the same bytes; that of an embedding is not.
    """
    members, items, rank = values_MVR.shape
    table_VX = values_MVR.transpose(0, 1).reshape(items, members * rank)
    rows = nn.functional.embedding(index, table_VX).view(*index.shape, members, rank)
    return rows.movedim(-2, 0)


def bootstrap_weights(members: int, sequences: int, seed: int) -> Tensor:
    """How often each member's bootstrap has each sequence, [M, S]: independent Poisson(1).

    A single member gets every sequence once: an ensemble of one is plain training.
    """
    if members == 1:
        return torch.ones(1, sequences)
    generator = torch.Generator().manual_seed(seed)
    return torch.poisson(torch.ones(members, sequences), generator=generator)
