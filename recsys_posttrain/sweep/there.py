"""Which sweeps keep their trials on this disk; quick to import, so that a refusal is quick."""

import json
from contextlib import suppress
from pathlib import Path

from recsys_posttrain.config import require
from recsys_posttrain.data.table_paths import is_table, table_name
from recsys_posttrain.named import written

DATABASE = "study.db"  # in the sweep's folder, where no storage is given
_DEFINITION = "definition.json"  # of studies/folder.py, whose import takes seconds
SHOWN = 5  # sweeps in a sentence


def require_one_of(file: Path, dataset: str | None, output: Path) -> None:
    """Raises: UserError where no folder's name begins as those of this file's sweeps do, on this
    table of the user's. The file itself, which may take seconds, is not run for that."""
    name = f"{file.stem}-"
    if dataset is not None and is_table(dataset):
        name += table_name(dataset)
    is_there = any(each.parent.name.startswith(name) for each in output.glob(f"*/{DATABASE}"))
    require(is_there, no_such_sweep(output / f"{name}*" / DATABASE, output, file))


def no_such_sweep(database: Path, output: Path, file: Path) -> str:
    """The sentence for a file that is not there."""
    there = listed(_sweeps_in(output))
    return f"{database} does not exist: there is no such sweep in {output} yet ({there}); " + fix(
        file
    )


def fix(file: Path) -> str:
    return (
        f"give the options that the sweep was given, or start it with recsys-posttrain sweep "
        f"{written(file)} and the same options"
    )


def listed(sweeps: list[str]) -> str:
    more = f" and {len(sweeps) - SHOWN} more" if len(sweeps) > SHOWN else ""
    return f"there are {', '.join(sweeps[:SHOWN])}{more}" if sweeps else "there is none"


def _sweeps_in(output: Path) -> list[str]:
    """Those that keep their trials there, with what tells them apart where their name does not say
    it."""
    found = []
    for database in sorted(output.glob(f"*/{DATABASE}")):
        folder = database.parent
        chosen = ""
        with suppress(OSError, ValueError, AttributeError):  # only a hint in a sentence
            chosen = json.loads((folder / _DEFINITION).read_text(encoding="utf-8")).get("set", "")
        found.append(f"{folder.name} ({chosen})" if chosen else folder.name)
    return found
