"""The true value of a policy, exact, from the true rewards of a world: one row per target.

r* is the true reward and a target stands for its user and history. Only items that may be shown
count: where repeats are "never", those that the user has not seen, "unseen" below. Columns, all in
reward units, NaN where nothing may be shown:

    reward/gold            sum over unseen v of pi(v) r*(v) / sum over unseen v of pi(v): the
                           expected reward of one item drawn from the policy, seen items left out
    reward/gold@5, @10     mean r* of the 5 and 10 unseen items that the policy ranks first
    regret@5, @10          the same for the 5 and 10 best unseen items, minus reward/gold@5, @10
    reward/gold-rollout@5  discounted mean r* of 5 greedy steps, discount .9 (rollout.py)

A user with fewer unseen items has as many as there are.
"""

import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.data.encode import same_items
from recsys_posttrain.data.repeats import removed_items
from recsys_posttrain.evaluation.expectation import expected_unseen
from recsys_posttrain.evaluation.ranking import top_items
from recsys_posttrain.evaluation.rollout import STEPS, discounted_mean, first_of, rollout
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.types import Sequences, Targets
from recsys_posttrain.worlds.base import Truth

SLATES = (5, 10)


def true_value(policy: Policy, truth: Truth, targets: Targets) -> pd.DataFrame:
    """The columns of the module's text for a policy. truth: aligned to the targets' corpus.

    Raises: UserError where the policy numbers its items otherwise than that corpus.
    """
    require(
        policy.item_ids is None or same_items(policy.item_ids, truth.item_ids),
        "the policy numbers its items otherwise than the truth and the targets do: take both from "
        "encode(data, policy.item_ids).",
    )
    policy.eval()
    hidden_ND = policy.last_hidden_states(targets.history, targets.times_N)
    item_embedding_VD = policy.item_embedding_VD.detach()

    def true_reward(_: Sequences, items_N: Tensor, __: Tensor) -> Tensor:
        return truth.rewards_of(targets.users_N, items_N[:, None])[:, 0]

    return _frame(
        truth,
        targets,
        expected_reward(hidden_ND, item_embedding_VD, truth, targets),
        _slate_rewards(hidden_ND, item_embedding_VD, truth, targets),
        discounted_mean(rollout(first_of(policy, targets.repeats), true_reward, targets)),
    )


def true_value_of_popularity(count_V: Tensor, truth: Truth, targets: Targets) -> pd.DataFrame:
    """Of showing items in proportion to how often they were chosen.

    Items never chosen come last: their weight is next to nothing.
    """
    hidden_N1 = torch.ones(len(targets.items_N), 1)
    table_V1 = count_V.double().clamp(min=1e-9).log()[:, None]
    reward_NK = _slate_rewards(hidden_N1, table_V1, truth, targets)
    expected_N = expected_reward(hidden_N1, table_V1, truth, targets)
    return _frame(truth, targets, expected_N, reward_NK, discounted_mean(reward_NK[:, :STEPS]))


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


def _slate_rewards(
    hidden_ND: Tensor, item_embedding_VD: Tensor, truth: Truth, targets: Targets
) -> Tensor:
    """r* of the first unseen items in order, [N, K]; NaN where there are fewer."""
    items_NK, _ = top_items(
        hidden_ND,
        item_embedding_VD,
        min(max(SLATES), len(item_embedding_VD)),
        *removed_items(targets.history, targets.repeats),
    )
    return truth.rewards_of(targets.users_N, items_NK)


def _best_rewards(truth: Truth, targets: Targets) -> Tensor:
    """The highest unseen r*, best first, [N, K]: the truth ranked by itself."""
    return _slate_rewards(truth.state_UR[targets.users_N], truth.factor_VR, truth, targets)


def _frame(
    truth: Truth, targets: Targets, expected_N: Tensor, reward_NK: Tensor, rollout_N: Tensor
) -> pd.DataFrame:
    best_NK = _best_rewards(truth, targets).double()
    columns = {"reward/gold": expected_N.double()}
    for k in SLATES:
        columns[f"reward/gold@{k}"] = reward_NK[:, :k].double().nanmean(dim=1)
    for k in SLATES:
        columns[f"regret@{k}"] = best_NK[:, :k].nanmean(dim=1) - columns[f"reward/gold@{k}"]
    columns[f"reward/gold-rollout@{STEPS}"] = rollout_N.double()
    return pd.DataFrame({name: value_N.numpy() for name, value_N in columns.items()})
