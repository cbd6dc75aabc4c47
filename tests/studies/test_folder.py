"""A study's folder holds the results of one definition, replaced as a set."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recsys_posttrain.data import MovieLens100K, RatingsFile
from recsys_posttrain.errors import UserError
from recsys_posttrain.studies.folder import (
    DEFINITION,
    claim,
    definition,
    result_set,
    say_what_is_replaced,
)
from recsys_posttrain.worlds.jester import Jester


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "log.csv").write_text(folder)
        Path(folder, "study.py").write_text(f"RUNS = [{folder!r}]")


def of(file="a/study.py", dataset="a/log.csv", **chosen):
    chosen = {"kind": "study", "split": "", "set": "", "targets": "test"} | chosen
    return definition(Path(file), RatingsFile(dataset), **chosen)


def test_a_folder_of_another_definition_is_refused_and_says_which():
    folder = Path("runs/study-log")
    claim(folder, of())
    claim(folder, of())
    for other, said in (
        (of(dataset="b/log.csv"), r"dataset /.*/a/log.csv there and /.*/b/log.csv here"),
        (of("b/study.py"), r"file /.*/a/study.py there and /.*/b/study.py here"),
        (of(split="global-time"), "split none there and global-time here"),
        (of(kind="sweep"), "kind study there and sweep here"),
    ):
        with pytest.raises(UserError, match=said) as told:
            claim(folder, other)
        assert str(told.value).startswith("runs/study-log holds the results of something else")
        assert str(told.value).endswith("give another folder with --output, or move that one away")
    assert json.loads((folder / DEFINITION).read_text()) == of()


def test_the_same_file_elsewhere_is_the_same_and_a_changed_one_is_said(capsys):
    folder = Path("runs/study-log")
    claim(folder, of())
    shutil.copy("a/study.py", "b/study.py")
    claim(folder, of("b/study.py"))
    assert capsys.readouterr().err == ""
    Path("b/study.py").write_text("RUNS = []")
    claim(folder, of("b/study.py"))
    assert "b/study.py was changed since its last run; the results in" in capsys.readouterr().err


def test_other_data_under_the_same_name_is_said(capsys):
    folder = Path("runs/study-log")
    claim(folder, of())
    say_what_is_replaced(folder, "0123")
    (folder / "run.json").write_text('{"content_hash": "0123"}')
    say_what_is_replaced(folder, "0123")
    assert capsys.readouterr().err == ""
    say_what_is_replaced(folder, "4567")
    assert "the data changed since the last run; the results in runs" in capsys.readouterr().err


def test_results_that_do_not_say_what_they_are_of_are_kept():
    folder = Path("runs/study-log")
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"do not say what they are of .no definition.json.: move"):
        claim(folder, of())
    (folder / "run.json").unlink()
    claim(folder, of())
    (folder / DEFINITION).write_text("{")
    with pytest.raises(UserError, match=r"definition.json is cut short .*: move the folder away"):
        claim(folder, of())


def test_a_dataset_is_its_name_and_settings_or_its_place():
    named = [
        definition(Path("a/study.py"), dataset)["dataset"]
        for dataset in (MovieLens100K(data_root="x"), Jester(), Jester(users=60))
    ]
    assert named == ["ml-100k", "jester", "jester (users=60)"]
    assert of(dataset="b/../a/log.csv") == of()

    @dataclass(frozen=True)
    class Later(RatingsFile):
        """As RatingsFile is once it has one more field."""

        new: int = field(default=3)

    later = definition(Path("a/study.py"), Later("a/log.csv"))
    assert later["dataset"] == of()["dataset"]


def test_a_file_of_the_checkout_is_named_without_the_machine():
    root = Path(__file__).resolve().parents[2]
    described = definition(root / "experiments" / "movielens_main.py", MovieLens100K())
    assert described["file"] == "experiments/movielens_main.py"


def test_what_may_not_be_written_is_refused_before_any_work():
    with pytest.raises(UserError, match=r"--output .*: .*log.csv is a file; give a folder"):
        claim(Path("a/log.csv/study-log"), of())
    with pytest.raises(UserError, match=r"the folder runs/x+ cannot be created .File name too."):
        claim(Path("runs") / ("x" * 300), of())


def test_nothing_of_earlier_results_stays_and_other_files_do():
    folder = Path("runs/study-log")
    claim(folder, of())
    (folder / "figures").mkdir()
    stale = ("table.md", "curves.parquet", "judge.md", "report.html", "agreement-x.md")
    for name in (*stale, "over_optimisation.png", "figures/leaderboard.pdf", "run.json"):
        (folder / name).write_text("old")
    (folder / "study.db").write_text("trials")
    (folder / "notes.txt").write_text("mine")
    with result_set(folder) as new:
        assert (folder / "table.md").read_text() == "old"
        for name in ("table.md", "run.json"):
            (new / name).write_text("new")
    there = sorted(path.name for path in folder.iterdir())
    assert there == [DEFINITION, "notes.txt", "run.json", "study.db", "table.md"]
    assert (folder / "table.md").read_text() == (folder / "run.json").read_text() == "new"


def test_a_set_that_fails_changes_nothing():
    folder = Path("runs/study-log")
    claim(folder, of())
    (folder / "table.md").write_text("old")

    def half() -> None:
        with result_set(folder) as new:
            (new / "table.md").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert sorted(os.listdir(folder)) == [DEFINITION, "table.md"]
    assert (folder / "table.md").read_text() == "old"


def test_killed_while_a_set_is_swapped_the_folder_has_no_run_json_and_is_cleaned_later():
    folder = Path("runs/study-log")
    claim(folder, of())
    (folder / "run.json").write_text("old")
    script = (
        "import os, sys; from pathlib import Path\n"
        "from recsys_posttrain.studies import folder as results\n"
        "folder = Path(sys.argv[1])\n"
        "replace, done = os.replace, []\n"
        "def killed(*names):\n"
        "    if done: os._exit(9)\n"
        "    done.append(replace(*names))\n"
        "os.replace = killed\n"
        "with results.result_set(folder) as new:\n"
        "    for name in ('a.md', 'run.json', 'z.md'): (new / name).write_text('new')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(folder)])
    assert ended.returncode == 9
    assert not (folder / "run.json").exists()
    assert [path for path in folder.iterdir() if path.name.startswith(".tmp-")]
    claim(folder, of())
    assert not [path for path in folder.iterdir() if path.name.startswith(".tmp-")]


def test_data_that_was_only_moved_is_the_same_and_changed_data_in_its_place_too():
    folder = Path("runs/study-log")
    claim(folder, of())
    shutil.copy("a/log.csv", "b/log.csv")
    claim(folder, of(dataset="b/log.csv"))
    Path("b/log.csv").write_text("the next day")
    claim(folder, of(dataset="b/log.csv"))
