"""Flat sequences to padded batches, against slow loops over Python lists."""

from itertools import pairwise

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slow_batches import as_lists, flat, padded, slow_batch, times_of

from recsys_posttrain.data.batching import (
    BatchStream,
    batch_of,
    fixed_batches,
    history_batches,
    window,
)
from recsys_posttrain.data.repeats import Rule
from recsys_posttrain.types import History

EVENT = st.tuples(st.integers(1, 9), st.integers(1, 5))
LOG = st.lists(st.lists(EVENT, max_size=8), min_size=1, max_size=7)
FAST = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_a_batch_by_hand():
    log = [[(1, 5), (2, 4)], [(3, 1), (4, 2), (5, 3), (6, 4)], [(7, 5)]]
    batch = batch_of(flat(log), torch.tensor([0, 1]), max_length=2)
    assert batch.history_BT.tolist() == [[4, 5], [1, 0]]
    assert batch.history_rewards_BT.tolist() == [[2, 3], [5, 0]]
    assert batch.history_times_BT.tolist() == [[103, 104], [100, 0]]
    assert batch.actions_BT.tolist() == [[5, 6], [2, 0]]
    assert batch.rewards_BT.tolist() == [[3, 4], [4, 0]]
    assert batch.action_times_BT.tolist() == [[104, 105], [101, 0]]
    assert batch.mask_BT.tolist() == [[True, True], [True, False]]
    assert batch.sequences_B.tolist() == [1, 0]
    assert batch.history == History(
        batch.history_BT, batch.history_rewards_BT, batch.history_times_BT, batch.action_times_BT
    )
    assert batch.action_N.tolist() == [5, 6, 2]
    assert batch.reward_N.tolist() == [3, 4, 4]
    assert batch.time_N.tolist() == [104, 105, 101]
    assert batch.user_N.tolist() == [1, 1, 0]
    assert batch.position_N.tolist() == [0, 1, 0]
    assert batch.is_last_N.tolist() == [False, True, True]
    assert batch.action_N is batch.action_N, "computed once"
    other = batch._replace(actions_BT=batch.actions_BT + 1)
    assert other.action_N.tolist() == [6, 7, 3], "of another batch anew"


@FAST
@given(log=LOG, length=st.integers(1, 9), data=st.data())
def test_window_is_the_latest_events(log, length, data):
    filled = [row for row, sequence in enumerate(log) if sequence]
    if not filled:
        return
    rows = data.draw(st.lists(st.sampled_from(filled), min_size=1))
    items_BT, rewards_BT, times_BT, length_B = window(flat(log), torch.tensor(rows), length)
    latest = [log[row][-length:] for row in rows]
    width = max(map(len, latest))
    assert length_B.tolist() == [len(each) for each in latest]
    assert items_BT.tolist() == padded([[item for item, _ in each] for each in latest], width)
    assert rewards_BT.tolist() == padded([[reward for _, reward in each] for each in latest], width)
    assert times_BT.tolist() == padded([times_of(log, row)[-length:] for row in rows], width)


@FAST
@given(log=LOG, max_length=st.integers(1, 9), data=st.data())
def test_a_batch_is_the_slow_batch(log, max_length, data):
    usable = [row for row, sequence in enumerate(log) if len(sequence) >= 2]
    if not usable:
        return
    rows = data.draw(st.lists(st.sampled_from(usable), min_size=1))
    batch = batch_of(flat(log), torch.tensor(rows), max_length)
    assert as_lists(batch) == slow_batch(log, rows, max_length)


def slow_excluded(log, row, positions, skipped=0):
    """Of the row's last positions: all that stands before the action, without the action itself."""
    items = [item for item, _ in log[row]][: len(log[row]) - skipped]
    actions = range(len(items) - positions, len(items))
    return [[item for item in items[:n] if item != items[n]] for n in actions]


def excluded_of(batch):
    items, ends = batch.excluded.items_E.tolist(), batch.excluded.offsets_N1.tolist()
    return [items[start:stop] for start, stop in pairwise(ends)]


