"""RecBole: its SASRec, trainer and loader, cross-entropy over the catalogue.

It trains on one target per row, not on all of a sequence, so that a batch of 128 has 128 real
events. The first users are enough: the time of a step depends on nothing else, and its copy of a
history for each event would take gigabytes. It cannot remove seen items for sequential models, so
recommending is not measured.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from side import (
    BATCH_SIZE,
    BLOCKS,
    DROPOUT,
    HEADS,
    LENGTH,
    WIDTH,
    Log,
    StepClock,
    serve,
    users_of,
    versions,
)

USERS = 500


class Limited:
    """The first batches of a loader; the clock is noted when the next one is asked for."""

    def __init__(self, loader: Any, steps: int, clock: StepClock) -> None:
        self.loader, self.steps, self.clock = loader, steps, clock
        self.sampler, self.shuffle = loader.sampler, loader.shuffle

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        for _ in range(self.steps):
            batch = next(batches)
            yield batch
            self.clock.note(len(batch))


class RecBole:
    def __init__(self, log: Log) -> None:
        self.folder = tempfile.TemporaryDirectory()
        table = Path(self.folder.name, "log", "log.inter")
        table.parent.mkdir()
        offsets = log.train_offsets[: USERS + 1]
        items, users = log.train_items[: offsets[-1]], users_of(offsets)
        # Every item once, so that the catalogue is whole; these users have one event and no target.
        extra = np.arange(1, log.num_items + 1)
        rows = zip([*users, *(USERS + extra)], [*items, *extra], strict=True)
        lines = [f"{user}\t{item}\t{time}" for time, (user, item) in enumerate(rows)]
        header = "user_id:token\titem_id:token\ttimestamp:float"
        table.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        self.config = Config(
            model="SASRec",
            dataset="log",
            config_dict={
                "data_path": self.folder.name,
                "checkpoint_dir": self.folder.name,
                "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
                "n_layers": BLOCKS,
                "n_heads": HEADS,
                "hidden_size": WIDTH,
                "inner_size": WIDTH,
                "hidden_dropout_prob": DROPOUT,
                "attn_dropout_prob": DROPOUT,
                "MAX_ITEM_LIST_LENGTH": LENGTH,
                "loss_type": "CE",
                "train_neg_sample_args": None,
                "train_batch_size": BATCH_SIZE,
                "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "TO", "mode": "full"},
                "use_gpu": False,
                "show_progress": False,
            },
        )
        dataset = create_dataset(self.config)
        self.items = dataset.item_num - 1
        self.loader, _, _ = data_preparation(self.config, dataset)
        self.trainer = Trainer(self.config, SASRec(self.config, self.loader.dataset))

    def describe(self) -> dict[str, Any]:
        return {
            "versions": versions("recbole", "torch", "numpy", "pandas"),
            "feed_forward": WIDTH,
            "items": self.items,
            "users": USERS,
            "note": "one target per row of a batch, against all positions for the others",
        }

    def train(self, steps: int) -> dict[str, float]:
        clock = StepClock()
        self.trainer._train_epoch(Limited(self.loader, steps + 1, clock), 0)
        return clock.result()

    def recommend(self) -> dict[str, float]:
        raise NotImplementedError("full_sort_topk does not remove seen items for sequential models")


if __name__ == "__main__":
    serve(RecBole)
