"""run.json and rows.parquet of a finished study, read with the kind of each value checked."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from recsys_posttrain.errors import UserError
from recsys_posttrain.files import read_parquet, read_record
from recsys_posttrain.reward_scale import scale_in

# A type, a list of one kind, or an object: names (with "?": may be missing), or any text.
Kind = Any

_NOISE: Kind = {"class": str, "?level": float}
_RUN: Kind = {
    "?title": str,
    "?name": str,
    "?strength": str,
    "?trained": bool,
    "?family": str,
    "algorithm": {"class": str},
    "?control": {"class": str},
    "?posttraining": {"?exact_items": int, "?sampled_items": int},
    "?noise": {"?model": _NOISE, "?log": _NOISE, "?shared": bool},
}
_ACHIEVED = {
    **dict.fromkeys(("pairwise_accuracy", "rmse"), float),
    **dict.fromkeys(("clean_pairwise_accuracy", "clean_rmse"), float),
    **dict.fromkeys(("?projected_truth", "?projected_judge"), float),
    **dict.fromkeys(("?clean_projected_truth", "?clean_projected_judge"), float),
}
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(
        ("?name", "?on", "?tuning", "?commit", "?command", "?dataset", "?split", "?content_hash"),
        str,
    ),
    **dict.fromkeys(("?users", "?events", "?num_items", "?policies"), int),
    "?versions": {str: str},
    "?seeds": [int],
    "?steps": [int],
    "?methods": [str],
    "?runs": [_RUN],
    "?noise": {str: {"?model": _ACHIEVED, "?log": {str: float}}},
    "?left_out": {str: str},
    "?stages": {str: {"?seconds": float, "?folder": str, "?record": {"?kept": float}}},
    "?sweep": {},
}
FIX = "restore the file or run the study again"
_AGAIN = "run the study again with the command in run.json"


def study_record(folder: Path, needed: Collection[str] = ()) -> dict[str, Any]:
    """What run.json says. Errors: UserError where it is missing or damaged, or lacks a key."""
    path = folder / "run.json"
    record = read_record(path, needed, "give the folder of a finished study, or run it again")
    check_kinds(path, record, _KINDS)
    try:
        scale_in(record)
    except UserError as refusal:
        raise UserError(f"{path}: {refusal}") from None
    return record


def check_kinds(path: Path, record: Any, kind: Kind) -> None:
    """Raises: UserError that names the first value of a JSON file that is of another kind."""
    for place, wanted in _misfits(record, kind):
        raise UserError(f"{path}: {place or 'it'} is not {wanted}: {FIX}")


def _misfits(value: Any, kind: Kind, place: str = "") -> Iterator[tuple[str, str]]:
    """Where the value is of another kind, and what it should be; a missing object may be null."""
    if isinstance(kind, list):
        if not isinstance(value, list):
            yield place, "a list"
            return
        for number, item in enumerate(value):
            yield from _misfits(item, kind[0], f"{place}[{number}]")
    elif isinstance(kind, dict):
        if not isinstance(value, dict):
            yield place, "an object"
            return
        for name in value if str in kind else kind:
            plain = name.removeprefix("?")
            inner = f"{place}.{plain}" if place else plain
            found = value.get(plain)
            is_absent = found is None if isinstance(kind.get(name), dict) else plain not in value
            if is_absent and name.startswith("?"):
                continue
            yield from _misfits(found, kind.get(str, kind.get(name)), inner)
    else:
        fitting = int | float if kind is float else kind
        if not isinstance(value, fitting) or (isinstance(value, bool) and kind is not bool):
            words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
            yield place, words[kind]


def read_rows(folder: Path) -> pd.DataFrame:
    """One row per target, method and seed. Errors: UserError where they are missing or damaged."""
    path = folder / "rows.parquet"
    if not path.exists():
        raise UserError(
            f"{path} does not exist: the table is computed from these rows; {_AGAIN} (published "
            "results have no rows, which name users of the data)"
        )
    return read_parquet(path, {"method": str, "seed": float, "user_id": object}, _AGAIN)
