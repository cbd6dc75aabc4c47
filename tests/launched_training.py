"""What torchrun starts in training/test_launched.py: the first process pretrains on a file, in a
folder of its own; the second, in another one, has neither and helps.

    launched_training.py CSV FOLDER [kill]     # the second process ends in the first one's step 7
"""

import os
import signal
import sys
from pathlib import Path

import torch

from recsys_posttrain.data import LeaveOneOut, RatingsFile, prepare
from recsys_posttrain.endings import exit_code
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.tensors import save_tensors
from recsys_posttrain.training import fit
from recsys_posttrain.training.launched import by_torchrun, devices_of, led
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.training.pretrain import pretrain

PLAN = Training(epochs=3, batch_size=16, learning_rate=0.02, warmup_steps=6, ema_decay=0.9)
BACKBONE = SASRec(dim=8, blocks=1, feed_forward=16, max_length=10, dropout=0.2)
LAST_STEP, SAVED = 7, "policy.safetensors"


def trained(csv: str, folder: Path, devices: int) -> None:
    data = LeaveOneOut().split(prepare(RatingsFile(csv), cache=folder / "cache"))
    policy, _ = pretrain(data, BACKBONE, PLAN, 0, folder, devices=devices)
    save_tensors(folder / SAVED, policy.state_dict())


def end_in_the_last_step() -> None:
    step_of_module = TrainingModule.training_step

    def step(module, *arguments):
        if module.steps_done == LAST_STEP:
            os.kill(os.getpid(), signal.SIGKILL)
        return step_of_module(module, *arguments)

    TrainingModule.training_step = step  # type: ignore[method-assign]


def main(csv: str, folder: str, *kill: str) -> None:
    torch.set_num_threads(1)
    fit.SECONDS_BETWEEN_CHECKPOINTS = -1.0
    if kill and not by_torchrun().is_first:
        end_in_the_last_step()
    led(lambda: trained(csv, Path(folder), devices_of(1)))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(*sys.argv[1:])))
