"""The Python interface: every name is found. The documented snippet runs in test_readme.py."""

import pytest

import recsys_posttrain as rp
from recsys_posttrain.data import RatingsFile


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
