"""A device by its name: refused where the machine lacks it, and the one that Lightning uses."""

import pytest
import torch

from recsys_posttrain.cli_options import checked_device
from recsys_posttrain.errors import UserError
from recsys_posttrain.plan import Training
from recsys_posttrain.training import fit
from recsys_posttrain.training.pretrain import pretrain


class Asked(Exception):
    """The trainer was asked for."""


@pytest.mark.parametrize(
    ("device", "accelerator", "devices"),
    [("cpu", "cpu", 1), ("cuda", "gpu", [0]), ("cuda:0", "gpu", [0]), ("cuda:1", "gpu", [1])],
)
def test_the_trainer_gets_the_gpu_of_that_number(device, accelerator, devices, tiny, monkeypatch):
    """devices=1 would be any one GPU: the first."""
    given = {}

    def trainer(**options):
        given.update(options)
        raise Asked

    monkeypatch.setattr(fit.pl, "Trainer", trainer)
    monkeypatch.setattr("recsys_posttrain.plan.fast_products", lambda device: None)
    with pytest.raises(Asked):
        pretrain(tiny.data, tiny.backbone, Training(steps=1), device=device)
    assert (given["accelerator"], given["devices"]) == (accelerator, devices)


@pytest.mark.parametrize(
    ("count", "device", "said"),
    [
        (0, "cuda", "--device cuda: PyTorch finds no GPU here; leave --device out for cpu"),
        (0, "cuda:0", "--device cuda:0: PyTorch finds no GPU here; leave --device out for cpu"),
        (1, "cuda:1", "--device cuda:1: this machine has cuda:0"),
        (3, "cuda:3", "--device cuda:3: this machine has cuda:0 to cuda:2"),
        (8, "gpu0", "--device gpu0: give cpu, cuda, or one GPU by its number as cuda:1"),
        (8, "cuda:", "--device cuda:: give cpu, cuda, or one GPU by its number as cuda:1"),
        (8, "cuda:-1", "--device cuda:-1: give cpu, cuda, or one GPU by its number as cuda:1"),
        (8, "CPU", "--device CPU: give cpu, cuda, or one GPU by its number as cuda:1"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(count, device, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(UserError) as told:
        checked_device(device)
    assert str(told.value) == said


@pytest.mark.parametrize(
    ("count", "device"), [(0, "cpu"), (1, "cuda"), (1, "cuda:0"), (2, "cuda:1")]
)
def test_a_device_that_is_there_is_taken(count, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert checked_device(device) == device
