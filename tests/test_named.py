"""Studies by name: under runs/, and those of the package."""

from pathlib import Path

import pytest

from recsys_posttrain import named
from recsys_posttrain.errors import UserError
from recsys_posttrain.named import study_file, study_names, study_path


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("main-ml-1m", "strengths-ml-1m"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
    (tmp_path / "runs" / "stages").mkdir()
    return tmp_path / "runs"


def test_a_study_is_its_folder_or_its_name_under_runs(runs):
    assert study_path(Path("main-ml-1m")) == Path("runs/main-ml-1m")
    assert study_path(Path("runs/main-ml-1m")) == Path("runs/main-ml-1m")
    assert study_path(runs / "main-ml-1m") == runs / "main-ml-1m"
    Path("main-ml-1m").mkdir()  # what lies here comes first
    assert study_path(Path("main-ml-1m")) == Path("main-ml-1m")


def test_an_unknown_study_names_the_nearest(runs):
    with pytest.raises(UserError, match=r"mian-ml-1m: .*; did you mean 'main-ml-1m'\?"):
        study_path(Path("mian-ml-1m"))
    with pytest.raises(UserError, match=r"did you mean 'main-ml-1m'\?"):
        study_path(Path("main"))  # the file's name, without that of the log
    (other := runs.parent / "other" / "main-ml-100k").mkdir(parents=True)
    (other / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"did you mean 'other/main-ml-100k'\?"):
        study_path(Path("other/main-ml-100"))
    with pytest.raises(UserError, match=r"xyz: .*; there are main-ml-1m, strengths-ml-1m$"):
        study_path(Path("xyz"))
    for record in runs.glob("*/run.json"):
        record.unlink()
    with pytest.raises(UserError, match="no study has ended yet"):
        study_path(Path("xyz"))


def test_a_study_of_the_package_by_name(runs):
    assert study_file(Path("movielens_main")).read_text().count("\nRUNS = [") == 1
    assert study_file(Path("movielens_main.py")) == Path("movielens_main.py")
    assert {"movielens_main", "sweep_noise", "noise_vs_quality"} < set(study_names())
    assert "base_search" not in study_names()  # a script
    with pytest.raises(UserError, match=r"no study of that name.*; did you mean 'movielens_main'"):
        study_file(Path("movielens_man"))
    with pytest.raises(UserError, match=r"its own are .*length, .*movielens_main, "):
        study_file(Path("xyz"))


def test_a_file_that_is_here_comes_first(runs):
    Path("movielens_main").write_text("")
    assert study_file(Path("movielens_main")) == Path("movielens_main")


def test_what_is_installed_comes_from_the_package():
    checkout = Path(__file__).resolve().parents[1]
    assert checkout / "experiments" == named.STUDIES
