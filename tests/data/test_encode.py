"""Another numbering of the same items: every event keeps its id, or is counted as left out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from data_factory import made_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.data.encode import encode, encoder, same_items
from recsys_posttrain.errors import UserError

# User n's events happen at 100 n, 100 n + 1, ...; the reward names the user.
LISTS = [["a", "b", "c", "d"], ["b", "x", "c"], ["x", "y", "z"], ["d", "a", "b", "c"]]


def corpus_of(lists, item_ids):
    rows = [(n, place, item) for n, each in enumerate(lists) for place, item in enumerate(each)]
    return made_corpus(
        [len(each) for each in lists],
        items=[list(item_ids).index(item) + 1 for *_, item in rows],
        rewards=[n for n, *_ in rows],
        times=[100 * n + place for n, place, _ in rows],
        user_ids=np.array([f"u{n}" for n in range(len(lists))], dtype=object),
        item_ids=np.array(item_ids, dtype=object),
    )


def events_of(sequences, item_ids):
    """(row, item's id, reward, time) of every event."""
    rows = torch.arange(len(sequences)).repeat_interleave(sequences.lengths_N).tolist()
    items = [str(item_ids[item - 1]) for item in sequences.items_E.tolist()]
    others = sequences.rewards_E.tolist(), sequences.timestamps_E.tolist()
    return list(zip(rows, items, *others, strict=True))


@given(st.permutations("abcdxyz"), st.permutations("abcdxyz"), st.integers(3, 7))
@settings(max_examples=40, deadline=None)
def test_every_event_keeps_its_id_or_is_left_out(ours, theirs, known):
    corpus, item_ids = corpus_of(LISTS, list(ours)), np.array(theirs[:known], dtype=object)
    found = encoder(corpus, item_ids, known)
    encoded = corpus if found is None else found.corpus(corpus)
    kept = [event for event in events_of(corpus.sequences, ours) if event[1] in theirs[:known]]
    assert events_of(encoded.sequences, theirs) == kept
    assert len(encoded.sequences) == len(LISTS)
    assert (found is None) == (list(ours) == list(theirs[:known]))


def test_a_split_by_hand_and_what_it_says(capsys):
    """z, y and x are unknown: the third user keeps nothing, the second loses the validation target.
    The targets of the others stay; ids compare as text."""
    corpus = corpus_of(LISTS, list("abcdxyz"))
    data = LeaveOneOut().split(corpus)
    encoded = encode(data, np.array(list("dcba"), dtype=object))
    assert encoded.corpus.item_ids.tolist() == list("dcba")
    assert encoded.reward is encoded.train
    assert events_of(encoded.train, "dcba") == [
        *((0, "a", 0.0, 0), (0, "b", 0.0, 1), (1, "b", 1.0, 100)),
        *((3, "d", 3.0, 300), (3, "a", 3.0, 301)),
    ]
    assert encoded.validation.users_N.tolist() == [0, 3]
    assert encoded.test.users_N.tolist() == [0, 1, 3]
    assert ["dcba"[n - 1] for n in encoded.test.items_N.tolist()] == ["d", "c", "c"]
    assert events_of(encoded.test.history, "dcba")[3:4] == [(1, "b", 1.0, 100)]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "made: items are matched with the policy's by id; left out: 4 events on 3 items that the "
        "policy does not know ('x', 'y', 'z'), and 1 user with no other ('u2'), so 3 of 8 targets\n"
    )
    assert encode(encoded, encoded.corpus.item_ids) is encoded
    assert capsys.readouterr().err == ""


def test_text_and_numbers_are_one():
    assert same_items(np.array([1, 2]), np.array(["1", "2"], dtype=object))
    assert not same_items(np.array([1, 2]), np.array([2, 1]))
    corpus = corpus_of([["1", "2", "3"]], ["1", "2", "3"])
    found = encoder(corpus, np.array([3, 1]), 2)
    assert found.number_V1.tolist() == [0, 2, 0, 1]


def test_mistakes_are_one_sentence_each():
    corpus = corpus_of(LISTS, list("abcdxyz"))
    with pytest.raises(UserError, match=r"made: none of its items is known .* such as 'q'"):
        encoder(corpus, np.array(["q"]), 1)
    with pytest.raises(UserError, match=r"the policy knows 6 items and made has 7"):
        encoder(corpus, None, 6)
    assert encoder(corpus, None, 7) is None
    with pytest.raises(UserError, match=r"made: no validation target is of an item that the pol"):
        encode(LeaveOneOut().split(corpus), np.array(["a"]))


def test_exact_times_go_with_their_events():
    corpus = corpus_of([["a", "x", "b"], ["x", "c"]], list("abcx"))
    finer = replace(corpus, ticks_E=torch.tensor([5, 6, 7, 8, 9]), ticks_per_second=10)
    encoded = encoder(finer, np.array(list("cba"), dtype=object), 3).corpus(finer)
    assert encoded.ticks_E.tolist() == [5, 7, 9]
    assert encoded.ticks_per_second == 10
