"""The value of a ranker by a judge, on logged data: one row per target.

Column, in reward units, NaN where a user has seen everything:

    reward/judge-rollout@5  discounted mean of the judge's predictions for 5 greedy steps, discount
                            .9; each item shown joins the history with its prediction (rollout.py)

The judge, a reward model, stands for the user, and can be wrong as any reward model can. It was
trained on users that neither the policy nor its reward model saw, and its quality has a table of
its own.
"""

import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain.evaluation.rollout import (
    STEPS,
    RewardOf,
    discounted_mean,
    first_of,
    rollout,
)
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.models.reward_model import RewardModel, score_next
from recsys_posttrain.ops.softmax import chosen_logits
from recsys_posttrain.types import Sequences, Targets


def judged_value(ranker: Ranker, judge: RewardModel, targets: Targets) -> pd.DataFrame:
    """The judged value of a ranker, one row per target."""
    reward_NS = rollout(first_of(ranker, targets), _reward_of(judge, targets), targets)
    return pd.DataFrame({f"reward/judge-rollout@{STEPS}": discounted_mean(reward_NS).numpy()})


def _reward_of(judge: RewardModel, targets: Targets) -> RewardOf:
    def reward_of(histories: Sequences, items_N: Tensor, times_N: Tensor) -> Tensor:
        if not judge.sums_exactly:
            shown_N1 = items_N.clamp(min=1)[:, None]
            reward_N = score_next(judge, histories, shown_N1, times_N, targets.users_N)[:, 0]
            return reward_N.masked_fill(items_N == 0, torch.nan)
        # Only the first histories are those of every policy; the others would drive them out of
        # the judge's memory.
        factors = judge.last_factors if histories is targets.history else judge.next_factors
        state_NR, factor_VR = factors(histories, times_N, targets.users_N)
        reward_N = chosen_logits(state_NR, factor_VR, items_N.clamp(min=1)[:, None])[:, 0]
        return reward_N.masked_fill(items_N == 0, torch.nan)

    return reward_of
