"""Every option of every command that names a path understands ~, also where no shell does."""

from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

from recsys_posttrain.cli import app
from recsys_posttrain.cli_options import expanded, path
from recsys_posttrain.errors import UserError


def _parameters(group, words=""):
    """Command and parameter, its type, and what typer was told of it."""
    for command in group.registered_commands:
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            if get_origin(hint) is Annotated:
                kind, told = get_args(hint)
                yield f"{words}{command.callback.__name__} {name}", kind, told
    for inner in group.registered_groups:
        yield from _parameters(inner.typer_instance, f"{words}{inner.name} ")


PARAMETERS = list(_parameters(app))
PATHS = {name: told for name, kind, told in PARAMETERS if Path in (kind, *get_args(kind))}
NAMES = {
    name: told
    for name, kind, told in PARAMETERS
    if (name.split()[-1] in ("dataset", "data_root") and name not in PATHS)
    or name in ("data fetch name", "data audit name")
}


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")


def test_there_are_such_options():
    assert {"run output", "recommend output", "table folder"} <= PATHS.keys()
    assert {"run dataset", "run data_root", "data fetch data_root"} <= NAMES.keys()


@pytest.mark.parametrize("name", PATHS)
def test_a_path(name):
    read = PATHS[name].parser
    assert read("~/runs") == Path("/home/me/runs")
    assert read("runs/~x") == Path("runs/~x")


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_dataset_or_a_file(name):
    read = NAMES[name].callback
    assert read("~/log.csv") == "/home/me/log.csv"
    assert read("ml-1m") == "ml-1m"


def test_the_home_of_nobody_stays_as_it_is():
    assert expanded("~no-such-user-here/x") == "~no-such-user-here/x"
    assert path("~no-such-user-here/x") == Path("~no-such-user-here/x")


@pytest.mark.parametrize("text", ["é" * 128, f"a/{'b' * 256}/c", "a\0b"])
def test_what_no_file_can_be_called(text):
    for read in (path, expanded):
        with pytest.raises(UserError, match="cannot be a path"):
            read(text)
    assert expanded("b" * 255 + "/" + "é" * 127) == "b" * 255 + "/" + "é" * 127