@FAST
@given(log=LOG, max_length=st.integers(1, 9), data=st.data())
def test_what_a_sequence_had_before_an_action_is_excluded(log, max_length, data):
    """In the window or earlier, also where the window ends at an earlier event; items that the user
    chooses again stay eligible where they are chosen."""
    usable = [row for row, sequence in enumerate(log) if len(sequence) >= 2]
    if not usable:
        return
    rows = data.draw(st.lists(st.sampled_from(usable), min_size=1))
    skipped = [data.draw(st.integers(0, len(log[row]) - 2)) for row in rows]
    batch = batch_of(flat(log), torch.tensor(rows), max_length, torch.tensor(skipped), Rule(True))
    order = sorted(range(len(rows)), key=lambda n: -len(log[rows[n]]))
    expected = []
    for row, left in ((rows[n], skipped[n]) for n in order):
        positions = min(len(log[row]) - left - 1, max_length)
        expected += slow_excluded(log, row, positions, left)
    assert excluded_of(batch) == expected


def test_exclusion_by_hand_and_in_every_kind_of_batch():
    """A window of two: of 1 2 1 3, the actions 1 (again) and 3, after [2] and [1, 2, 1]."""
    sequences = flat([[(1, 1), (2, 1), (1, 1), (3, 1)]])
    kinds = (
        batch_of(sequences, torch.tensor([0]), 2, rule=Rule(history=True)),
        *fixed_batches(sequences, 2, 5, rule=Rule(history=True)),
        *BatchStream(sequences, 2, 5, 1, 0, rule=Rule(history=True)),
    )
    assert [excluded_of(batch) for batch in kinds] == [[[2], [1, 2, 1]]] * 3
    assert batch_of(sequences, torch.tensor([0]), 2).excluded is None


def test_windows_up_to_random_events_exclude_what_was_before_them():
    """What comes after the window is no history."""
    log = [[(1 + n, 1) for n in range(9)]] * 40
    stream = BatchStream(flat(log), 3, 40, 3, seed=0, random_windows=0.5, rule=Rule(history=True))
    batches = list(stream)
    for batch in batches:
        expected = [list(range(1, action)) for action in batch.action_N.tolist()]
        assert excluded_of(batch) == expected
    stream.start = 2
    assert excluded_of(next(iter(stream))) == excluded_of(batches[2])


@FAST
@given(log=LOG, size=st.integers(1, 4), max_length=st.integers(1, 9))
def test_measuring_reads_every_sequence_once(log, size, max_length):
    sequences = flat(log)
    usable = [row for row, sequence in enumerate(log) if len(sequence) >= 2]
    longest_first = sorted(usable, key=lambda row: -len(log[row]))
    if usable:
        batches = list(fixed_batches(sequences, max_length, size))
        assert [row for batch in batches for row in batch.sequences_B.tolist()] == longest_first
        assert all(
            as_lists(batch) == slow_batch(log, batch.sequences_B.tolist(), max_length)
            for batch in batches
        )


def test_whole_histories_come_once_longest_first():
    log = [[(1, 5)], [(2, 4), (3, 3), (4, 2)], [(5, 1), (6, 2)]]
    first, second = (
        (rows_B.tolist(), as_lists(past), length_B.tolist())
        for rows_B, past, length_B in history_batches(flat(log), 2, 2)
    )
    times = [[102, 103], [104, 105]], [[103, 103], [105, 105]]
    assert first == ([1, 2], ([[3, 4], [5, 6]], [[3, 2], [1, 2]], *times), [2, 2])
    assert second == ([0], ([[1]], [[5]], [[100]], [[100]]), [1])


def test_the_time_that_follows_a_whole_history_stands_at_its_last_event():
    """Three events, one and two; the targets are at seconds 900, 901 and 902."""
    log = [[(2, 4), (3, 3), (4, 2)], [(1, 5)], [(5, 1), (6, 2)]]
    next_times_N = torch.tensor([900, 901, 902])
    ((rows_B, history, length_B),) = history_batches(flat(log), 10, 5, next_times_N)
    assert (rows_B.tolist(), length_B.tolist()) == ([0, 2, 1], [3, 2, 1])
    assert history.times_BT.tolist() == [[100, 101, 102], [104, 105, 0], [103, 0, 0]]
    assert history.next_times_BT.tolist() == [[101, 102, 900], [105, 902, 0], [901, 0, 0]]


def test_a_window_up_to_an_earlier_event_by_hand():
    """Of 1 2 3 4 5, without the last two: 2 3 -> as history 2, action 3, in a window of 2."""
    log = [[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)], [(6, 1), (7, 2)]]
    batch = batch_of(flat(log), torch.tensor([1, 0]), 1, torch.tensor([0, 2]))
    assert batch.history_BT.tolist() == [[2], [6]]
    assert batch.actions_BT.tolist() == [[3], [7]]
    assert batch.rewards_BT.tolist() == [[3], [2]]
