from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from data_factory import made_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_posttrain.data.split import LeaveOneOut, first_events, targets_at, untrained_items
from recsys_posttrain.errors import UserError


def as_lists(sequences):
    offsets = sequences.offsets_N1.tolist()
    fields = sequences.items_E, sequences.rewards_E, sequences.timestamps_E
    events = list(zip(*(each.tolist() for each in fields), strict=True))
    assert offsets[-1] == len(events)
    return [events[a:b] for a, b in pairwise(offsets)]


def test_by_hand():
    # Users: items 1 2 3 4 | 5 6 | 7 8 9 | 10.
    split = LeaveOneOut().split(made_corpus([4, 2, 3, 1]))
    assert split.train.items_E.tolist() == [1, 2, 5, 6, 7, 10]
    assert split.train.offsets_N1.tolist() == [0, 2, 4, 5, 6]
    assert split.validation.users_N.tolist() == [0, 2]
    assert split.validation.items_N.tolist() == [3, 8]
    assert split.validation.rewards_N.tolist() == [1.0, 3.5]
    assert split.validation.times_N.tolist() == [20, 70]
    assert split.validation.history.items_E.tolist() == [1, 2, 7]
    assert split.validation.history.offsets_N1.tolist() == [0, 2, 3]
    assert split.test.users_N.tolist() == [0, 2]
    assert split.test.items_N.tolist() == [4, 9]
    assert split.test.rewards_N.tolist() == [1.5, 4.0]
    assert split.test.times_N.tolist() == [30, 80]
    assert split.test.history.items_E.tolist() == [1, 2, 3, 7, 8]
    assert split.test.history.offsets_N1.tolist() == [0, 3, 5]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=12).filter(lambda n: max(n) >= 3),
    st.integers(1, 5),
)
def test_equals_a_loop_over_users(lengths, positions):
    """More validation positions come out of the training log; one event stays, and the test too."""
    corpus = made_corpus(lengths)
    split = LeaveOneOut(validation_positions=positions).split(corpus)
    train, validation, test = [], [], []
    for user, events in enumerate(as_lists(corpus.sequences)):
        if len(events) < 3:
            train.append(events)
            continue
        first = max(1, len(events) - 1 - positions)
        train.append(events[:first])
        validation += [(user, events[:at], events[at]) for at in range(first, len(events) - 1)]
        test.append((user, events[:-1], events[-1]))
    assert as_lists(split.train) == train
    for targets, expected in ((split.validation, validation), (split.test, test)):
        events = zip(
            *(each.tolist() for each in (targets.items_N, targets.rewards_N, targets.times_N)),
            strict=True,
        )
        users = targets.users_N.tolist()
        assert list(zip(users, as_lists(targets.history), events, strict=True)) == expected


def test_dtypes_are_kept_and_the_corpus_is_not_changed():
    corpus = made_corpus([4, 3])
    before = as_lists(corpus.sequences)
    split = LeaveOneOut().split(corpus)
    assert split.reward is split.train
    assert split.judge is None
    for sequences in (split.train, split.validation.history, split.test.history):
        assert sequences.items_E.dtype == torch.int64
        assert sequences.rewards_E.dtype == torch.float32
        assert sequences.offsets_N1.dtype == torch.int64
    split.train.items_E.fill_(0)
    assert as_lists(corpus.sequences) == before


def test_the_label_says_what_more_validation_positions_cost():
    assert LeaveOneOut().label == "leave-one-out (protocol A)"
    label = LeaveOneOut(validation_positions=4).label
    assert label == "leave-one-out (protocol A) with 4 validation events per user out of training"
    with pytest.raises(UserError, match="LeaveOneOut: validation_positions=0 must be at least 1"):
        LeaveOneOut(validation_positions=0)


def test_nobody_with_three_events():
    with pytest.raises(UserError, match=r"made cannot be split: no user has 3 events .*has 2\)"):
        LeaveOneOut().split(made_corpus([1, 2, 1]))


def test_targets_of_items_without_a_training_event():
    """Items 1 2 1 4 | 2 1 2: trained on 1 2 | 2, validated on 1 and 1, tested on 4 and 2."""
    corpus = replace(made_corpus([4, 3]), repeats="allowed")
    corpus.sequences.items_E.copy_(torch.tensor([1, 2, 1, 4, 2, 1, 2]))
    split = LeaveOneOut().split(corpus)
    assert untrained_items(split, split.validation).tolist() == [False, False]
    assert untrained_items(split, split.test).tolist() == [True, False]
    second_alone = replace(split, train=first_events(corpus.sequences, torch.tensor([0, 1])))
    assert untrained_items(second_alone, split.validation).tolist() == [True, True]


def test_a_users_first_event_as_a_target_has_no_history():
    targets = targets_at(made_corpus([2, 0, 3]), torch.tensor([0, 2, 4]))
    assert targets.users_N.tolist() == [0, 2, 2]
    assert as_lists(targets.history) == [[], [], [(3, 1.0, 20), (4, 1.5, 30)]]


def test_first_events_can_leave_a_sequence_empty():
    kept = first_events(made_corpus([2, 3]).sequences, torch.tensor([0, 2]))
    assert kept.items_E.tolist() == [3, 4]
    assert kept.offsets_N1.tolist() == [0, 0, 2]
