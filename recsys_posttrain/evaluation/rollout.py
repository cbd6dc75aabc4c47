"""Greedy interaction with a world: show an item, take its true reward, ask the policy again."""

import torch
from torch import Tensor

from recsys_posttrain.evaluation.ranking import top_items
from recsys_posttrain.policy import Policy
from recsys_posttrain.types import Sequences, Targets
from recsys_posttrain.worlds.base import Truth

SECONDS_PER_STEP = 60


@torch.inference_mode()
def rollout(policy: Policy, truth: Truth, targets: Targets, steps: int) -> Tensor:
    """r* of the item shown at each step, [N, steps]; NaN once a user has seen everything.

    At each step the policy's first unseen item is shown and joins the history with its true
    reward. Step s happens s x 60 seconds after the time of the target.
    """
    policy.eval()
    histories, reward_NS = targets.history, []
    for step in range(steps):
        time_N = targets.times_N + step * SECONDS_PER_STEP
        states_ND = policy.last_states(histories, time_N)
        items_N1, _ = top_items(
            states_ND, policy.table_VD, 1, histories.items_E, histories.offsets_N1
        )
        reward_NS.append(truth.rewards_of(targets.users_N, items_N1)[:, 0])
        histories = appended(histories, items_N1[:, 0], reward_NS[-1], time_N)
    return torch.stack(reward_NS, dim=1)


def discounted_mean(reward_NS: Tensor, discount: float) -> Tensor:
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
