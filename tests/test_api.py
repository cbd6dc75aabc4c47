"""The Python interface: every name is found. The documented snippet runs in test_readme.py."""

import ast
import configparser
import importlib
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import recsys_posttrain as rp
from recsys_posttrain.cli import app
from recsys_posttrain.data import RatingsFile


def test_a_world_is_loaded_as_it_is(small_ratings_csv, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    dataset = RatingsFile(str(small_ratings_csv))
    assert rp.load(dataset).corpus.content_hash == dataset.content_hash()


def test_every_name_is_found_and_others_are_not():
    assert {"load", "BC", "Tilt", "Given", "GlobalTime"} < set(rp.__all__)
    assert dir(rp) == sorted([*rp.__all__, "__version__"])
    for name in rp.__all__:
        assert getattr(rp, name).__name__ == name
    for name in ("Nothing", "nothing", "_nothing"):
        with pytest.raises(AttributeError, match=f"has no attribute {name!r}$"):
            getattr(rp, name)
    with pytest.raises(
        AttributeError, match="has no attribute 'pretrian'; did you mean 'pretrain'"
    ):
        rp.pretrian  # noqa: B018


def test_type_checkers_see_every_name_and_no_other():
    """What they read is a list of its own: an import does not wait for it."""
    seen = set()
    for node in ast.parse(Path(rp.__file__).with_suffix(".pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            module = importlib.import_module(node.module)
            seen |= {name for name in vars(module) if name[:1].isupper()}
        elif isinstance(node, ast.ImportFrom):
            seen |= {alias.asname for alias in node.names}
    assert seen == set(rp.__all__)


def test_the_version_is_that_of_the_package():
    config = configparser.ConfigParser()
    config.read(Path(rp.__file__).parents[1] / "setup.cfg")
    assert rp.__version__ == config["metadata"]["version"]
    shown = CliRunner().invoke(app, ["--version"])
    assert shown.stdout == f"recsys-posttrain {rp.__version__}\n"


@pytest.fixture
def frame():
    rows = [(f"u{n % 7}", f"i{n % 5}{n // 7 % 4}", float(n % 5 + 1), 60 * n) for n in range(60)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "score", "time"])
    return frame.drop_duplicates(["user_id", "item_id"], ignore_index=True)


def test_a_data_frame_is_loaded_as_its_file(frame, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    frame.to_csv(tmp_path / "log.csv", index=False)
    split = rp.LeaveOneOut(minimum_item_ratings=1)
    of_frame, of_file = rp.load(frame, split=split), rp.load(tmp_path / "log.csv", split=split)
    for name in ("items_E", "rewards_E", "timestamps_E", "offsets_N1"):
        assert getattr(of_frame.train, name).equal(getattr(of_file.train, name))
    assert of_frame.corpus.item_ids.tolist() == of_file.corpus.item_ids.tolist()


def test_which_column_is_which_tells_prepared_frames_apart(frame, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    frame["watched"] = 6 - frame["score"]
    split = rp.LeaveOneOut(minimum_item_ratings=1)
    by_score, by_watched = (
        rp.load(frame, columns={"rating": name}, split=split) for name in ("score", "watched")
    )
    assert by_score.corpus.content_hash != by_watched.corpus.content_hash
    assert by_watched.train.rewards_E.equal(6 - by_score.train.rewards_E)


def test_what_is_given_in_place_of_something_else_is_named(frame, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    data = rp.load(frame, split=rp.LeaveOneOut(minimum_item_ratings=1))
    pair = rp.pretrain(data, rp.SASRec(dim=8, blocks=1), rp.Training(steps=1))
    policy = pair[0]
    wrong = {
        "data is of the type DataFrame": lambda: rp.pretrain(frame),
        "backbone is the class SASRec": lambda: rp.pretrain(data, rp.SASRec),
        "config is the class RewardFactors": lambda: rp.train_reward(data, rp.RewardFactors),
        "policy is of the type tuple .take its|pair": lambda: rp.posttrain(pair, data, rp.BC(), 0),
        "algorithm is the class ASFT": lambda: rp.posttrain(policy, data, rp.ASFT, None),
        "reward is of the type NoneType": lambda: rp.posttrain(policy, data, rp.ASFT(), None),
        "ranker is of the type Tilt": lambda: rp.evaluate(rp.Tilt(0.1), data),
        "results.'a'. is of the type int": lambda: rp.compare({"a": 3}, control="a"),
        "results is empty": lambda: rp.compare({}, control="a"),
        "columns=.* is for a data frame": lambda: rp.load("ml-100k", columns={"rating": "x"}),
        "no column 'x'": lambda: rp.load(frame, columns={"rating": "x"}),
    }
    for sentence, call in wrong.items():
        with pytest.raises(rp.UserError, match=sentence):
            call()


def test_what_is_printed_of_an_object_is_short(frame, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    data = rp.load(frame, split=rp.LeaveOneOut(minimum_item_ratings=1))
    policy, _ = rp.pretrain(data, rp.SASRec(dim=8, blocks=1), rp.Training(steps=1))
    evaluation = rp.evaluate(policy, data)
    assert repr(data.corpus).startswith("Corpus(the data frame: ")
    assert f"of {len(frame)} events" in repr(data.corpus)
    for value in (data, evaluation):
        assert len(repr(value)) < 300
    table = rp.compare({"Pretrained": evaluation}, control="Pretrained")
    assert repr(table) == table.markdown()
    html = table._repr_html_()
    assert html.count("<table>") == 2
    assert "Pretrained" in html
