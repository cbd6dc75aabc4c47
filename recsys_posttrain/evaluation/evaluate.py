"""A policy against held-out targets: one row per target, from one pass over the histories."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.evaluation.metrics import LIST_LENGTH, per_user_frame
from recsys_posttrain.evaluation.ranking import target_ranks, top_items
from recsys_posttrain.policy import Policy
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.rewards.base import RewardModel, score_next
from recsys_posttrain.types import Split, Targets


@dataclass(frozen=True, eq=False)
class Evaluation:
    """per_user: columns as `metrics.per_user_frame` describes, rewards in the log's own unit.
    num_items: V, for coverage. reward_scale: of the data."""

    per_user: pd.DataFrame
    num_items: int
    reward_scale: RewardScale

    def mean(self, metric: str = "ndcg@10") -> float:
        return float(self.per_user[metric].mean())


def evaluate(
    policy: Policy,
    data: Split,
    reward: RewardModel | None = None,
    reference: Policy | None = None,
    *,
    targets: Targets | None = None,
    judge: RewardModel | None = None,
) -> Evaluation:
    """Full ranking of every test target (or of other `targets`), seen items removed.

    reward: adds `reward/proxy@10`, its mean prediction for the ten items shown. judge: adds
    `reward/judge@10`, the same by a model that no training has seen. reference: adds `kl`, the
    exact KL(policy || reference) at each target's history, in nats.
    """
    targets = data.test if targets is None else targets
    policy.eval()
    states_ND = policy.last_states(targets.history, targets.times_N)
    table_VD = policy.table_VD.detach()
    frame = _frame(states_ND, table_VD, data, targets, reward, judge)
    if reference is not None:
        reference.eval()
        reference_ND = reference.last_states(targets.history, targets.times_N)
        kl_N2 = ops.kl_and_entropy(states_ND, table_VD, reference_ND, reference.table_VD)
        frame["kl"], frame["entropy"] = kl_N2.double().cpu().numpy().T
    return Evaluation(frame, data.corpus.num_items, data.corpus.reward_scale)


def evaluate_popularity(
    data: Split,
    reward: RewardModel | None = None,
    *,
    targets: Targets | None = None,
    judge: RewardModel | None = None,
) -> Evaluation:
    """The same rows for the ranking by number of events."""
    count_V = event_counts(data, targets)
    targets = data.test if targets is None else targets
    states_N1 = torch.ones(len(targets.items_N), 1)
    frame = _frame(states_N1, count_V.float()[:, None], data, targets, reward, judge)
    return Evaluation(frame, data.corpus.num_items, data.corpus.reward_scale)


def event_counts(data: Split, targets: Targets | None = None) -> Tensor:
    """How often each item was chosen before the targets, [V].

    Test targets (None): in training and validation events, which are in their histories too.
    """
    known_E = data.train.items_E
    if targets is None:
        known_E = torch.cat([known_E, data.validation.items_N])
    return torch.bincount(known_E - 1, minlength=data.corpus.num_items)


def _frame(
    states_ND: Tensor,
    table_VD: Tensor,
    data: Split,
    targets: Targets,
    reward: RewardModel | None,
    judge: RewardModel | None,
) -> pd.DataFrame:
    seen = (targets.history.items_E, targets.history.offsets_N1)
    rank_N = target_ranks(states_ND, table_VD, targets.items_N, *seen)
    list_length = min(LIST_LENGTH, len(table_VD))
    top_NK, _ = top_items(states_ND, table_VD, list_length, *seen)
    users_N, scale = targets.users_N.numpy(), data.corpus.reward_scale
    reward_E = scale.from_stars(data.train.rewards_E.double().numpy())
    total_reward_U = np.add.reduceat(
        np.append(reward_E, 0.0), data.train.offsets_N1[:-1].numpy()
    ) * (data.train.lengths_N.numpy() > 0)
    frame = per_user_frame(
        rank_N.numpy(),
        top_NK.numpy(),
        user_id=data.corpus.user_ids[users_N],
        item_id=data.corpus.item_ids[targets.items_N.numpy() - 1],
        reward_N=scale.from_stars(targets.rewards_N.double().numpy()),
        total_reward_N=total_reward_U[users_N],
        proxy_reward_N=None if reward is None else _shown_reward(reward, targets, top_NK, scale),
    )
    if judge is not None:
        frame[f"reward/judge@{LIST_LENGTH}"] = _shown_reward(judge, targets, top_NK, scale)
    return frame


def _shown_reward(
    model: RewardModel, targets: Targets, top_NK: Tensor, scale: RewardScale
) -> np.ndarray:
    """The model's mean prediction for the items shown, in the log's unit, [N]."""
    shown_NK = top_NK.clamp(min=1)
    score_NK = score_next(model, targets.history, shown_NK, targets.times_N, targets.users_N)
    mean_N = ops.masked_row_mean(score_NK, top_NK > 0).double().numpy()
    return np.asarray(scale.from_stars(mean_N))
