"""Where every event goes under one cut for all, by hand and against a loop over events."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from data_factory import made_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_posttrain.data import GlobalTime
from recsys_posttrain.errors import UserError

ALL = GlobalTime(targets_per_user=None)


def corpus_of(times):
    """Users with events at these seconds; event e of all has item e + 1 and reward e / 2."""
    assert all(user == sorted(user) for user in times)
    return made_corpus([len(user) for user in times], times=times)


def histories(split, part):
    """(user, target item, items of its history), in the order of the targets."""
    targets = getattr(split, part)
    parts = targets.history.items_E.split(targets.history.lengths_N.tolist())
    users, items = targets.users_N.tolist(), targets.items_N.tolist()
    return list(zip(users, items, [each.tolist() for each in parts], strict=True))


# Ten events: shares .5, .3 and .2 cut at the sixth and the ninth in time order, seconds 60 and 80.
#         items  1   2   3   4   5    6   7   8   9   10
BY_HAND = [[10, 20, 60, 60, 90], [30, 40, 50, 70, 80]]
HALF = GlobalTime(0.5, 0.3, 0.2, minimum_history=2, targets_per_user=None)


def test_by_hand():
    split = HALF.split(corpus_of(BY_HAND))
    assert split.train.items_E.tolist() == [1, 2, 6, 7, 8]
    assert split.train.offsets_N1.tolist() == [0, 2, 5]
    # Second 60, the cut's own, comes after it; of two in one second the file's first is first.
    assert histories(split, "validation") == [(0, 3, [1, 2]), (0, 4, [1, 2, 3]), (1, 9, [6, 7, 8])]
    assert histories(split, "test") == [(0, 5, [1, 2, 3, 4]), (1, 10, [6, 7, 8, 9])]
    assert split.test.times_N.tolist() == [90, 80]
    assert split.test.rewards_N.tolist() == [2.0, 4.5]
    assert split.reward is split.train
    assert split.judge is None


def test_a_user_needs_enough_earlier_events():
    corpus = corpus_of(BY_HAND)
    three = replace(HALF, minimum_history=3).split(corpus)
    three.train.items_E.fill_(0)
    assert histories(three, "validation") == [(0, 4, [1, 2, 3]), (1, 9, [6, 7, 8])]
    four = replace(HALF, minimum_history=4)
    with pytest.raises(UserError, match="nobody has 4 events before one in the validation part"):
        four.split(corpus)
    assert corpus.sequences.items_E.tolist() == list(range(1, 11)), "it is not changed"


def test_a_user_who_comes_after_the_cut_has_targets_and_no_training_events():
    split = replace(HALF, minimum_history=1).split(corpus_of([[1, 2, 3, 4, 5], [6, 6, 7, 8, 9]]))
    assert split.train.lengths_N.tolist() == [5, 0]
    assert histories(split, "validation") == [(1, 7, [6]), (1, 8, [6, 7])]
    assert histories(split, "test") == [(1, 9, [6, 7, 8]), (1, 10, [6, 7, 8, 9])]


sittings = st.lists(st.lists(st.integers(0, 30), max_size=14).map(sorted), min_size=1, max_size=8)
shares = st.tuples(*[st.integers(1, 8)] * 3).map(lambda n: tuple(each / sum(n) for each in n))


@settings(deadline=None, max_examples=150)
@given(sittings, shares, st.integers(1, 6), st.sampled_from([None, 1, 3]), st.integers(0, 2))
def test_nothing_leaks_and_every_event_is_where_it_belongs(times, parts, minimum, most, seed):
    if not any(times):
        return
    plan, corpus = GlobalTime(*parts, minimum, most, seed), corpus_of(times)
    every = sorted(second for user in times for second in user)
    cuts = [
        every[min(len(every) - 1, round(len(every) * share))]
        for share in (parts[0], parts[0] + parts[1])
    ]
    expected = {"validation": [], "test": []}
    train, item = [], 0
    for user, seconds in enumerate(times):
        before = []
        for second in seconds:
            item += 1
            if second < cuts[0]:
                train.append(item)
            elif len(before) >= minimum:
                part = "test" if second >= cuts[1] else "validation"
                expected[part].append((user, item, before.copy()))
            before.append(item)
    if not (train and all(expected.values())):
        with pytest.raises(UserError, match="made cannot be split by time"):
            plan.split(corpus)
        return
    split = plan.split(corpus)
    assert split.train.items_E.tolist() == train
    assert len(split.train) == len(times)
    for part, wanted in expected.items():
        found = histories(split, part)
        if most is None:
            assert found == wanted
        else:  # a sample of these, in their order, with all that the cap allows
            assert found == [each for each in wanted if each in found]
            counts, had = (np.bincount([each[0] for each in part]) for part in (wanted, found))
            assert had.tolist() == counts.clip(max=most).tolist()
        earliest = int(getattr(split, part).times_N.min())
        assert int(split.train.timestamps_E.max()) < earliest
    assert int(split.validation.times_N.max()) < int(split.test.times_N.min())


def test_the_cap_draws_each_target_equally_often_and_by_the_seed_alone():
    corpus = corpus_of([[*range(5), *range(100, 110), *range(200, 210)]])
    plan = GlobalTime(0.2, 0.4, 0.4, 5, targets_per_user=3)
    again = [plan.split(corpus).test.items_N.tolist() for _ in range(2)]
    assert again[0] == again[1]
    draws = [replace(plan, seed=seed).split(corpus) for seed in range(200)]
    for part, first in (("validation", 6), ("test", 16)):
        items = torch.cat([getattr(split, part).items_N for split in draws])
        counts = torch.bincount(items - first, minlength=10)
        assert len(counts) == 10
        # Binomial(200, .3): 60 with a deviation of 6.5; four of them for ten counts at once.
        assert (counts - 60).abs().max() <= 26
    pairs = ((split.validation.items_N - 6, split.test.items_N - 16) for split in draws)
    assert not all(torch.equal(*pair) for pair in pairs), "the two parts have draws of their own"


SHARES = (
    r"^GlobalTime: the shares train=0.8, validation=0.1, test=0.2 must each be above 0 and sum to "
    r"1, not to 1.1\."
)
LONG = [[1, 2, 3, 4, 5, 6, 7], [8], [9], [10]]


@pytest.mark.parametrize(
    ("plan", "times", "message"),
    [
        (GlobalTime(0.8, 0.1, 0.2), BY_HAND, SHARES),
        (GlobalTime(0.9, 0.1, 0.0), BY_HAND, "test=0 must each be above 0"),
        (ALL, [[7, 7, 7], [7, 7]], r"no event is earlier than the first cut \(second 7\)"),
        (ALL, BY_HAND, "nobody has 5 events before one in the validation part"),
        (GlobalTime(0.4, 0.3, 0.3, 3), LONG, "nobody has 3 events before one in the test part"),
    ],
)
def test_what_cannot_be_split(plan, times, message):
    with pytest.raises(UserError, match=message):
        plan.split(corpus_of(times))


@pytest.mark.parametrize("field", ["minimum_history", "targets_per_user"])
def test_fields_that_make_no_sense(field):
    with pytest.raises(UserError, match=f"GlobalTime: {field}=0 must be at least 1"):
        GlobalTime(**{field: 0})


def test_labels():
    assert GlobalTime().label == (
        "global time (0.8/0.1/0.1 of the events, at most 10 targets per user)"
    )
    assert ALL.label == "global time (0.8/0.1/0.1 of the events, all later targets)"
