"""The README says what is true: its snippet runs, its commands parse, its tree is the tree."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main

from recsys_posttrain.cli import app
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.ensemble import RewardEnsemble
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.pretrain import pretrain
from recsys_posttrain.training.reward import train_reward

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _lines(start: str) -> list[str]:
    shell = "".join(text for kind, text in BLOCKS if kind == "sh")
    return [line.partition(" #")[0] for line in shell.splitlines() if line.startswith(start)]


COMMANDS = _lines("recsys-posttrain ")


def _with_one_epoch(default: object) -> object:
    if isinstance(default, Training):
        return replace(default, epochs=1)
    if isinstance(default, RewardEnsemble):
        return replace(default, training=replace(default.training, epochs=1))
    return default


def test_the_snippet_runs_as_printed(
    small_ratings_csv: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a small file instead of ml-100k, and one epoch instead of the default number."""
    (snippet,) = (text for kind, text in BLOCKS if kind == "python")
    assert len([line for line in snippet.splitlines() if line]) < 10
    assert snippet.count('"ml-100k"') == 1
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path))
    for function in (pretrain, train_reward, posttrain):
        fewer = tuple(_with_one_epoch(each) for each in function.__defaults__ or ())
        assert fewer != function.__defaults__
        monkeypatch.setattr(function, "__defaults__", fewer)
    exec(snippet.replace("ml-100k", str(small_ratings_csv)), {})
    printed = capsys.readouterr().out
    rows = re.findall(r"^\| \**(Pretrained|A-SFT)\b", printed, re.MULTILINE)
    assert set(rows) == {"Pretrained", "A-SFT"}, printed


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_parses(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs, options and values; parsed, not run."""
    monkeypatch.chdir(ROOT)
    verb = typer.main.get_command(app)
    words = shlex.split(command)[1:]
    while hasattr(verb, "commands"):
        assert words[0] in verb.commands, command
        verb = verb.commands[words.pop(0)]
    verb.make_context("recsys-posttrain", words)


def test_every_verb_has_a_command_in_the_readme() -> None:
    shown = {shlex.split(command)[1] for command in COMMANDS}
    assert shown == set(typer.main.get_command(app).commands)


def test_every_make_target_and_variable_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \?=", makefile, re.MULTILINE))
    named = {shlex.split(line)[1] for line in _lines("make ")}
    named |= set(re.findall(r"`make ([a-z-]+)", README))
    assert named >= {"benchmark", "test", "setup"}
    assert named <= targets
    assert set(re.findall(r"\b([A-Z_]{3,})=", README)) <= variables


def _tree() -> list[str]:
    (block,) = (text for _, text in BLOCKS if "\nrecsys_posttrain/\n" in text)
    names = [(line.split()[0], line.startswith("  ")) for line in block.splitlines()]
    return [f"recsys_posttrain/{name}" if inside else name for name, inside in names]


def test_the_tree_is_the_tree() -> None:
    tree = _tree()
    for path in tree:
        assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file(), path
    package = {
        f"recsys_posttrain/{path.name}" + "/" * path.is_dir()
        for path in (ROOT / "recsys_posttrain").iterdir()
        if path.name != "__pycache__"
    }
    assert {path for path in tree if path.startswith("recsys_posttrain/")} - {
        "recsys_posttrain/"
    } == package


@pytest.mark.parametrize(
    "text", ["README.md", "recsys_posttrain/ADDING.md", "experiments/README.md"]
)
def test_links_lead_somewhere(text: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / text).read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (ROOT / text).parent.joinpath(target).exists(), target


def test_the_results_can_be_filled_in() -> None:
    for name in ("results", "reward-models"):
        start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
        assert README.count(start) == README.count(end) == 1
        assert README.index(start) < README.index(end)
