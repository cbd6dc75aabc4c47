"""Greedy interaction: show an item, take its reward, ask again."""

from collections.abc import Callable

import torch
from torch import Tensor

from recsys_posttrain.data.repeats import removed_items
from recsys_posttrain.evaluation.ranking import top_items
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.types import Sequences, Targets

SECONDS_PER_STEP = 60
STEPS = 5
DISCOUNT = 0.9

# (histories, times_N) -> the item shown to each, [N]; 0 where no item is left.
Show = Callable[[Sequences, Tensor], Tensor]
# (histories, items_N, times_N) -> the reward of the item shown, [N]; NaN for item 0.
RewardOf = Callable[[Sequences, Tensor, Tensor], Tensor]


@torch.inference_mode()
def rollout(show: Show, reward_of: RewardOf, targets: Targets, steps: int = STEPS) -> Tensor:
    """The reward of the item shown at each step, [N, steps]; NaN once no item is left.

    At each step the item shown joins the history with its reward. Step s happens s x 60 seconds
    after the time of the target.
    """
    histories, reward_NS = targets.history, []
    for step in range(steps):
        time_N = targets.times_N + step * SECONDS_PER_STEP
        items_N = show(histories, time_N)
        reward_NS.append(reward_of(histories, items_N, time_N))
        histories = appended(histories, items_N, reward_NS[-1], time_N)
    return torch.stack(reward_NS, dim=1)


def first_of(ranker: Ranker, targets: Targets) -> Show:
    """The item that the ranker puts first, of those that may be shown."""

    def show(histories: Sequences, times_N: Tensor) -> Tensor:
        scores = ranker.scores(histories, times_N, targets.users_N)
        mask = targets.never_shown_M, targets.windows, times_N, targets.regions_N
        removed = removed_items(histories, targets.repeats, *mask)
        return top_items(*scores, 1, removed)[0][:, 0]

    return show


def discounted_mean(reward_NS: Tensor, discount: float = DISCOUNT) -> Tensor:
    """sum over steps s of discount^s r_s / sum of discount^s, over the steps that are not NaN."""
    weight_S = discount ** torch.arange(reward_NS.shape[1], dtype=torch.float64)
    weight_NS = weight_S * ~reward_NS.isnan()
    return (weight_S * reward_NS.double()).nansum(dim=1) / weight_NS.sum(dim=1)


def appended(
    histories: Sequences, items_N: Tensor, rewards_N: Tensor, times_N: Tensor
) -> Sequences:
    """Each history with one more event; item 0 adds none."""
    grows_N = items_N > 0
    length_N = histories.lengths_N + grows_N
    offsets_N1 = torch.cat([length_N.new_zeros(1), length_N.cumsum(dim=0)])
    is_new_E = torch.zeros(int(offsets_N1[-1]), dtype=torch.bool)
    is_new_E[offsets_N1[1:][grows_N] - 1] = True

    def merged(old_E: Tensor, new_N: Tensor) -> Tensor:
        merged_E = old_E.new_empty(len(is_new_E))
        merged_E[~is_new_E], merged_E[is_new_E] = old_E, new_N[grows_N].to(old_E)
        return merged_E

    return Sequences(
        merged(histories.items_E, items_N),
        merged(histories.rewards_E, rewards_N),
        merged(histories.timestamps_E, times_N),
        offsets_N1,
    )
