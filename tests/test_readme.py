"""README, docs/ and ADDING say what is true: code runs, commands parse, paths and links exist."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main
from doc_pages import ADDING, DOCS, FENCE, PACKAGE, PAGES, README, ROOT, blocks, name_of, spans
from typer.testing import CliRunner

import recsys_posttrain as rp
from recsys_posttrain.cli import app
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.pretrain import pretrain
from recsys_posttrain.training.reward import train_reward

CODE = ROOT / "docs" / "code.md"
NOTES, PAPERS = ROOT / "benchmarks" / "NOTES.md", PACKAGE / "algorithms" / "PAPERS.md"
LOGS = [ROOT / "CHANGELOG.md", ROOT / "experiments" / "README.md"]
COMMAND = typer.main.get_command(app)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE))
IS_OURS = ("benchmarks/", "docs/", "experiments/", "recsys_posttrain/", "tests/")


def _lines(start):
    """Lines of the shell that begin so, without their comment -> a page."""
    return {
        line.partition(" #")[0].strip(): name_of(page)
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.splitlines()
        if line.startswith(start)
    }


def _spans_with(start):
    return [span for page in PAGES for span in spans(page) if span.startswith(start)]


def _command(words):
    """The command that they name, and its arguments."""
    command, rest = COMMAND, words[1:]
    while hasattr(command, "commands") and rest:
        assert rest[0] in command.commands, words
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def _options(command):
    """Its own and, of a group, those of its commands."""
    below = [_options(each) for each in getattr(command, "commands", {}).values()]
    own = {"--help", *(name for parameter in command.params for name in parameter.opts)}
    return own.union(*below)


def _slug(heading):
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def _with_one_epoch(default):
    if isinstance(default, Training):
        return replace(default, epochs=1)
    if isinstance(default, RewardFactors):
        return replace(default, rounds=1)
    return default


SNIPPETS = [(name_of(page), text) for page in (README, *DOCS) for text in blocks(page, "python")]
STUDIES = [each for each in SNIPPETS if "\nRUNS = " in each[1]]
# Those that read committed results, one after the other, run in test_findings.py.
RESULTS = [each for each in SNIPPETS if each[0] == "docs/results.md"]


@pytest.mark.parametrize(
    ("page", "snippet"), [each for each in SNIPPETS if each not in STUDIES + RESULTS]
)
def test_a_snippet_runs_as_printed(page, snippet, small_ratings_csv, tmp_path, monkeypatch, capsys):
    """On a small file instead of ml-100k, and one epoch instead of the default number. Those of
    ADDING are followed in test_adding.py."""
    assert snippet.count('"ml-100k"') + snippet.count('"my_log.csv"') == 1
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path))
    for function in (pretrain, train_reward, posttrain):
        fewer = tuple(_with_one_epoch(each) for each in function.__defaults__ or ())
        assert fewer != function.__defaults__
        monkeypatch.setattr(function, "__defaults__", fewer)
    here, names = tmp_path / "here", {}
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ("ml-100k", "my_log.csv"):
        snippet = snippet.replace(name, str(small_ratings_csv))
    exec(snippet, names)
    saved = re.findall(r'save_policy\(\w+, "(\w+)"', snippet)
    assert [path.name for path in here.iterdir()] == saved, "nothing else is left behind"
    for name in saved:
        assert len(rp.recommend(rp.load_policy(name), names["data"], k=2)) == 2 * 60
    printed = capsys.readouterr().out
    for each in [names["evaluation"]] if "evaluation" in names else names["results"].values():
        assert len(each.per_user) == 60
        assert f"{each.per_user['ndcg@10'].mean():.4f}"[1:] in printed
    rows = re.findall(r"^\| \**(\w+)\b", printed, re.MULTILINE)
    named = re.findall(r'[{,] ?"(\w+)":', snippet)
    assert len(named) == 2
    assert {*named} <= {*rows}, page


@pytest.mark.parametrize(("page", "snippet"), STUDIES)
def test_an_experiment_file_runs_as_printed(
    page, snippet, small_ratings_csv, tmp_path, monkeypatch
):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    file, few = tmp_path / "printed.py", ["pretraining.epochs=1", "reward.rounds=1"]
    file.write_text(snippet)
    settings = [word for each in (*few, "posttraining.steps=2") for word in ("--set", each)]
    words = ["run", str(file), "--dataset", str(small_ratings_csv), "--workers", "1", *settings]
    done = CliRunner().invoke(app, [*words, "--output", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    (table,) = (tmp_path / "runs").glob("printed-*/table.md")
    rows = re.findall(r"^\| \**(\w+)\b", table.read_text(encoding="utf-8"), re.MULTILINE)
    assert {*re.findall(r"algorithm=(\w+)", snippet)} <= {*rows}, page


@pytest.mark.parametrize("line", _lines("recsys-posttrain "))
def test_a_command_parses(line, monkeypatch):
    """Command, options, values and experiment files; parsed, not run."""
    monkeypatch.chdir(ROOT)
    command, words = _command(shlex.split(line))
    command.make_context("recsys-posttrain", list(words))
    assert [word for word in words if word.endswith(".py") and not Path(word).is_file()] == []


def test_commands_in_the_text_exist_with_their_options():
    for span in _spans_with("recsys-posttrain "):
        command, words = _command(span.split())
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options <= _options(command), span
    for span in _spans_with("--"):
        assert span.partition("=")[0].split()[0] in _options(COMMAND), span


def test_every_command_is_on_the_pages():
    shown = {shlex.split(line)[1] for line in _lines("recsys-posttrain ")}
    assert shown == set(COMMAND.commands)


def test_every_make_target_and_variable_exists():
    lines = [*_lines("make "), *_spans_with("make ")]
    named = {shlex.split(line)[1] for line in lines}
    assert named >= {"benchmark", "test", "setup"}
    assert named <= TARGETS
    given = [word.partition("=")[0] for line in lines for word in shlex.split(line)[2:]]
    assert set(given) <= VARIABLES, set(given) - VARIABLES


def test_every_variable_in_the_text_is_read_by_something():
    ours = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    words = [span for page in PAGES for span in spans(page)]
    names = {found[1] for span in words if (found := re.match(r"([A-Z][A-Z_]{2,})=", span))}
    assert {name for name in names - VARIABLES if name not in ours} == set()


def test_every_code_block_is_executed_or_parsed():
    """Python is run above, or followed in test_adding.py; what is not Python is parsed here."""
    for page in PAGES:
        languages = {language for language, _ in FENCE.findall(page.read_text(encoding="utf-8"))}
        assert languages <= {"sh", "python", "json", *([""] if page == CODE else [])}, page
        for block in blocks(page, "json"):
            json.loads(block)
        for block in blocks(page, "sh"):
            done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
            assert done.returncode == 0, (page, done.stderr)
            assert "$ " not in block, "a prompt cannot be pasted"


@pytest.mark.parametrize("line", _lines("python "))
def test_a_script_exists_with_its_options(line):
    script, *rest = shlex.split(line)[1:]
    words = [sys.executable, ROOT / script, "--help"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for option in (word.partition("=")[0] for word in rest if word.startswith("--")):
        assert f" {option} " in shown, option


def _tree():
    (block,) = (text for text in blocks(CODE, "") if "\nrecsys_posttrain/\n" in text)
    names = [(line.split()[0], line.startswith("  ")) for line in block.splitlines()]
    return [f"recsys_posttrain/{name}" if inside else name for name, inside in names]


def test_the_tree_is_the_tree():
    tree = _tree()
    for path in tree:
        assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file(), path
    package = {
        f"recsys_posttrain/{path.name}" + "/" * path.is_dir()
        for path in PACKAGE.iterdir()
        if path.name != "__pycache__"
    }
    assert {path for path in tree if path.startswith("recsys_posttrain/")} - {
        "recsys_posttrain/"
    } == package


def test_no_file_is_longer_than_one_reads_at_once():
    """At most 300 lines, tests and their helpers included."""
    folders = ("recsys_posttrain", "experiments", "benchmarks", "tests")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 500
    long = [each for each in files if len(each.read_text(encoding="utf-8").splitlines()) > 300]
    assert long == []


def test_the_core_exists_and_reads_in_an_hour():
    """The files that a loss passes through: at most 5,000 lines."""
    text = CODE.read_text(encoding="utf-8")
    core = text.partition("<!-- core:start -->")[2].partition("<!-- core:end -->")[0]
    paths = [PACKAGE / name for name in re.findall(r"`([\w/.]+)`", core)]
    assert len(paths) > 20
    assert [path for path in paths if not path.exists()] == []
    files = [file for path in paths for file in ([path] if path.is_file() else path.glob("*.py"))]
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) <= 5000


@pytest.mark.parametrize("page", [*PAGES, NOTES, PAPERS], ids=name_of)
def test_paths_in_the_text_exist(page):
    """Those of the repository, and every Python file, unless ADDING says to write it."""
    to_write = re.findall(r"[Ww]rite `([\w/]+\.py)`", page.read_text(encoding="utf-8"))
    for span in spans(page):
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", span) or span in to_write:
            continue
        places = [ROOT / span, PACKAGE / span, page.parent / span]
        if span.startswith(IS_OURS) or span.endswith(".py"):
            assert any(place.exists() for place in places), span


@pytest.mark.parametrize("page", [*PAGES, NOTES, PAPERS, *LOGS], ids=name_of)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_slug, headings), target


def test_every_page_is_in_the_index_and_asks_one_question():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in DOCS:
        if page.name != "README.md":
            headings = re.findall(r"^# (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
            assert len(headings) == 1, page.name
            assert headings[0].endswith("?"), page.name
            assert f"[{page.name}]({page.name}): {headings[0]}" in index, page.name


def test_names_of_the_python_interface_exist():
    to_write = re.findall(r"class (\w+)", ADDING.read_text(encoding="utf-8"))
    for page in PAGES:
        for name in re.findall(r"\brp\.(\w+)", page.read_text(encoding="utf-8")):
            assert name in to_write or hasattr(rp, name), (page.name, name)
