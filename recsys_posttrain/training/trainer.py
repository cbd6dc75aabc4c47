"""Lightning's trainer, as every stage has it: one epoch, no files of its own, and no advice."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger


@contextmanager
def quiet_trainer(
    device: str, callbacks: Sequence[Callback], logger: Logger | None
) -> Iterator[pl.Trainer]:
    """Its warnings that do not apply here are not shown while the block runs."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*`IterableDataset` has `__len__`.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        # Each step sets the modes of the models itself.
        warnings.filterwarnings("ignore", message=".*in eval mode at the start.*")
        yield pl.Trainer(
            max_epochs=1,
            **hardware(device),
            logger=logger or False,
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            callbacks=[*callbacks],
            num_sanity_val_steps=0,
        )


def hardware(device: str) -> dict[str, Any]:
    """Lightning's arguments for cpu, cuda (the first GPU) or cuda:1."""
    if device == "cpu":
        return {"accelerator": "cpu", "devices": 1}
    return {"accelerator": "gpu", "devices": [torch.device(device).index or 0]}
