import errno
import hashlib
import json
from collections import Counter
from dataclasses import dataclass

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

from recsys_posttrain.data import MovieLens1M, MovieLens100K, MovieLensSmall, RatingsFile, prepare
from recsys_posttrain.errors import UserError
from recsys_posttrain.types import Interactions

# user, item, rating, timestamp; b rates x and z in the same second, in this order.
ROWS = [
    ("b", "x", 5.0, 50),
    ("a", "y", 1.0, 30),
    ("b", "z", 2.0, 50),
    ("a", "x", 4.0, 10),
    ("b", "y", 3.5, 40),
    ("a", "w", 3.0, 20),
    ("c", "z", 2.5, 5),
]


@dataclass(frozen=True)
class Made:
    """Rows in memory as a dataset."""

    rows: tuple[tuple[str, str, float, int], ...] = tuple(ROWS)
    name: str = "made"

    def content_hash(self):
        return hashlib.sha256(repr(self.rows).encode()).hexdigest()

    def load(self):
        frame = pd.DataFrame(self.rows, columns=["user_id", "item_id", "rating", "timestamp"])
        return Interactions(self.name, frame, self.content_hash())


TENSORS = ("items_E", "rewards_E", "timestamps_E", "offsets_N1")


def same(one, other):
    return all(torch.equal(getattr(one.sequences, t), getattr(other.sequences, t)) for t in TENSORS)


def test_by_hand():
    corpus = prepare(Made(), minimum_item_ratings=1)
    assert corpus.user_ids.tolist() == ["b", "a", "c"]
    assert corpus.item_ids.tolist() == ["x", "y", "z", "w"]
    assert corpus.sequences.offsets_N1.tolist() == [0, 3, 6, 7]
    # b: y at 40, then x before z as in the file; a: x, w, y; c: z.
    assert corpus.sequences.items_E.tolist() == [2, 1, 3, 1, 4, 2, 3]
    assert corpus.sequences.rewards_E.tolist() == [3.5, 5.0, 2.0, 4.0, 3.0, 1.0, 2.5]
    assert corpus.sequences.timestamps_E.tolist() == [40, 50, 50, 10, 20, 30, 5]
    kinds = [getattr(corpus.sequences, name).dtype for name in TENSORS]
    assert kinds == [torch.int64, torch.float32, torch.int64, torch.int64]
    assert corpus.content_hash == Made().content_hash()
    assert (corpus.name, corpus.num_items) == ("made", 4)


def test_items_with_too_few_ratings_are_dropped_in_one_pass():
    """w has one rating and goes; nothing else is, whatever that leaves its user with. A user who
    loses every event disappears."""
    corpus = prepare(Made(), minimum_item_ratings=2)
    assert corpus.item_ids.tolist() == ["x", "y", "z"]
    assert corpus.sequences.items_E.tolist() == [2, 1, 3, 1, 2, 3]
    assert corpus.sequences.offsets_N1.tolist() == [0, 3, 5, 6]
    corpus = prepare(Made((*ROWS, ("d", "v", 1.0, 1))), minimum_item_ratings=2)
    assert corpus.user_ids.tolist() == ["b", "a", "c"]


def test_long_ties_keep_the_order_of_the_file():
    items = np.random.default_rng(0).permutation(500)
    rows = tuple(("u", f"i{item}", 1.0, 7) for item in items)
    corpus = prepare(Made(rows), minimum_item_ratings=1)
    assert corpus.item_ids.tolist() == [f"i{item}" for item in items]
    assert corpus.sequences.items_E.tolist() == list(range(1, 501))


def test_against_a_loop_over_users(small_ratings_csv):
    corpus = prepare(RatingsFile(str(small_ratings_csv)), minimum_item_ratings=9)
    lines = [line.split(",") for line in small_ratings_csv.read_text().splitlines()[1:]]
    counts = Counter(item for _, item, _, _ in lines)
    assert min(counts.values()) < 9  # otherwise the filter would not be tested
    kept = [line for line in lines if counts[line[1]] >= 9]
    users = list(dict.fromkeys(line[0] for line in kept))
    items = list(dict.fromkeys(line[1] for line in kept))
    offsets = corpus.sequences.offsets_N1.tolist()
    assert [str(user) for user in corpus.user_ids] == users
    assert [str(item) for item in corpus.item_ids] == items
    for user, start, end in zip(users, offsets[:-1], offsets[1:], strict=True):
        events = sorted((line for line in kept if line[0] == user), key=lambda line: int(line[3]))
        expected = [items.index(line[1]) + 1 for line in events]
        assert corpus.sequences.items_E[start:end].tolist() == expected
        rewards = corpus.sequences.rewards_E[start:end].tolist()
        assert rewards == [float(line[2]) for line in events]


