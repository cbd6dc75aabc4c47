"""Experiment files are executed: whatever goes wrong in one is one sentence with file and line."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from recsys_posttrain.__main__ import main
from recsys_posttrain.errors import UserError
from recsys_posttrain.studies.experiment import experiment_module
from recsys_posttrain.studies.load import load_study

HEAD = """from dataclasses import replace
from recsys_posttrain.algorithms import BC, DPO
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.plan import Training
RUNS = [Run(BC())]
"""


@pytest.fixture(autouse=True)
def own_path(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])


def _end(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["recsys-posttrain", *arguments])
    try:
        return main()
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RUNS = [\n\n", ", line 1: '[' was never closed; correct the file"),
        ("if True:\nRUNS = []", ", line 2: expected an indented block"),
        ("x = 1\nRUNS = [Runn()]", ", line 2: NameError: name 'Runn' is not defined"),
        ("import no_such_module", ", line 1: ModuleNotFoundError: No module named 'no_such"),
        ("x = 1\n\nimport sys\nsys.exit(0)", ", line 4: the file ends itself (exit 0); it should"),
        ("raise SystemExit", ", line 1: the file ends itself (exit None)"),
        ("def f():\n    return 1 / 0\nf()", ", line 2: ZeroDivisionError: division by zero"),
        ("open('/no/such/file')", ", line 1: there is no file /no/such/file"),
        ("raise ValueError", ", line 1: ValueError"),
        ("x = 'a\0b'", ": source code string cannot contain null bytes"),
        (HEAD + "RUNS = 5", " defines no RUNS: give it a list RUNS of Run"),
        (HEAD + "RUNS = {1: Run(BC())}", " defines no RUNS"),
        (HEAD + "def runs():\n    return 1 / 0\nRUNS = runs", ", line 8: ZeroDivisionError"),
        (HEAD + "RUNS = lambda: 5", " defines no RUNS: give it a list RUNS of Run"),
        (HEAD + "NEXT_RUNS = 5", ": NEXT_RUNS=5 must be a function of all runs"),
        (HEAD + "REDRAWS_NOISE = 1", ": REDRAWS_NOISE=1 must be True or False"),
        (
            HEAD + "RUNS = [Run(BC(), strength='a'), Run(BC(), strength='a')]",
            ": two runs are called 'BC, a'; give one of them a name=",
        ),
        (HEAD + "RUNS = [Run(BC)]", ", line 7: Run: algorithm="),
        (
            HEAD + "RUNS = [Run(BC(), posttraining=3)]",
            ", line 7: Run: posttraining=3 must be a T",
        ),
        (
            HEAD + "RUNS = [Run(BC(), Setup('ml-100k'))]",
            "Setup: dataset='ml-100k' has no method load",
        ),
        (HEAD + "RUNS = [Run(DPO(beta=-1))]", ", line 7: DPO: beta=-1 must be above 0"),
        (HEAD + "RUNS = [Run(DPO(beta='x'))]", ", line 7: TypeError: '>' not supported between"),
        (HEAD + "RUNS = [Run(DPO(beta=float('inf')))]", "inf cannot be part of a configuration"),
        (HEAD + "RUNS = [Run(DPO(pairs=lambda *_: 1))]", "cannot be part of a configuration"),
        (HEAD + "SEEDS = ()", ": SEEDS=() must be a tuple of one or more whole numbers from 0"),
        (HEAD + "SEEDS = (0, 0)", ": SEEDS=(0, 0) must be"),
        (HEAD + "SEEDS = (0.5,)", ": SEEDS=(0.5,) must be"),
        (HEAD + "SEEDS = (-1,)", ": SEEDS=(-1,) must be"),
        (HEAD + "SEEDS = (True,)", ": SEEDS=(True,) must be"),
        (HEAD + "SEEDS = (10**30,)", " must be a tuple of one or more whole numbers"),
        (HEAD + "SEEDS = 3", ": SEEDS=3 must be"),
        (HEAD + "TUNING = 3", ": TUNING=3 must be text"),
        (HEAD + "Training(steps=10**20)", "line 7: Training: steps=100000000000000000000 must be"),
        (HEAD + "Training(steps=1, weight_decay=-1)", "weight_decay=-1 must be at least 0"),
        (HEAD + "Training(steps=1, learning_rate=float('nan'))", "learning_rate=nan must be above"),
        (HEAD + "Training(steps=1, snapshots=-1)", "snapshots=-1 must be a whole number from 0"),
        (HEAD + "Training(steps=2.5)", "steps=2.5 must be a whole number from 1"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(text, said, tmp_path, monkeypatch, capsys):
    file = tmp_path / "mine.py"
    file.write_text(text)
    assert _end(monkeypatch, "run", str(file), "--output", str(tmp_path / "runs")) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert said in message
    assert "mine.py" in message or "configuration" in message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["none.py", "folder.py", "study.txt"])
def test_what_is_no_python_file_is_named(name, tmp_path):
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "study.txt").write_text(HEAD)
    with pytest.raises(UserError, match=name):
        load_study(tmp_path / name, [], None, None, None)


def test_an_interrupt_stays_one(tmp_path):
    (tmp_path / "mine.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        experiment_module(tmp_path / "mine.py")


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_help_says_that_the_file_is_executed(verb, monkeypatch, capsys):
    assert _end(monkeypatch, verb, "--help") == 0
    assert "It is executed: run only files that you trust" in capsys.readouterr().out


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text(HEAD)
    refused = PermissionError(13, "Permission denied", str(file))
    monkeypatch.setattr(
        "importlib.machinery.SourceFileLoader.get_data",
        lambda *_: (_ for _ in ()).throw(refused),
    )
    with pytest.raises(UserError, match=r"mine.py.*Permission denied"):
        experiment_module(Path(file))


def test_which_runs_are_built_next_is_chosen_among_those_of_the_file(tmp_path):
    """Those that were built stay; nothing else may come in."""
    text = """
RUNS = [Run(BC()), *(Run(DPO(), strength=s) for s in "abc")]
NEXT_RUNS = lambda runs, built, means: [run for run in runs if run.strength == means]
"""
    file = tmp_path / "chooses.py"
    file.write_text(HEAD + text)
    study = load_study(file, [], None, None, None)
    assert [study.title(run) for run in study.runs] == ["BC", "DPO, a", "DPO, b", "DPO, c"]
    grown = study.grown(study.runs[3:], "b")
    assert [study.title(run) for run in grown.runs] == ["DPO, b", "DPO, c"]
    other = study._replace(next_runs=lambda *_: [replace(study.runs[0], name="another")])
    with pytest.raises(UserError, match="NEXT_RUNS returned a run that it was not given"):
        other.grown((), "b")
    file.write_text(HEAD + text + "NEXT_RUNS = lambda runs, built, means: 1 / 0")
    with pytest.raises(UserError, match=r"line \d+: ZeroDivisionError"):
        load_study(file, [], None, None, None).grown((), "b")
