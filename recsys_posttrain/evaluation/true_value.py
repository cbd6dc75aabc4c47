"""The true value of a ranker, exact, from the true rewards of a world: one row per target.

r* is the true reward, pi the softmax of the ranker's logits, and a target stands for its user and
history. Only items that may be shown count: where repeats are "never", those that the user has not
seen, "unseen" below. Columns, all in reward units, NaN where nothing may be shown:

    reward/gold            sum over unseen v of pi(v) r*(v) / sum over unseen v of pi(v): the
                           expected reward of one item drawn from the policy, seen items left out
    reward/gold@5, @10     mean r* of the 5 and 10 unseen items that the policy ranks first
    regret@5, @10          the same for the 5 and 10 best unseen items, minus reward/gold@5, @10
    reward/gold-rollout@5  discounted mean r* of 5 greedy steps, discount .9 (rollout.py)

A user with fewer unseen items has as many as there are.
"""

from __future__ import annotations

import pandas as pd
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.data.encode import same_items
from recsys_posttrain.data.repeats import removed_for
from recsys_posttrain.evaluation.expectation import expected_unseen
from recsys_posttrain.evaluation.ranking import top_items
from recsys_posttrain.evaluation.rollout import STEPS, discounted_mean, first_of, rollout
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.types import Sequences, Targets
from recsys_posttrain.worlds.base import Truth

SLATES = (5, 10)


def true_value(ranker: Ranker, truth: Truth, targets: Targets) -> pd.DataFrame:
    """The columns of the module's text for a ranker. truth: aligned to the targets' corpus.

    Raises: UserError where the ranker numbers its items otherwise than that corpus.
    """
    require(
        ranker.item_ids is None or same_items(ranker.item_ids, truth.item_ids),
        "the policy numbers its items otherwise than the truth and the targets do: take both from "
        "encode(data, policy.item_ids).",
    )
    scores = ranker.scores(targets.history, targets.times_N, targets.users_N)

    def true_reward(_: Sequences, items_N: Tensor, __: Tensor) -> Tensor:
        return truth.rewards_of(targets.users_N, items_N[:, None])[:, 0]

    best_NK = _slate_rewards(truth.state_UR[targets.users_N], truth.factor_VR, truth, targets)
    reward_NK = _slate_rewards(*scores, truth, targets)
    columns = {"reward/gold": expected_reward(*scores, truth, targets)}
    for k in SLATES:
        columns[f"reward/gold@{k}"] = reward_NK[:, :k].nanmean(dim=1)
    for k in SLATES:
        columns[f"regret@{k}"] = best_NK[:, :k].nanmean(dim=1) - columns[f"reward/gold@{k}"]
    reward_NS = rollout(first_of(ranker, targets), true_reward, targets)
    columns[f"reward/gold-rollout@{STEPS}"] = discounted_mean(reward_NS)
    return pd.DataFrame({name: value_N.numpy() for name, value_N in columns.items()})


def expected_reward(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    truth: Truth,
    targets: Targets,
    chunk: int | None = None,
) -> Tensor:
    """E[r*] under softmax(state_n . table) over the unseen items of target n, [N], float64."""
    state_NR = truth.state_UR[targets.users_N]
    return expected_unseen(hidden_ND, item_embedding_VD, state_NR, truth.factor_VR, targets, chunk)


def _slate_rewards(state_NR: Tensor, factor_VR: Tensor, truth: Truth, targets: Targets) -> Tensor:
    """r* of the first unseen items in order, [N, K], float64; NaN where there are fewer."""
    k = min(max(SLATES), len(factor_VR))
    items_NK, _ = top_items(state_NR, factor_VR, k, removed_for(targets))
    return truth.rewards_of(targets.users_N, items_NK).double()
