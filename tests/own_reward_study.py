"""The study of studies/test_own_reward.py: boosting of the user's own as reward model."""

from dataclasses import replace

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from small_study import BASE

from recsys_posttrain.algorithms import ASFT, BC
from recsys_posttrain.algorithms.signals import model_reward, user_mean
from recsys_posttrain.rewards.own import RewardRegressor
from recsys_posttrain.untrained import RewardArgmax, Tilt


def boosting():
    return HistGradientBoostingRegressor(max_iter=10, early_stopping=True)


def features(frame):
    """Of an item its number, of a history its mean reward and length."""
    past = frame["history_rewards"]
    return np.stack([frame["item_id"], past.map(np.mean), past.map(len)], axis=1)


SETUP = replace(BASE.setup, reward=RewardRegressor(boosting, features))
RUNS = [
    replace(BASE, setup=SETUP, algorithm=BC()),
    replace(
        BASE,
        setup=SETUP,
        algorithm=ASFT(reward=model_reward, baseline=user_mean),
        name="ASFT(model)",
    ),
    replace(BASE, setup=SETUP, algorithm=ASFT(), name="needs sums"),
]
BASELINES = (RewardArgmax(), Tilt())
