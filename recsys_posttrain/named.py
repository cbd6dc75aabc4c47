"""What the command line takes by name: studies under runs/, and the files of this package's own."""

from pathlib import Path

from recsys_posttrain.errors import UserError, did_you_mean, nearest

RUNS = Path("runs")  # where studies are kept, unless --output says otherwise
# Beside the package in a checkout, inside it where it was installed from a wheel.
_INSTALLED = Path(__file__).with_name("experiments")
STUDIES = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1] / "experiments"


def study_path(given: Path) -> Path:
    """The folder that is given, or the study of that name under runs/.

    Raises: UserError where there is neither, with the nearest name.
    """
    for folder in (given, RUNS / given):
        if folder.is_dir():
            return folder
    there = sorted({path.parent for top in (given.parent, RUNS) for path in top.glob("*/run.json")})
    names = {folder.name: folder for folder in there}
    longer = [name for name in names if name.startswith(f"{given.name}-")]
    near = names.get(longer[0] if len(longer) == 1 else nearest(given.name, names))
    hint = did_you_mean("" if near is None else near.name if near.parent == RUNS else str(near))
    listed = f"; there are {', '.join(list(names)[:5])}" if names else "; no study has ended yet"
    hint = hint or listed
    raise UserError(f"{given}: there is no such study or folder, here or in {RUNS}/{hint}")


def study_file(given: Path) -> Path:
    """The file that is given, or the study of this package with that name.

    Raises: UserError where there is none of that name; a path is checked by whoever opens it.
    """
    if given.suffix or given.exists() or given.name != str(given):
        return given
    own = STUDIES / f"{given}.py"
    if own.is_file():
        return own
    names = study_names()
    hint = did_you_mean(nearest(str(given), names)) or f"; its own are {', '.join(names)}"
    raise UserError(f"{given}: this package has no study of that name, and it is no file{hint}")


def study_names() -> list[str]:
    """Of the package's own files those that `run` or `sweep` take."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(STUDIES.glob("*.py"))}
    return [name for name, text in texts.items() if "\nRUNS" in text or "\nSWEEP" in text]


def written(file: Path) -> str:
    """A study's file as a command line names it: one of the package by its name."""
    return file.stem if file.parent == STUDIES else str(file)
