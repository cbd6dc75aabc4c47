"""Tensors on disk: bit for bit, and of the model that asks for them."""

import os
import stat
from pathlib import Path

import pytest
import torch

from recsys_posttrain.errors import UserError
from recsys_posttrain.tensors import load_tensors, save_tensors


def test_tensors_come_back_bit_for_bit_and_shared_memory_is_allowed(tmp_path):
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    tensors = {"weight": weight, "tied": weight, "view": weight.T, "count": torch.tensor(3)}
    path = tmp_path / "policy.safetensors"
    save_tensors(path, tensors)
    first_bytes = path.read_bytes()
    loaded = load_tensors(path, {name: value.to("meta") for name, value in tensors.items()})
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert loaded["count"].dtype == torch.int64
    save_tensors(path, dict(reversed(tensors.items())))
    assert path.read_bytes() == first_bytes
    assert os.listdir(tmp_path) == ["policy.safetensors"]


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"w": torch.zeros(3, 2)}, "is float32 (2, 3) in the file and float32 (3, 2) in the model"),
        ({"w": torch.zeros(2, 3).half()}, "is float32 (2, 3) in the file and float16 (2, 3) in"),
        ({"w": torch.zeros(2, 3).long()}, "is float32 (2, 3) in the file and int64 (2, 3) in the"),
        ({}, "tensor 'w' is float32 (2, 3) in the file and missing in the model"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path, model, sentence):
    path = tmp_path / "policy.safetensors"
    save_tensors(path, {"w": torch.zeros(2, 3)})
    with pytest.raises(UserError) as told:
        load_tensors(path, model)
    assert sentence in str(told.value)
    assert str(told.value).endswith("in the model: is it a checkpoint of another model?")
    with pytest.raises(UserError, match=r"tensor 'b' is missing in the file and float32 \(2,\) in"):
        load_tensors(path, {"w": torch.zeros(2, 3), "b": torch.zeros(2)})


def test_missing_and_truncated_tensors_are_named(tmp_path):
    path = tmp_path / "policy.safetensors"
    with pytest.raises(UserError, match=r"policy.safetensors does not exist"):
        load_tensors(path)
    save_tensors(path, {"w": torch.zeros(200)})
    for length in (700, 20, 0):
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(UserError, match=r"policy.safetensors is cut short or not a safetens"):
            load_tensors(path)


def test_weights_have_the_mode_of_any_new_file_and_one_that_may_not_be_read_is_said_to_be_there(
    tmp_path, monkeypatch
):
    path = tmp_path / "policy.safetensors"
    before = os.umask(0o027)
    try:
        save_tensors(path, {"w": torch.zeros(2)})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    refused = PermissionError(13, "Permission denied", str(path))
    monkeypatch.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(refused))
    with pytest.raises(UserError, match=r"is there and may not be read .Permission denied."):
        load_tensors(path)
