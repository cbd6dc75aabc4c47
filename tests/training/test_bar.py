"""The bar of a training: on a terminal, in a notebook without widgets, and where there is none."""

import io
import re
import sys
from types import SimpleNamespace

import pytest
import torch
from data_factory import made_sequences

from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.plan import Training
from recsys_posttrain.progress import drawn
from recsys_posttrain.training import bar
from recsys_posttrain.training.fit import fit
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.types import LossOutput


class Terminal(io.StringIO):
    def isatty(self):
        return True


def train(patience=1):
    """12 steps, of which a patience of 1 takes 6: 3 per validation, and the second is no better.
    The loss is minus the weight, which grows by 1 a step: 0, -1, -2, ..."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    plan = Training(4, 1, learning_rate=1.0, warmup_steps=0, patience=patience)

    def objective(batch):
        return LossOutput(-model.weight[0, 0].expand_as(batch.reward_N), {})

    module = TrainingModule(model, objective, plan, 0, dropout=True)
    stream = BatchStream(made_sequences(3 * [2]), 5, 1, 4, 0)
    return fit(module, stream, None, validate=lambda: {"v": 1.0}, monitor="v", title="ASFT [b]")


def in_terminal(monkeypatch):
    """What a training writes to one. Not a fixture: pytest sets stderr after these."""
    with monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "stderr", Terminal())
        assert train().steps == 6
        return sys.stderr.getvalue()


def without_codes(text):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_a_terminal_has_the_stage_the_loss_and_an_end(monkeypatch):
    """Training that stops early takes its bar away: the last thing that is said is to erase it."""
    text = in_terminal(monkeypatch)
    assert "ASFT [b] " in text
    assert "6/12 loss -5 " in without_codes(text)
    assert text.endswith("\x1b[2K")


def test_a_pipe_and_a_live_table_have_none(monkeypatch, capsys):
    drawn.set()
    try:
        assert in_terminal(monkeypatch) == ""
    finally:
        drawn.clear()
    train()
    assert capsys.readouterr() == ("", "")


class ZMQInteractiveShell:
    """What get_ipython() returns in a notebook."""


@pytest.fixture
def notebook(monkeypatch):
    """What is displayed, in the order of updates; nothing but IPython's display is there."""
    said = []

    def display(data, raw, display_id):
        assert raw
        assert display_id
        said.append(data["text/plain"])
        return SimpleNamespace(update=lambda data, raw: said.append(data["text/plain"]))

    shell = SimpleNamespace(get_ipython=ZMQInteractiveShell)
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return said


def test_a_notebook_has_one_line_that_is_replaced(notebook, monkeypatch):
    seconds = iter(range(1000))
    monkeypatch.setattr(bar, "monotonic", lambda: float(next(seconds)))
    train()
    assert notebook[0].startswith("ASFT [b] " + "─" * 30 + " 0/12, loss nan, ")
    assert notebook[0].endswith("left -:--:--")
    third = f"ASFT [b] {'━' * 10}{'─' * 20} 4/12, loss -3, "
    assert any(line.startswith(third) for line in notebook)
    assert notebook[-1].startswith("ASFT [b] " + "━" * 30 + " 6/6, loss -5, ")
    assert notebook[-1].endswith("left 0:00:00")


def test_ipython_in_a_terminal_is_no_notebook(notebook, monkeypatch):
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: object())
    assert "6/12" in without_codes(in_terminal(monkeypatch))
    assert notebook == []
