"""The table of a sweep is written when all of its slots are closed."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep.outcome import write_outcome


def test_a_sweep_publishes_nothing_while_slots_are_open(tmp_path):
    """As if its workers had ended well without doing their work."""
    states = [
        SimpleNamespace(left=left, cell=SimpleNamespace(label=label))
        for label, left in {"BC": 0, "ExpRSFT": 1}.items()
    ]
    objective = SimpleNamespace(pipeline=None)
    ledger = SimpleNamespace(sweep=None, objective=objective, states=lambda: states)
    with pytest.raises(UserError, match=r"^1 of 2 methods are not finished \(ExpRSFT\): run the"):
        write_outcome(ledger, Path("x.py"), tmp_path, "command")
    assert list(tmp_path.iterdir()) == []
