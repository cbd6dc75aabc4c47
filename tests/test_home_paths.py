"""No shell replaces ~ in --output=~/runs, so every path that a command takes is expanded by us."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer

from recsys_posttrain.cli import app

EXPANDED_LATER = {"recommend log"}  # by RatingsFile, which reads it


def paths(of: typer.Typer, verb: str = "") -> Iterator[tuple[str, Any]]:
    """Each parameter that is a path: its command and name, and what typer knows of it."""
    for command in of.registered_commands:
        assert command.callback is not None
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            kind, *about = get_args(hint) or (hint,)
            if Path in (kind, *get_args(kind)):
                title = command.name or command.callback.__name__
                yield f"{verb}{title} {name}", about[0]
    for group in of.registered_groups:
        assert group.typer_instance is not None
        yield from paths(group.typer_instance, f"{verb}{group.name} ")


def test_every_path_of_every_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = dict(paths(app))
    assert {"run output", "live materialize rules", "live serve secret_file"} <= set(found)
    for name in found.keys() - EXPANDED_LATER:
        assert found[name].parser is not None, name
        assert found[name].parser("~/x") == tmp_path / "x", name
