"""The study of studies/test_own_signals.py: losses that read what a log has beside its reward."""

from dataclasses import replace

from small_study import BASE

from recsys_posttrain.algorithms import ASFT
from recsys_posttrain.algorithms.signals import Logged
from recsys_posttrain.rewards.factor import RewardFactors

BC = replace(BASE, setup=replace(BASE.setup, reward=RewardFactors()))
CLICK = ASFT(reward=Logged("click"), baseline=Logged("click", is_mean=True))
RUNS = [
    BC,
    replace(BC, algorithm=CLICK, name="ASFT(click)"),
    replace(BC, algorithm=ASFT(reward=Logged("share")), name="ASFT(share)"),
]
BASELINES = ()
