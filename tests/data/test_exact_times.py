"""Events within one second keep their true order, wherever two times are compared."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_posttrain.data import (
    GlobalTime,
    LeaveOneOut,
    MovieLens1M,
    MovieLens100K,
    RatingsFile,
    audit,
    prepare,
)

HEADER = "user_id,item_id,rating,timestamp\n"
# Newest first in the file: a, b, c in truth.
FRACTIONS = {
    "seconds": ["1700000000.9", "1700000000.5", "1700000000.1"],
    "dates": [f"2024-01-31T12:00:00.{tenth}00Z" for tenth in (9, 5, 1)],
    "milliseconds": ["1700000000900", "1700000000500", "1700000000100"],
    "microseconds": ["1700000000000009", "1700000000000005", "1700000000000001"],
    "nanoseconds": ["1700000000000000003", "1700000000000000002", "1700000000000000001"],
}


def corpus_of(tmp_path, rows):
    path = tmp_path / "mine.csv"
    path.write_text(HEADER + rows)
    return prepare(RatingsFile(str(path)), minimum_item_ratings=1)


def items(corpus, items_N):
    return [str(corpus.item_ids[item - 1]) for item in items_N.tolist()]


@pytest.mark.parametrize("times", FRACTIONS.values(), ids=list(FRACTIONS))
def test_history_is_in_true_order_and_the_target_is_the_latest(times, tmp_path):
    rows = "".join(f"1,{item},3,{time}\n" for item, time in zip("cba", times, strict=True))
    corpus = corpus_of(tmp_path, rows)
    assert items(corpus, corpus.sequences.items_E) == ["a", "b", "c"]
    split = LeaveOneOut(1).split(corpus)
    assert items(corpus, split.test.items_N) == ["c"]
    assert items(corpus, split.test.history.items_E) == ["a", "b"]
    second = 1_706_702_400 if "T" in times[0] else 1_700_000_000
    assert corpus.sequences.timestamps_E.tolist() == [second] * 3  # what models read


def test_an_item_twice_within_a_second_is_no_duplicate(tmp_path):
    rows = "1,a,5,1700000000.1\n1,a,4,1700000000.7\n1,b,4,1700000001.7\n"
    corpus = corpus_of(tmp_path, rows)
    assert corpus.sequences.rewards_E.tolist() == [5.0, 4.0, 4.0]
    assert corpus.sequences.timestamps_E.tolist() == [1700000000, 1700000000, 1700000001]


def test_a_global_cut_separates_events_of_one_second(tmp_path):
    """Ten events a tenth of a second apart, two users in turn: cuts at the sixth and the ninth."""
    rows = "".join(f"{n % 2},{n},3,1700000000.{n}\n" for n in (7, 3, 0, 9, 1, 8, 2, 6, 4, 5))
    corpus = corpus_of(tmp_path, rows)
    split = GlobalTime(0.5, 0.3, 0.2, minimum_history=2, targets_per_user=None).split(corpus)
    parts = split.train.items_E, split.validation.items_N, split.test.items_N
    assert ["".join(sorted(items(corpus, part))) for part in parts] == ["01234", "567", "89"]


def test_audit_counts_ties_of_the_exact_time(tmp_path):
    rows = "1,a,3,0.1\n1,b,3,0.2\n1,c,3,0.2\n1,d,3,3600.1\n2,a,3,0.5\n2,b,3,3600.6\n"
    figures = audit(corpus_of(tmp_path, rows))
    assert figures["tied_with_previous"] == pytest.approx(1 / 6)
    assert figures["shares_time"] == pytest.approx(2 / 6)
    assert figures["users_within_an_hour"] == pytest.approx(1 / 2)  # 3600.0 s, and 3600.1 s
    # Training: a, b of the first at .1 and .2, both of the second at .5 and 3600.6; the target of
    # the first is at 3600.1, so 1 of 4 is later.
    assert figures["train_after_test"] == pytest.approx(1 / 4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3 * 10**9), min_size=2, max_size=12, unique=True))
def test_order_is_that_of_the_nanoseconds(tmp_path_factory, nanoseconds):
    """Written as decimal seconds; the expected order is that of whole numbers in Python."""
    written = [f"{1_700_000_000 + t // 10**9}.{t % 10**9:09d}" for t in nanoseconds]
    rows = "".join(f"1,i{n},3,{time}\n" for n, time in enumerate(written))
    corpus = corpus_of(tmp_path_factory.mktemp("order"), rows)
    expected = sorted(range(len(nanoseconds)), key=nanoseconds.__getitem__)
    assert items(corpus, corpus.sequences.items_E) == [f"i{n}" for n in expected]
    assert (np.diff(corpus.times_E.to(torch.int64)) > 0).all()


def test_duplicates_are_kept_as_asked_and_change_the_identity(tmp_path, cache, capsys):
    path = tmp_path / "mine.csv"
    path.write_text(HEADER + "1,a,1,7\n1,b,3,8\n1,a,2,7\n1,a,5,7\n")
    refused = RatingsFile(str(path))
    first, last = (replace(refused, duplicates=rule) for rule in ("first", "last"))
    kept = {"first": [1.0, 3.0], "last": [5.0, 3.0]}
    for source in (first, last):
        corpus = prepare(source, 1)
        reward_E = corpus.reward_scale.from_stars(corpus.sequences.rewards_E.double())
        assert reward_E.tolist() == pytest.approx(kept[source.duplicates])
        said = capsys.readouterr().err
        assert f"2 duplicate events left out, the {source.duplicates} of each is kept" in said
    assert len({source.content_hash() for source in (refused, first, last)}) == 3
    assert len(list((cache / "prepared").iterdir())) == 2
    assert refused.content_hash() == hashlib.sha256(path.read_bytes()).hexdigest()


# Of the tensors and ids before times were kept exactly.
MOVIELENS = {
    "ml-100k": "f9e0ca453beb9f0d270c9f66f6d0abc1f81cfcc339214bf0bb95509aa8bff5e8",
    "ml-1m": "691e801ce8ebcc19156865de7d4cc4d99897c9f1f4f75475aa424d047bed904d",
}


@pytest.mark.parametrize("dataset", [MovieLens100K, MovieLens1M])
def test_movielens_is_what_it_was(dataset, shared_data):
    corpus = prepare(dataset(str(shared_data)))
    content = hashlib.sha256()
    for name in ("items_E", "rewards_E", "timestamps_E", "offsets_N1"):
        content.update(getattr(corpus.sequences, name).numpy().tobytes())
    for ids in (corpus.user_ids, corpus.item_ids):
        content.update(repr(ids.tolist()).encode())
    assert content.hexdigest() == MOVIELENS[corpus.name]
    assert corpus.ticks_E is None
