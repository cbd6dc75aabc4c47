"""Experiment files: Python that is executed, and whose mistakes are named with file and line."""

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from recsys_posttrain.errors import UserError


def experiment_module(file: Path, kind: str = "experiment") -> ModuleType:
    """The experiment file, run as a module. kind: of what it defines, in the module's name.

    Raises: UserError with file and line for whatever ends it, `sys.exit` too; an interrupt stays.
    """
    if file.suffix != ".py" or file.is_dir():
        raise UserError(f"{file} is not a Python file; give an experiment such as experiments/*.py")
    specification = importlib.util.spec_from_file_location(f"{kind}_{file.stem}", file)
    assert specification is not None
    assert specification.loader is not None
    experiment = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = experiment  # an algorithm defined there can then be found
    # As Python does for a script: it may import from there. Python keeps where "." first was.
    if (folder := str(file.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    with explained(file):
        specification.loader.exec_module(experiment)
    return experiment


@contextmanager
def explained(file: Path) -> Iterator[None]:
    """Whatever ends the file's own code, as a UserError with file and line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise UserError(f"{file}{_line(error, file)}: {_reason(error)}") from error


def _line(error: BaseException, file: Path) -> str:
    """Where in the file it happened, as ", line 3"."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f", line {error.lineno}" if error.lineno else ""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return f", line {lines[-1]}" if lines else ""


def _reason(error: BaseException) -> str:
    """What is wrong, in one line."""
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"there is no file {error.filename}"
    first = " ".join(str(error).split())
    if isinstance(error, UserError):
        return first
    if isinstance(error, SyntaxError):
        return f"{error.msg}; correct the file"
    if isinstance(error, SystemExit):
        return f"the file ends itself (exit {error.code}); it should only define RUNS or SWEEP"
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
