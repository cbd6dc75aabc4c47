"""The study of studies/test_rewards.py: BC and each way of reading rewards, in seconds."""

from dataclasses import dataclass, replace

import pandas as pd
from small_study import BASE

from recsys_posttrain.algorithms import ASFT, RWR, ExpRSFT, FilteredBC, OfflinePPO
from recsys_posttrain.plan import Training
from recsys_posttrain.types import Interactions
from recsys_posttrain.untrained import ItemMean, RewardArgmax, Tilt

STRONG = Training(steps=6, batch_size=16, learning_rate=0.05)
BC = replace(BASE, setup=replace(BASE.setup, pretraining=STRONG), posttraining=STRONG)


@dataclass(frozen=True)
class Unrated:
    """Who did what when, and nothing about how it was. path: of a ratings file, read without."""

    path: str

    @property
    def name(self):
        return "unrated"

    def content_hash(self):
        return "unrated"

    def load(self):
        frame = pd.read_csv(self.path).assign(rating=1.0)
        return Interactions(self.name, frame, self.content_hash(), has_ratings=False)


RUNS = [
    BC,
    *(
        replace(BC, algorithm=algorithm)
        for algorithm in (RWR(), ExpRSFT(), ASFT(), OfflinePPO(samples=4, refresh_every=2))
    ),
]
BASELINES = [ItemMean(), RewardArgmax(), Tilt(0.3), FilteredBC()]
