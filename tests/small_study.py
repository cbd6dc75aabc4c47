"""The study of tests/studies and of other tests: three algorithms, seconds in all."""

from dataclasses import replace

from recsys_posttrain.algorithms import BC, ExpRSFT, OfflinePPO
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.ensemble import RewardEnsemble

PLAN = Training(epochs=4, batch_size=16, learning_rate=0.01, patience=3)
SIZES = dict(dim=8, blocks=1, feed_forward=16, max_length=10)
SETUP = Setup(
    backbone=SASRec(**SIZES),
    pretraining=PLAN,
    reward=RewardEnsemble(SASRec(**SIZES, history_rewards=True), members=2, rank=4, training=PLAN),
)
SHORT = Training(epochs=2, batch_size=16, learning_rate=0.01)
BASE = Run(setup=SETUP, algorithm=BC(), posttraining=SHORT)
RUNS = [
    BASE,
    replace(BASE, algorithm=ExpRSFT()),
    replace(BASE, algorithm=OfflinePPO(samples=2, refresh_every=3)),
]
BASELINES = ()  # so that tests stay fast
