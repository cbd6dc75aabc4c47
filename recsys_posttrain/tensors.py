"""Named tensors on disk, as safetensors: never a pickle."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_posttrain.errors import UserError
from recsys_posttrain.files import reading, replacing

if TYPE_CHECKING:
    from torch import Tensor


def save_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """Writes named tensors as safetensors, whole or not at all; same tensors, same bytes."""
    from safetensors.torch import save_file  # and torch, which live services do without

    # A copy of each, because safetensors refuses tensors that share memory (tied weights, views).
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(copies, temporary)


def load_tensors(
    path: Path, like: "Mapping[str, Tensor] | None" = None, fix: str = "restore it"
) -> "dict[str, Tensor]":
    """Named tensors on the CPU; with `like`, exactly those names, shapes and types.

    like: on any device, "meta" too. Errors: UserError for a file that is missing, may not be read,
    is damaged, or of another model.
    """
    from safetensors.torch import load_file

    # Opened first: safetensors calls every file that it cannot open missing.
    with reading(path, "a safetensors file", fix), path.open("rb"):
        found = load_file(path)
    for name in [] if like is None else dict.fromkeys([*like, *found]):
        there, expected = (_described(each.get(name)) for each in (found, like or {}))
        if there != expected:
            raise UserError(
                f"{path}: tensor {name!r} is {there} in the file and {expected} in the model: "
                "is it a checkpoint of another model?"
            )
    return found


def _described(tensor: "Tensor | None") -> str:
    if tensor is None:
        return "missing"
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
