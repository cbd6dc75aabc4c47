"""Scripts of the live rig, run in this process."""

import sys

import pytest
import typer

from recsys_posttrain.endings import exit_code


@pytest.fixture
def end(monkeypatch, capsys):
    """(exit code, stdout, stderr) of a loaded script with these arguments."""

    def run(script, *words):
        monkeypatch.setattr(sys, "argv", [script.__file__, *map(str, words)])
        try:
            code = exit_code(lambda: typer.run(script.main))
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run
