"""RePlay: its SasRec, Lightning module and Parquet loader with the default transforms.

A third argument is the number of rows that its LengthBucketedQueryEncoder (off by default)
evaluates together in training.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from lightning import Callback, Trainer
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import ParquetModule, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.nn.lightning import LightningModule
from replay.nn.lightning.callback import PandasTopItemsCallback
from replay.nn.lightning.postprocessor import SeenItemsFilter
from replay.nn.sequential import LengthBucketedQueryEncoder, SasRec
from replay.nn.transform.template import make_default_sasrec_transforms
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
    versions,
)

PREDICT_BATCH_SIZE = 256


def write_table(path: Path, items: np.ndarray, offsets: np.ndarray) -> None:
    """Items from 0; the padding value is the number of items."""
    lists = pa.ListArray.from_arrays(offsets.astype(np.int32), items - 1)
    users = np.arange(len(offsets) - 1)
    columns = {"user_id": users, "item_id": lists, "seen_ids": lists}
    pyarrow.parquet.write_table(pa.table(columns), path)


def schema(num_items: int) -> TensorSchema:
    return TensorSchema(
        [
            TensorFeatureInfo(
                "item_id",
                is_seq=True,
                feature_type=FeatureType.CATEGORICAL,
                embedding_dim=WIDTH,
                padding_value=num_items,
                cardinality=num_items,
                feature_hint=FeatureHint.ITEM_ID,
                feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "item_id")],
            )
        ]
    )


class RePlay:
    def __init__(self, log: Log) -> None:
        self.num_items = log.num_items
        self.folder = tempfile.TemporaryDirectory()
        self.paths = {name: str(Path(self.folder.name, name)) for name in ("train", "predict")}
        write_table(Path(self.paths["train"]), log.train_items, log.train_offsets)
        write_table(Path(self.paths["predict"]), log.history_items, log.history_offsets)
        self.longest = int(np.diff(log.history_offsets).max())
        self.bucket = int(sys.argv[3]) if len(sys.argv) > 3 else None
        model = SasRec.from_params(
            schema(log.num_items), WIDTH, HEADS, BLOCKS, LENGTH, DROPOUT, hidden_dim=WIDTH
        )
        if self.bucket:
            model.body.encoder = LengthBucketedQueryEncoder(model.body.encoder, self.bucket)
        self.module = LightningModule(model)

    def describe(self) -> dict[str, Any]:
        return {
            "versions": versions("replay-rec", "torch", "lightning", "numpy", "pandas"),
            "feed_forward": WIDTH,
            "items": self.num_items,
            "length_buckets": self.bucket,
        }

    def _data(self) -> ParquetModule:
        padding = self.num_items

        def array(length: int) -> dict[str, int]:
            return {"shape": length, "padding": padding}

        return ParquetModule(
            batch_size={"train": BATCH_SIZE, "predict": PREDICT_BATCH_SIZE},
            metadata={
                "train": {"item_id": array(LENGTH + 1)},
                "predict": {
                    "user_id": {},
                    "item_id": array(LENGTH),
                    "seen_ids": array(self.longest),
                },
            },
            transforms=make_default_sasrec_transforms(schema(self.num_items)),
            train_path=self.paths["train"],
            predict_path=self.paths["predict"],
        )

    def train(self, steps: int) -> dict[str, float]:
        clock = StepClock()
        note = callback_of(Callback, clock, lambda batch: int(batch["target_padding_mask"].sum()))
        trainer = quiet_trainer(
            Trainer,
            max_epochs=1,
            limit_train_batches=steps + 1,
            limit_val_batches=0,
            callbacks=[note],
        )
        self.module.train()
        trainer.fit(self.module, datamodule=self._data())
        return clock.result()

    def recommend(self) -> dict[str, float]:
        """The core is the pass over the loader, without the trainer's start and the table."""
        top = PandasTopItemsCallback(
            TOP,
            query_column="user_id",
            item_column="item_id",
            postprocessors=[SeenItemsFilter(self.num_items)],
        )
        marks: list[float] = []

        class Clock(Callback):
            def on_predict_epoch_start(self, *arguments: Any) -> None:
                marks.append(time.perf_counter())

            on_predict_epoch_end = on_predict_epoch_start

        began = time.perf_counter()
        trainer = quiet_trainer(Trainer, callbacks=[top, Clock()], inference_mode=True)
        with torch.no_grad():
            trainer.predict(self.module, datamodule=self._data(), return_predictions=False)
        frame = top.get_result()
        return {
            "users": frame["user_id"].nunique(),
            "rows": len(frame),
            "seconds": time.perf_counter() - began,
            "core_seconds": marks[-1] - marks[0],
        }


if __name__ == "__main__":
    serve(RePlay)
