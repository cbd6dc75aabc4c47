"""The judge, and the quality of reward models beside naive baselines.

The judge is a second reward model, trained on users that neither the policy nor its reward model
learns from. Its predictions do not rise where an algorithm exploits errors of its own reward model.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.data.split import latest_events
from recsys_posttrain.fitted import Fitted
from recsys_posttrain.models.reward_model import RewardConfig, RewardModel
from recsys_posttrain.rewards.baselines import BLOCK, NAIVE_BASELINES, judged_events
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.rewards.predictions import predict_logged
from recsys_posttrain.rewards.quality import InContext, quality_frame
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.training.reward import train_reward, user_parts
from recsys_posttrain.types import Split


def train_judge(
    data: Split,
    config: RewardConfig = RewardFactors(),
    seed: int = 0,
    folder: Path | None = None,
    device: str = "cpu",
) -> tuple[RewardModel, Fitted]:
    """The judge: `train_reward` on users of its own, with seeds of its own.

    Raises: UserError where the split keeps no users for a judge.
    """
    return train_reward(of_judge(data), config, derived_seed(seed, "judge"), folder, device)


def judge_quality(model: RewardModel, data: Split, config: RewardConfig, seed: int) -> pd.DataFrame:
    """The quality table of the judge that `train_judge` trained with this seed."""
    return reward_quality(model, of_judge(data), config, derived_seed(seed, "judge"))


def of_judge(data: Split) -> Split:
    """The same split, with the judge's users in place of those of the reward model.

    Raises: UserError where the split keeps no users for a judge.
    """
    require(
        data.judge is not None,
        f"the split of {data.corpus.name} keeps no users for a judge; use UserHoldout.",
    )
    assert data.judge is not None
    return replace(data, reward=data.judge)


def reward_quality(
    model: RewardModel, data: Split, config: RewardConfig, seed: int
) -> pd.DataFrame:
    """The quality table of the model and the naive baselines on the users that judge it.

    Their latest events are predicted, in the log's own unit; `quality_frame` has the columns.
    """
    parts = user_parts(data.reward, config.held_out, seed)
    length, num_items = model.max_length + 1, data.corpus.num_items
    fit_on = latest_events(data.reward, parts.fit_N, length)
    judged_on = latest_events(data.reward, parts.judged_N, length)
    raw = data.corpus.reward_scale.from_stars

    def of_all(block: int) -> dict[str, np.ndarray]:
        found = {
            name: raw(baseline(fit_on, judged_on, num_items, block))
            for name, baseline in NAIVE_BASELINES
        }
        predicted_E = predict_logged(model, judged_on, block, users_N=parts.judged_N)
        return {**found, type(config).__name__: raw(predicted_E)}

    judged, rewards_E = judged_events(judged_on, BLOCK), data.reward.rewards_E
    return quality_frame(
        of_all(1),
        raw(judged.reward_E),
        judged.user_E,
        (raw(float(rewards_E.min())), raw(float(rewards_E.max()))),
        np.random.default_rng(derived_seed(seed, "reward quality")),
        in_context=InContext(of_all(BLOCK), judged.context_E),
    )
