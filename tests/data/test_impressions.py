"""Rows that were shown and not chosen: no event, but beside the choice they were with."""

import numpy as np
import pandas as pd
import pytest
import torch

from recsys_posttrain.data import LeaveOneOut, RatingsFile, prepare
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.encode import Encoder
from recsys_posttrain.data.prepare import corpus_of
from recsys_posttrain.data.table_file import interactions_of
from recsys_posttrain.errors import UserError

USERS, EVENTS, ITEMS = 12, 6, 15


def log():
    """Each user chooses six items, one a minute, out of up to four; rows are shuffled. What is not
    chosen has no rating."""
    generator = np.random.default_rng(3)
    rows = []
    for user in range(USERS):
        order = generator.permutation(ITEMS)
        for event in range(EVENTS):
            rows.append((f"u{user}", order[event], 60 * event, generator.integers(1, 6), 1))
            rows += [
                (f"u{user}", item, 60 * event, np.nan, 0)
                for item in order[EVENTS : EVENTS + generator.integers(0, 4)]
            ]
    columns = ["user_id", "item_id", "timestamp", "rating", "chosen"]
    return pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    log().to_csv(folder / "log.csv", index=False)
    source = RatingsFile(str(folder / "log.csv"))
    return [prepare(source, 1, cache=folder) for _ in range(2)][1]  # as it is read back


def beside(corpus, frame, event):
    """By pandas: the ids of what was shown with an event, sorted."""
    user = int(torch.searchsorted(corpus.sequences.offsets_N1, event, right=True)) - 1
    same = frame[
        (frame["user_id"] == corpus.user_ids[user])
        & (frame["timestamp"] == int(corpus.sequences.timestamps_E[event]))
        & (frame["chosen"] == 0)
    ]
    known = set(corpus.item_ids.tolist())
    return sorted(each for each in same["item_id"] if each in known)


def ids_of(corpus, shown, place):
    found = shown.items_S[shown.offsets_E1[place] : shown.offsets_E1[place + 1]]
    return sorted(corpus.item_ids[found.numpy() - 1].tolist())


def test_choices_alone_are_events_and_each_knows_what_it_was_shown_with(corpus):
    frame, sequences = log(), corpus.sequences
    choices = frame[frame["chosen"] == 1]
    assert len(sequences.items_E) == len(choices) == USERS * EVENTS
    ids = corpus.item_ids[sequences.items_E.numpy() - 1]
    for user, own in choices.sort_values("timestamp").groupby("user_id"):
        row = corpus.user_ids.tolist().index(user)
        assert ids[row * EVENTS : (row + 1) * EVENTS].tolist() == own["item_id"].tolist()
    counts = set()
    for event in range(len(sequences.items_E)):
        wanted = beside(corpus, frame, event)
        assert ids_of(corpus, sequences.shown, event) == wanted
        counts.add(len(wanted))
    assert {0, 1, 2, 3} <= counts


def test_a_split_and_a_batch_carry_them_to_the_right_position(corpus):
    data = LeaveOneOut().split(corpus)
    batch = batch_of(data.train, torch.tensor([7, 2]), max_length=2)
    assert batch.shown.counts.sum() > 0
    for place in range(len(batch.action_N)):
        # A window of two actions: the third and the fourth of four training events.
        event = int(batch.user_N[place]) * EVENTS + 2 + int(batch.position_N[place])
        assert corpus.sequences.items_E[event] == batch.action_N[place]
        assert ids_of(corpus, batch.shown, place) == beside(corpus, log(), event)


def test_another_numbering_drops_what_it_does_not_know(corpus):
    number_V1 = torch.arange(corpus.num_items + 1)
    number_V1[3], number_V1[5] = 0, 0
    sequences = corpus.sequences
    found = Encoder(corpus.item_ids, number_V1).sequences(sequences)
    kept = [e for e, item in enumerate(sequences.items_E.tolist()) if item not in (3, 5)]
    assert len(found.items_E) == len(kept) < len(sequences.items_E)
    gone = {corpus.item_ids[2], corpus.item_ids[4]}
    for place, event in enumerate(kept):
        wanted = [each for each in ids_of(corpus, sequences.shown, event) if each not in gone]
        assert ids_of(corpus, found.shown, place) == wanted


def test_what_is_left_out_is_counted(capsys):
    frame = log()
    alone = frame[frame["chosen"] == 0].head(5).assign(timestamp=10**6)
    neither = frame[frame["chosen"] == 0].head(3).assign(timestamp=10**7)
    frame["shown"] = 1
    both = pd.concat([frame, alone.assign(shown=1), neither.assign(shown=0)])
    found = corpus_of(interactions_of(both, {}))
    said = capsys.readouterr().err
    shown = int((frame["chosen"] == 0).sum())
    assert f"{shown + 5:,} rows shown and not chosen: negatives, never history or targets" in said
    assert "5 of them are left out, beside no choice" in said
    assert "3 rows neither shown nor chosen left out" in said
    assert len(found.sequences.items_E) == USERS * EVENTS


