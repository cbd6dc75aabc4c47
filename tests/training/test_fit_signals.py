"""SIGTERM in a user's own script, where the command line's handler is not there."""

import os
import signal

import pytest

from recsys_posttrain.endings import Stopped
from recsys_posttrain.plan import Training
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.training.pretrain import pretrain


def test_lightnings_answer_to_sigterm_gets_an_exit_code(tiny, tmp_path, monkeypatch):
    """It is a SystemExit without one, so that a script ended with 0."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    original = TrainingModule.training_step

    def step(module, *arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(module, *arguments, **options)

    monkeypatch.setattr(TrainingModule, "training_step", step)
    with pytest.raises(Stopped) as end:
        pretrain(tiny.data, tiny.backbone, Training(epochs=2, batch_size=16), 0, tmp_path)
    assert end.value.code == 143
