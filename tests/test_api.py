"""The Python interface: the documented snippet runs, and every name is found."""

import functools
import inspect

import pandas as pd
import pytest

import recsys_posttrain as rp
from recsys_posttrain.data import RatingsFile
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.pretrain import pretrain
from recsys_posttrain.training.reward import train_reward


@pytest.fixture
def small(monkeypatch):
    """The three training functions with small models as their defaults."""
    plan = rp.Training(epochs=2, batch_size=16, patience=2)
    backbone = rp.SASRec(dim=8, blocks=1, feed_forward=16, max_length=10)
    encoder = rp.SASRec(dim=8, blocks=1, feed_forward=16, max_length=10, history_rewards=True)
    reward = rp.RewardEnsemble(encoder, members=2, rank=4, training=plan)
    for function, options in (
        (pretrain, {"backbone": backbone, "training": plan}),
        (train_reward, {"config": reward}),
        (posttrain, {"training": rp.Training(epochs=1, batch_size=16)}),
    ):
        assert set(options) <= inspect.signature(function).parameters.keys()
        name = f"{function.__module__}.{function.__name__}"
        monkeypatch.setattr(name, functools.partial(function, **options))


def snippet():
    lines = [line[4:] for line in rp.__doc__.splitlines() if line.startswith("    ")]
    return "\n".join(lines)


def test_the_documented_snippet_runs(small, small_ratings_csv, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    code = snippet()
    assert code.count('"ml-100k"') == 1
    assert len([line for line in code.splitlines() if line]) < 10, "a notebook in under ten lines"
    names = {}
    exec(code.replace('"ml-100k"', repr(str(small_ratings_csv))), names)
    printed = capsys.readouterr().out
    assert "| ASFT |" in printed
    assert "| Pretrained |" in printed
    rows = names["results"]["ASFT"].per_user
    assert isinstance(rows, pd.DataFrame)
    assert len(rows) == 60
    assert f"{rows['ndcg@10'].mean():.4f}"[1:] in printed
    assert [path.name for path in tmp_path.iterdir()] == ["cache"], "nothing else is left behind"


def test_a_world_is_loaded_as_it_is(small_ratings_csv, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    dataset = RatingsFile(str(small_ratings_csv))
    assert rp.load(dataset).corpus.content_hash == dataset.content_hash()


def test_every_name_is_found_and_others_are_not():
    for name in rp._HOME:
        assert getattr(rp, name).__name__ == name
    for name in ("BC", "RWR", "ExpRSFT", "ASFT", "OfflinePPO", "ExactPPO", "DPO"):
        assert getattr(rp, name)().loss
    for name in ("Nothing", "nothing", "pretrian"):
        with pytest.raises(AttributeError, match=f"has no attribute {name!r}"):
            getattr(rp, name)
