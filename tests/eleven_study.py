"""The study of test_eleven_logs.py, of seconds: two methods read rewards, the others do not."""

from dataclasses import replace

from small_study import SIZES

from recsys_posttrain.algorithms import ASFT, BC
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.untrained import ItemMean

SHORT = Training(steps=4, batch_size=16, learning_rate=0.05)
SETUP = Setup(backbone=SASRec(**SIZES), pretraining=SHORT)
BASE = Run(BC(), SETUP, posttraining=SHORT)
RUNS = [BASE, replace(BASE, algorithm=ASFT())]
BASELINES = [ItemMean()]
