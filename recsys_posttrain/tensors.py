"""Named tensors on disk, as safetensors: never a pickle."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from recsys_posttrain.errors import UserError
from recsys_posttrain.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

# How safetensors calls the types that models have.
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "U8": "uint8",
    "BOOL": "bool",
}


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

    like: on any device, "meta" too; compared before a value is read. Errors: UserError for a file
    that is missing, may not be read, is damaged, or of another model.
    """
    from safetensors.torch import load_file

    found = _tensors_of(path, fix)
    if like is not None:
        wanted = {
            name: f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
            for name, value in like.items()
        }
        for name in dict.fromkeys([*wanted, *found]):
            there, expected = found.get(name, "missing"), wanted.get(name, "none")
            if there != expected:
                raise UserError(
                    f"{path}: tensor {name!r} is {there} in the file and {expected} in the model: "
                    "is it a checkpoint of another model?"
                )
    return load_file(path)


def _tensors_of(path: Path, fix: str) -> dict[str, str]:
    """Type and shape of each tensor, from the head of the file."""
    from safetensors import safe_open

    try:
        with path.open("rb"):
            pass  # safetensors calls every file that it cannot open missing
        with safe_open(path, "pt") as file:
            heads = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, no mapping
            return {
                name: f"{_DTYPES.get(head.get_dtype(), head.get_dtype())} {tuple(head.get_shape())}"
                for name, head in heads.items()
            }
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: it should hold a model's tensors (safetensors); {fix}"
        ) from None
    except OSError as error:
        raise UserError(f"{path} is there and may not be read ({error.strerror}): {fix}") from None
    except SafetensorError as error:
        raise UserError(f"{path} is cut short or not a safetensors file ({error}): {fix}") from None