def test_reuse_neither_parses_nor_changes_nor_says_anything(cache, monkeypatch, capsys):
    first = prepare(Made(), 1)
    monkeypatch.setattr(Made, "load", None)  # the source is not parsed again
    again = prepare(Made(), 1)
    assert same(first, again)
    assert again.item_ids.tolist() == first.item_ids.tolist()
    assert "".join(capsys.readouterr()) == ""
    again.sequences.items_E[0] = 99  # a view of the mapped file would crash here
    assert prepare(Made(), 1).sequences.items_E[0] == 2


def test_other_content_or_filter_is_prepared_anew(cache):
    prepare(Made(), 1)
    prepare(Made(), 2)
    corpus = prepare(Made(tuple(ROWS[:-1])), 1)
    assert len(corpus.sequences) == 2
    assert len(list((cache / "prepared").iterdir())) == 3


def test_what_is_on_disk(cache, tmp_path):
    prepare(Made(), 1, cache=tmp_path / "elsewhere")
    (folder,) = (tmp_path / "elsewhere" / "prepared").iterdir()
    assert not cache.exists()
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["content_hash"] == Made().content_hash()
    assert provenance["minimum_item_ratings"] == 1
    users = datasets.load_from_disk(folder / "users")
    assert users.column_names == ["user_id", "items", "rewards", "times"]
    events = {"items": [1, 4, 2], "rewards": [4.0, 3.0, 1.0], "times": [10, 20, 30]}
    assert users[1] == {"user_id": "a", **events}
    other = prepare(Made(tuple(ROWS[:-1])), 1, cache=tmp_path / "elsewhere")
    assert len(other.sequences) == 2
    fingerprints = {
        datasets.load_from_disk(path / "users")._fingerprint
        for path in (tmp_path / "elsewhere" / "prepared").iterdir()
    }
    assert len(fingerprints) == 2  # one per content


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "no provenance"])
def test_damaged_prepared_data_is_prepared_again(damage, cache, capsys):
    good = prepare(Made(), 1)
    (folder,) = (cache / "prepared").iterdir()
    arrow = next((folder / "users").glob("*.arrow"))
    body = bytearray(arrow.read_bytes())
    if damage == "flip":
        body[len(body) // 2] ^= 1
        arrow.write_bytes(bytes(body))
    elif damage == "truncate":
        arrow.write_bytes(bytes(body[:-64]))
    elif damage == "remove":
        arrow.unlink()
    else:
        (folder / "provenance.json").unlink()
    capsys.readouterr()
    assert same(prepare(Made(), 1), good)
    assert "is damaged; preparing it again" in capsys.readouterr().err
    prepare(Made(), 1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("failure", "seen"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), UserError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_interruption_leaves_nothing_behind(failure, seen, cache, monkeypatch):
    real = datasets.Dataset.save_to_disk

    def stop_at_the_second(self, path, **options):
        if path.name == "items":
            raise failure
        real(self, path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(datasets.Dataset, "save_to_disk", stop_at_the_second)
        with pytest.raises(seen) as raised:
            prepare(Made(), 1)
    if seen is UserError:
        assert str(cache / "prepared") in str(raised.value)
        assert "the disk is full" in str(raised.value)
        assert str(raised.value).endswith("choose another folder with RECSYS_POSTTRAIN_CACHE")
    assert list((cache / "prepared").iterdir()) == []
    assert len(prepare(Made(), 1).sequences) == 3


def test_another_process_that_finishes_first_wins(cache, monkeypatch):
    real = Made.load

    def overtaken(self):
        monkeypatch.setattr(Made, "load", real)
        prepare(Made(), 1)
        return real(self)

    monkeypatch.setattr(Made, "load", overtaken)
    assert len(prepare(Made(), 1).sequences) == 3
    assert len(list((cache / "prepared").iterdir())) == 1


def test_no_item_has_enough_ratings(cache):
    with pytest.raises(UserError, match=r"with 4 ratings or more \(the most is 2\); lower"):
        prepare(Made(), 4)
    assert not (cache / "prepared").exists()
    with pytest.raises(UserError, match="minimum_item_ratings is 0; give 1"):
        prepare(Made(), 0)


def test_protocol_a_on_movielens_1m(shared_data):
    corpus = prepare(MovieLens1M(str(shared_data / "ml-1m.zip")), 5)
    assert len(corpus.sequences.items_E) == 999_611
    assert corpus.num_items == 3_416
    assert len(corpus.sequences) == 6_040
    assert corpus.sequences.items_E.min() == 1
    assert corpus.sequences.items_E.max() == 3_416


@pytest.mark.parametrize(
    ("dataset", "rows", "users", "items"),
    [(MovieLens100K, 100_000, 943, 1_682), (MovieLensSmall, 100_836, 610, 9_724)],
)
def test_sizes_of_the_small_sets(dataset, rows, users, items, shared_data):
    corpus = prepare(dataset(str(shared_data)), 1)
    assert len(corpus.sequences.items_E) == rows
    assert len(corpus.sequences) == users
    assert corpus.num_items == items