def test_a_log_of_choices_alone_is_as_without_the_column():
    frame = log()[lambda each: each["chosen"] == 1]
    found = corpus_of(interactions_of(frame, {})).sequences
    plain = corpus_of(interactions_of(frame.drop(columns="chosen"), {})).sequences
    assert found.shown is None
    assert torch.equal(found.items_E, plain.items_E)


@pytest.mark.parametrize(
    ("change", "columns", "says"),
    [
        (lambda f: f.rename(columns={"chosen": "shown"}), {}, "a column shown, and none that says"),
        (lambda f: f.assign(chosen=f["chosen"] * 2), {}, "chosen must be 0 or 1; row .* has '2'"),
        (
            lambda f: f.assign(chosen=f["chosen"].where(f.index != 3)),
            {},
            "must be 0 or 1; .*nothing",
        ),
        (lambda f: f.assign(chosen=0), {}, "no row is chosen; chosen is 0 in all"),
        (lambda f: f.rename(columns={"chosen": "tap"}), {"chosen": "tip"}, "no column 'tip'"),
        (lambda f: f.rename(columns={"chosen": "tap"}), {}, "the rating must be a finite number"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(change, columns, says):
    with pytest.raises(UserError, match=says):
        interactions_of(change(log()), columns)


def test_a_column_of_another_name_is_named():
    frame = log().rename(columns={"chosen": "tap"})
    assert len(interactions_of(frame, {"chosen": "tap"}).frame) == USERS * EVENTS


def in_slates():
    """Two slates of one user at one time, in one file order; ids are text."""
    rows = [
        ("a", "x", 5, 1, "s1", 3),
        ("a", "y", 5, 0, "s1", 1),
        ("a", "z", 5, 1, "s2", 1),
        ("a", "w", 6, 0, "s2", 2),
        ("a", "y", 6, 0, "s2", 4),
        ("b", "y", 1, 1, "s2", 9),
        ("b", "w", 2, 1, "s3", 8),
        ("b", "x", 2, 0, "s3", 5),
    ]
    columns = ["user_id", "item_id", "timestamp", "chosen", "session", "position"]
    return pd.DataFrame(rows, columns=columns)


def slates_of(sequences, item_ids):
    """By item chosen: its position, and what was shown with it, with positions."""
    shown, found = sequences.shown, {}
    for event, item in enumerate(sequences.items_E.tolist()):
        place = slice(int(shown.offsets_E1[event]), int(shown.offsets_E1[event + 1]))
        names = item_ids[shown.items_S[place].numpy() - 1].tolist()
        beside = dict(zip(names, shown.positions_S[place].tolist(), strict=True))
        found[event, item_ids[item - 1]] = float(shown.positions_E[event]), beside
    return found


def test_a_slate_says_what_was_shown_together_and_positions_go_with_it(tmp_path):
    in_slates().to_csv(tmp_path / "log.csv", index=False)
    source = RatingsFile(str(tmp_path / "log.csv"))
    corpus = [prepare(source, 1, cache=tmp_path) for _ in range(2)][1]
    wanted = {
        (0, "x"): (3.0, {"y": 1.0}),
        (1, "z"): (1.0, {"w": 2.0, "y": 4.0}),
        (2, "y"): (9.0, {}),
        (3, "w"): (8.0, {"x": 5.0}),
    }
    assert slates_of(corpus.sequences, corpus.item_ids) == wanted
    number_V1 = torch.tensor([0, 4, 0, 2, 3])  # of x, z, y, w; without z
    assert corpus.item_ids.tolist() == ["x", "z", "y", "w"]
    ids = np.array(["-", "y", "w", "x"], dtype=object)
    found = Encoder(ids, number_V1).sequences(corpus.sequences)
    kept = {
        (0, "x"): (3.0, {"y": 1.0}),
        (1, "y"): (9.0, {}),
        (2, "w"): (8.0, {"x": 5.0}),
    }
    assert slates_of(found, ids) == kept
    batch = batch_of(corpus.sequences, torch.tensor([0, 1]), 10)
    assert batch.shown.positions_E.tolist() == [1.0, 8.0]
    assert batch.shown.positions_S.tolist() == [2.0, 4.0, 5.0]


def test_without_a_column_of_choices_these_are_other_columns():
    plain = in_slates().drop(columns=["chosen"]).drop_duplicates(["user_id", "item_id"])
    blank = plain.assign(session=None)
    assert corpus_of(interactions_of(blank, {})).sequences.shown is None
    asked = corpus_of(interactions_of(blank, {"position": "position"})).sequences
    assert asked.shown.positions_E.tolist() == plain["position"].tolist()
    assert asked.shown.counts.tolist() == [0] * len(plain)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (dict(session=[None, *"bcdefgh"]), "needs a value in session"),
        (dict(position=[1, 2, 3, 4, 5, 6, 7, None]), "position must be a number in every row"),
        (dict(timestamp=[1, 2, 3, None, 5, 6, 7, 8]), "timestamp"),
    ],
)
def test_an_impression_without_a_session_a_place_or_a_time_is_refused(change, says):
    with pytest.raises(UserError, match=says):
        interactions_of(in_slates().assign(**change), {})
