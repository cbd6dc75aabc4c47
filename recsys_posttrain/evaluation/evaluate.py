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
from recsys_posttrain.rewards.base import RewardModel, score_next
from recsys_posttrain.types import Split, Targets


@dataclass(frozen=True, eq=False)
class Evaluation:
    """per_user: columns as `metrics.per_user_frame` describes. num_items: V, for coverage."""

    per_user: pd.DataFrame
    num_items: int

    def mean(self, metric: str = "ndcg@10") -> float:
        return float(self.per_user[metric].mean())


def evaluate(
    policy: Policy,
    data: Split,
    reward: RewardModel | None = None,
    reference: Policy | None = None,
    *,
    targets: Targets | None = None,
) -> Evaluation:
    """Full ranking of every test target (or of other `targets`), seen items removed.

    reward: adds `reward/proxy@10`, its mean prediction for the ten items shown. reference: adds
    `kl`, the exact KL(policy || reference) at each target's history, in nats.
    """
    targets = data.test if targets is None else targets
    policy.eval()
    states_ND = policy.last_states(targets.history, targets.times_N)
    table_VD = policy.table_VD.detach()
    frame = _frame(states_ND, table_VD, data, targets, reward)
    if reference is not None:
        reference.eval()
        reference_ND = reference.last_states(targets.history, targets.times_N)
        kl_N2 = ops.kl_and_entropy(states_ND, table_VD, reference_ND, reference.table_VD)
        frame["kl"], frame["entropy"] = kl_N2.double().cpu().numpy().T
    return Evaluation(frame, data.corpus.num_items)


def evaluate_popularity(
    data: Split, reward: RewardModel | None = None, *, targets: Targets | None = None
) -> Evaluation:
    """The same rows for the ranking by number of events.

    Test targets are ranked by training and validation events, which are in their histories too.
    """
    known_E = data.train.items_E
    if targets is None:
        targets = data.test
        known_E = torch.cat([known_E, data.validation.items_N])
    count_V = torch.bincount(known_E - 1, minlength=data.corpus.num_items)
    states_N1 = torch.ones(len(targets.items_N), 1)
    frame = _frame(states_N1, count_V.float()[:, None], data, targets, reward)
    return Evaluation(frame, data.corpus.num_items)


def _frame(
    states_ND: Tensor,
    table_VD: Tensor,
    data: Split,
    targets: Targets,
    reward: RewardModel | None,
) -> pd.DataFrame:
    seen = (targets.history.items_E, targets.history.offsets_N1)
    rank_N = target_ranks(states_ND, table_VD, targets.items_N, *seen)
    list_length = min(LIST_LENGTH, len(table_VD))
    top_NK, _ = top_items(states_ND, table_VD, list_length, *seen)
    proxy_N = None
    if reward is not None:
        real_NK = top_NK > 0
        shown_NK = top_NK.clamp(min=1)
        score_NK = score_next(reward, targets.history, shown_NK, targets.times_N, targets.users_N)
        proxy_N = ops.masked_row_mean(score_NK, real_NK).double().numpy()
    users_N = targets.users_N.numpy()
    total_reward_U = np.add.reduceat(
        np.append(data.train.rewards_E.double().numpy(), 0.0), data.train.offsets_N1[:-1].numpy()
    ) * (data.train.lengths_N.numpy() > 0)
    return per_user_frame(
        rank_N.numpy(),
        top_NK.numpy(),
        user_id=data.corpus.user_ids[users_N],
        item_id=data.corpus.item_ids[targets.items_N.numpy() - 1],
        reward_N=targets.rewards_N.numpy(),
        total_reward_N=total_reward_U[users_N],
        proxy_reward_N=proxy_N,
    )
