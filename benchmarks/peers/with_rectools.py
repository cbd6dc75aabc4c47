"""RecTools: `fit` and `recommend` of its SASRec or HSTU, with its own trainer and loader. A third
argument is one of VARIANTS; without it its SASRec with the softmax loss."""

import sys
import time
from typing import Any

import numpy as np
import pandas as pd
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import HSTUModel, SASRecModel
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
    callback_of,
    quiet_trainer,
    serve,
    users_of,
    versions,
)

VARIANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "softmax": (SASRecModel, {"loss": "softmax"}),
    "gbce": (SASRecModel, {"loss": "gBCE", "n_negatives": 256, "gbce_t": 0.75}),
    # Without the time of what is to be recommended, which `recommend` would have to be told.
    "hstu": (HSTUModel, {"loss": "softmax", "relative_time_attention": False}),
}


def dataset(items: np.ndarray, offsets: np.ndarray) -> Dataset:
    frame = pd.DataFrame(
        {
            Columns.User: users_of(offsets),
            Columns.Item: items,
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(np.arange(len(items)), unit="s"),
        }
    )
    return Dataset.construct(frame)


class RecTools:
    def __init__(self, log: Log) -> None:
        self.train_log = dataset(log.train_items, log.train_offsets)
        self.histories = dataset(log.history_items, log.history_offsets)
        self.users = np.arange(len(log.history_offsets) - 1)
        name = sys.argv[3] if len(sys.argv) > 3 else "softmax"
        self.kind, self.options = VARIANTS[name]
        self.model: Any = None
        self.items = len(np.unique(log.train_items))

    def describe(self) -> dict[str, Any]:
        return {
            "versions": versions("rectools", "torch", "pytorch-lightning", "numpy", "pandas"),
            "feed_forward": WIDTH if self.kind is SASRecModel else None,
            "items": self.items,
        }

    def train(self, steps: int) -> dict[str, float]:
        clock = StepClock()
        note = callback_of(Callback, clock, lambda batch: int((batch["y"] != 0).sum()))

        def trainer() -> Trainer:
            return quiet_trainer(
                Trainer, max_epochs=1, limit_train_batches=steps + 1, callbacks=[note]
            )

        self.model = self.kind(
            n_blocks=BLOCKS,
            n_heads=HEADS,
            n_factors=WIDTH,
            dropout_rate=DROPOUT,
            session_max_len=LENGTH,
            batch_size=BATCH_SIZE,
            lr=1e-3,
            **self.options,
            get_trainer_func=trainer,
        )
        self.model.fit(self.train_log)
        return clock.result()

    def recommend(self) -> dict[str, float]:
        """The core is what its Lightning module does once the tables have been turned into a
        loader of histories."""
        module = self.model.lightning_model
        original, core = type(module)._recommend_u2i, []

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            result = original(module, *arguments, **named)
            core.append(time.perf_counter() - began)
            return result

        module._recommend_u2i = timed
        began = time.perf_counter()
        frame = self.model.recommend(self.users, self.histories, k=TOP, filter_viewed=True)
        seconds = time.perf_counter() - began
        return {
            "users": frame[Columns.User].nunique(),
            "rows": len(frame),
            "seconds": seconds,
            "core_seconds": core[0],
        }


if __name__ == "__main__":
    serve(RecTools)
