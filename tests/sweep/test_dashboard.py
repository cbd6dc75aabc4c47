"""The dashboard finds the trials of the sweep with the same options, and no other's.

A sweep is stopped as soon as its storage is open: which file that is, the sweep itself says.
"""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep import run as sweeps

SMALL_SWEEP = Path(__file__).resolve().parents[1] / "small_sweep.py"
# By what each is there for; all of them are options of `sweep`.
OPTIONS = {
    "none": [],
    "repeats": ["--repeats", "allowed"],
    "available": ["--available", "windows.csv"],
    "item features": ["--item-features", "vectors.parquet"],
    "reward model": ["--reward-model", "mine.py"],
    "policy": ["--pretrained", "policy.py"],
    "liked": ["--liked", "80%"],
    "top": ["--top", "5"],
    "disliked": ["--disliked", "1"],
    "zero": ["--reward-zero", "3"],
    "duplicates": ["--duplicates", "last"],
    "reward": ["--reward", "rating + 1"],
    "signals": ["--signals", "rating"],
    "columns": ["--columns", "rating=rating"],
    "two": ["--item-features", "vectors.parquet", "--repeats", "never"],
}


@pytest.fixture
def log(small_ratings_csv, tmp_path, monkeypatch, own_cache):
    monkeypatch.chdir(tmp_path)
    frame = pd.read_csv(small_ratings_csv)
    frame.to_csv("log.csv", index=False)
    items = frame["item_id"].unique()
    rng = np.random.default_rng(0)
    vectors = pd.DataFrame({"item_id": items, "v": list(rng.standard_normal((len(items), 3)))})
    vectors.to_parquet("vectors.parquet")
    Path("windows.csv").write_text(f"item_id,from,until\n{items[0]},0,9999999999\n")
    Path("mine.py").write_text(
        "import recsys_posttrain as rp\nREWARD_MODEL = rp.RewardFunction(lambda frame: 3)"
    )
    Path("policy.py").write_text("def PRETRAINED(corpus):\n    raise AssertionError")
    return "log.csv"


@pytest.fixture
def served(monkeypatch):
    """Of each dashboard that was served the file of its storage, and the names of its studies."""
    found = []

    def run_server(storage, host, port):
        names = [study.study_name for study in storage.get_all_studies()]
        found.append((Path(storage.url.removeprefix("sqlite:///")), names, host, port))

    monkeypatch.setitem(sys.modules, "optuna_dashboard", SimpleNamespace(run_server=run_server))
    return found


@pytest.fixture
def begin(end, monkeypatch):
    """A sweep with these options, up to where its data are said; the file of its storage."""
    opened = []
    open_storage = sweeps.open_storage
    monkeypatch.setattr(sweeps, "open_storage", lambda url: opened.append(url) or open_storage(url))

    def stop(pipeline):
        opened.append("begun")
        raise UserError("it has begun")

    monkeypatch.setattr(sweeps, "say_the_data", stop)
    monkeypatch.setattr(sweeps.Objective, "definition", lambda self: {})
    monkeypatch.setattr(sweeps.Ledger, "queues", lambda self: [])

    def begin(*words):
        assert end("sweep", SMALL_SWEEP, *words) == 2
        url, said = opened
        assert said == "begun"
        return Path(url.removeprefix("sqlite:///"))

    return begin


@pytest.mark.parametrize("named", OPTIONS)
def test_with_the_options_of_the_sweep_it_serves_that_sweeps_trials(log, named, begin, served, end):
    words = ["--dataset", log, *OPTIONS[named]]
    database = begin(*words)
    assert end("dashboard", SMALL_SWEEP, *words, "--port", "8123") == 0
    ((file, names, *address),) = served
    assert file == database
    assert names == [database.parent.name]
    assert address == ["127.0.0.1", 8123]


@pytest.mark.parametrize("named", [name for name in OPTIONS if name != "none"])
def test_without_them_it_is_one_sentence(log, named, begin, served, end, capsys):
    """That names what was looked for, what there is, and how to start it."""
    begin("--dataset", log, *OPTIONS[named])
    capsys.readouterr()
    assert end("dashboard", SMALL_SWEEP, "--dataset", log) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert not served
    assert "runs/small_sweep-log/study.db" in said
    if "does not exist" in said:
        assert re.search(r"in runs yet \(there are small_sweep-log-\S+", said)
        assert f"start it with recsys-posttrain sweep {SMALL_SWEEP} and the same options" in said
    else:  # its folder has the same name, and says what it is of
        assert "is of another sweep" in said
        assert any(word in said for word in OPTIONS[named][1:])


def test_where_no_sweep_was_run_it_says_so(log, served, end, capsys):
    assert end("dashboard", SMALL_SWEEP, "--dataset", log) == 2
    said = capsys.readouterr().err
    assert "runs/small_sweep-log*/study.db does not exist" in said
    assert "in runs yet (there is none)" in said
    assert not Path("runs").exists()


def test_a_sweep_that_was_not_run_is_refused_before_anything_slow_is_imported(log):
    """In the first second: neither the experiment file nor torch is needed for that."""
    command = [sys.executable, "-X", "importtime", "-m", "recsys_posttrain", "dashboard"]
    for words in (["--dataset", log], []):
        done = subprocess.run([*command, SMALL_SWEEP, *words], capture_output=True, text=True)
        assert done.returncode == 2
        assert "does not exist: there is no such sweep in runs yet" in done.stderr
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "recsys_posttrain.sweep.there" in imported
        assert not imported & {"torch", "optuna", "pandas", "optuna_dashboard"}


def test_another_output_is_another_sweep(log, begin, served, end, capsys):
    database = begin("--dataset", log, "--output", "mine")
    assert end("dashboard", SMALL_SWEEP, "--dataset", log) == 2
    assert end("dashboard", SMALL_SWEEP, "--dataset", log, "--output", "mine") == 0
    assert served[0][0] == database


def test_a_storage_of_several_sweeps_is_asked_for_this_one(log, begin, served, end, capsys):
    url = f"sqlite:///{Path('shared.db').resolve()}"
    begin("--dataset", log, "--storage", url)
    assert end("dashboard", SMALL_SWEEP, "--dataset", log, "--storage", url) == 0
    assert served[0][1] == ["small_sweep-log"]
    words = ["--item-features", "vectors.parquet", "--storage", url]
    assert end("dashboard", SMALL_SWEEP, "--dataset", log, *words) == 2
    said = capsys.readouterr().err
    assert re.search(
        r"shared.db holds no sweep small_sweep-log-\w{6} \(there are small_sweep-log\)", said
    )


def test_other_data_of_the_same_name_are_another_sweep_and_a_copy_is_not(
    log, begin, served, end, capsys
):
    begin("--dataset", log)
    text = Path(log).read_text()
    for folder, content in (("copy", text), ("other", text[: text.rstrip().rindex("\n") + 1])):
        Path(folder).mkdir()
        Path(folder, "log.csv").write_text(content)
    assert end("dashboard", SMALL_SWEEP, "--dataset", "copy/log.csv") == 0
    assert len(served) == 1
    assert end("dashboard", SMALL_SWEEP, "--dataset", "other/log.csv") == 2
    assert "is of another sweep (dataset " in capsys.readouterr().err
