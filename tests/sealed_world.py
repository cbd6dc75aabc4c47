"""A world whose truth is a parameter, and a log that is not."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from recsys_posttrain.algorithms import ExpRSFT
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.types import Interactions
from recsys_posttrain.worlds.base import Truth

USERS, ITEMS, LENGTH = 30, 25, 9


@dataclass(frozen=True)
class Made:
    """unlogged: seed of the true rewards of what is not in the log; None: truth() raises."""

    unlogged: int | None = None

    @property
    def name(self):
        return "made"

    def content_hash(self):
        return "1" * 64

    def load(self):
        generator = np.random.default_rng(0)
        item_UL = np.stack([generator.permutation(ITEMS)[:LENGTH] for _ in range(USERS)])
        frame = pd.DataFrame(
            {
                "user_id": np.repeat(np.arange(USERS), LENGTH),
                "item_id": item_UL.ravel(),
                "rating": 1 + 4 * generator.random(USERS * LENGTH),
                "timestamp": np.tile(np.arange(LENGTH), USERS),
                "propensity": np.tile(1 / (ITEMS - np.arange(LENGTH)), USERS),
            }
        )
        return Interactions(self.name, frame, self.content_hash())

    def truth(self):
        assert self.unlogged is not None, "the truth was asked for"
        reward_UV = 1 + 4 * np.random.default_rng(self.unlogged).random((USERS, ITEMS))
        frame = self.load().frame
        reward_UV[frame["user_id"], frame["item_id"]] = frame["rating"]
        return Truth(
            torch.from_numpy(reward_UV).float(),
            torch.eye(ITEMS),
            np.arange(USERS),
            np.arange(ITEMS),
        )


STEPS = Training(steps=2, batch_size=16)


def run_in(world):
    plan = Training(epochs=1, batch_size=16, patience=2)
    encoder = SASRec(dim=4, blocks=1, feed_forward=8, max_length=8, history_rewards=True)
    setup = Setup(
        dataset=world,
        backbone=encoder,
        pretraining=plan,
        reward=RewardEnsemble(encoder, members=2, rank=2, training=plan),
    )
    return Run(ExpRSFT(), setup, posttraining=STEPS)


def pipeline_in(world, root):
    return Pipeline(run_in(world).setup, root)
