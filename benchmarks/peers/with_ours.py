"""Ours: what `pretrain` and `recommend` do. A third argument is one of VARIANTS."""

import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from side import (
    BATCH_SIZE,
    BLOCKS,
    DROPOUT,
    HEADS,
    LENGTH,
    TOP,
    WIDTH,
    Log,
    StepClock,
    serve,
    versions,
)

from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.evaluation.ranking import top_items
from recsys_posttrain.losses import GBCE, FullSoftmax
from recsys_posttrain.losses.base import PretrainingLoss
from recsys_posttrain.models.backbone import BackboneConfig
from recsys_posttrain.models.hstu import HSTU
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.training.fit import fit
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.types import Batch, LossOutput, Sequences

DEFAULT = SASRec(WIDTH, BLOCKS, HEADS, dropout=DROPOUT, max_length=LENGTH)
NARROW = replace(DEFAULT, feed_forward=64)
VARIANTS: dict[str, tuple[BackboneConfig, PretrainingLoss]] = {
    "default": (DEFAULT, FullSoftmax()),
    "64": (NARROW, FullSoftmax()),
    "gbce": (NARROW, GBCE()),
    "hstu": (HSTU(WIDTH, BLOCKS, HEADS, dropout=DROPOUT, max_length=LENGTH), FullSoftmax()),
}


def sequences(items: np.ndarray, offsets: np.ndarray) -> Sequences:
    count = len(items)
    return Sequences(
        torch.from_numpy(items), torch.ones(count), torch.arange(count), torch.from_numpy(offsets)
    )


class Ours:
    def __init__(self, log: Log) -> None:
        self.backbone, loss = VARIANTS[sys.argv[3] if len(sys.argv) > 3 else "default"]
        self.policy = new_policy(self.backbone, log.num_items, seed=0)
        counts = torch.bincount(torch.from_numpy(log.train_items), minlength=log.num_items + 1)
        self.loss = loss.build(counts[1:])
        self.log = log
        self.train_log = sequences(log.train_items, log.train_offsets)
        self.histories = sequences(log.history_items, log.history_offsets)
        self.rounds = 0

    def describe(self) -> dict[str, Any]:
        return {
            "versions": versions("recsys-posttrain", "torch", "pytorch-lightning"),
            "feed_forward": getattr(self.backbone, "feed_forward", None),
            "items": self.log.num_items,
        }

    def train(self, steps: int) -> dict[str, float]:
        training = Training(steps=steps + 1, batch_size=BATCH_SIZE)
        policy, clock, self.rounds = self.policy, StepClock(), self.rounds + 1
        policy.logits_dtype = training.logits_dtype("cpu")
        events: list[int] = []
        generator = torch.Generator().manual_seed(self.rounds)

        def objective(batch: Batch) -> LossOutput:
            policy.clear_cache()
            events.append(len(batch.action_N))
            return LossOutput(self.loss(policy, batch, generator), {})

        module = TrainingModule(
            policy,
            objective,
            training,
            self.rounds,
            dropout=True,
            after_step=lambda _step: clock.note(events[-1]),
        )
        fit(module, training.batches(self.train_log, LENGTH, self.rounds), None)
        policy.clear_cache()
        policy.logits_dtype = None
        return clock.result()

    def recommend(self) -> dict[str, float]:
        self.policy.eval()
        began = time.perf_counter()
        items_NK, score_NK = top_items(
            self.policy.last_hidden_states(self.histories),
            self.policy.item_embedding_VD.detach(),
            TOP,
            Excluded(self.histories.items_E, self.histories.offsets_N1),
        )
        core = time.perf_counter() - began
        real_NK = (items_NK > 0).numpy()
        user_R, rank_R = np.nonzero(real_NK)
        pd.DataFrame(
            {
                "user_id": user_R,
                "item_id": items_NK.numpy()[real_NK],
                "score": score_NK.numpy()[real_NK],
                "rank": rank_R + 1,
            }
        )
        return {
            "users": len(items_NK),
            "rows": len(user_R),
            "seconds": time.perf_counter() - began,
            "core_seconds": core,
        }


if __name__ == "__main__":
    serve(Ours)
