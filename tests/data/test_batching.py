"""Flat sequences to padded batches, against slow loops over Python lists."""

from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_posttrain.data.batching import (
    BatchStream,
    batch_of,
    fixed_batches,
    history_batches,
    window,
)
from recsys_posttrain.data.repeats import Rule
from recsys_posttrain.errors import UserError
from recsys_posttrain.types import History, Sequences

EVENT = st.tuples(st.integers(1, 9), st.integers(1, 5))
LOG = st.lists(st.lists(EVENT, max_size=8), min_size=1, max_size=7)
FAST = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def flat(log):
    """Sequences of a list of lists of (item, reward)."""
    events = [event for sequence in log for event in sequence]
    ends = torch.tensor([0] + [len(sequence) for sequence in log]).cumsum(0)
    return Sequences(
        torch.tensor([item for item, _ in events], dtype=torch.int64),
        torch.tensor([reward for _, reward in events], dtype=torch.float32),
        torch.arange(100, 100 + len(events)),
        ends,
    )


def times_of(log, row):
    """Event e of the whole log happens at second 100 + e."""
    before = sum(len(sequence) for sequence in log[:row])
    return [100 + before + n for n in range(len(log[row]))]


def padded(rows, width, filler=0):
    return [row + [filler] * (width - len(row)) for row in rows]


def slow_batch(log, rows, max_length):
    """The fields of a Batch as nested lists: longest whole sequence first, ties as given."""
    rows = sorted(rows, key=lambda row: -len(log[row]))
    latest = [log[row][-(max_length + 1) :] for row in rows]
    times = [times_of(log, row)[-(max_length + 1) :] for row in rows]
    width = max(len(sequence) for sequence in latest) - 1
    return (
        padded([[item for item, _ in each[:-1]] for each in latest], width),
        padded([[reward for _, reward in each[:-1]] for each in latest], width),
        padded([each[:-1] for each in times], width),
        padded([[item for item, _ in each[1:]] for each in latest], width),
        padded([[reward for _, reward in each[1:]] for each in latest], width),
        padded([each[1:] for each in times], width),
        padded([[True] * (len(each) - 1) for each in latest], width, False),
        rows,
    )


def as_lists(batch):
    return tuple(field.tolist() for field in batch if field is not None)


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


@pytest.fixture
def stream():
    """Ten usable sequences of different lengths, and two that are too short; 3 steps per epoch."""
    lengths = [2, 3, 1, 4, 5, 6, 0, 7, 8, 9, 10, 11]
    log = [[(1 + n % 9, 1 + n % 5)] * length for n, length in enumerate(lengths)]
    return BatchStream(flat(log), max_length=5, batch_size=4, epochs=3, seed=1)


def test_every_usable_sequence_once_per_epoch_and_epochs_differ(stream):
    steps = [batch.sequences_B.tolist() for batch in stream]
    assert (len(stream), stream.steps_per_epoch, len(steps)) == (9, 3, 9)
    epochs = [steps[0:3], steps[3:6], steps[6:9]]
    for epoch in epochs:
        assert [len(rows) for rows in epoch] == [4, 4, 2]
        assert sorted(row for rows in epoch for row in rows) == [0, 1, 3, 4, 5, 7, 8, 9, 10, 11]
    shuffled = {tuple(frozenset(rows) for rows in epoch) for epoch in epochs}
    assert len(shuffled) == 3, "each epoch is a permutation of its own"


@pytest.mark.parametrize("start", range(10))
def test_a_step_is_the_same_batch_wherever_the_stream_starts(stream, start):
    whole = [as_lists(batch) for batch in stream]
    stream.start = start
    assert [as_lists(batch) for batch in stream] == whole[start:]
    assert len(stream) == 9 - start


def test_the_seed_decides_the_order_and_the_global_state_is_left_alone(stream):
    def order(seed):
        same = BatchStream(stream.sequences, 5, 4, 3, seed)
        return [batch.sequences_B.tolist() for batch in same]

    state = torch.get_rng_state()
    first = order(1)
    torch.rand(3)
    assert order(1) == first != order(2)
    torch.set_rng_state(state)
    order(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_shorter_of_steps_and_epochs_ends():
    log = flat([[(1, 1), (2, 1)]] * 3)
    for epochs, steps, length in ((2, None, 6), (None, 4, 4), (2, 4, 4), (1, 4, 3)):
        assert len(BatchStream(log, 5, 1, epochs, 0, steps)) == length


def test_nothing_to_train_on_and_too_small_a_token_budget_are_said(stream):
    with pytest.raises(UserError, match="no user has two training events"):
        BatchStream(flat([[(1, 1)]] * 2), 5, 1, 1, 0)
    with pytest.raises(UserError, match=r"tokens=9 is too few for windows of 5 events; give at l"):
        BatchStream(stream.sequences, 5, 4, 3, seed=1, tokens=9)


def test_a_window_up_to_an_earlier_event_by_hand():
    """Of 1 2 3 4 5, without the last two: 2 3 -> as history 2, action 3, in a window of 2."""
    log = [[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)], [(6, 1), (7, 2)]]
    batch = batch_of(flat(log), torch.tensor([1, 0]), 1, torch.tensor([0, 2]))
    assert batch.history_BT.tolist() == [[2], [6]]
    assert batch.actions_BT.tolist() == [[3], [7]]
    assert batch.rewards_BT.tolist() == [[3], [2]]


def test_the_share_and_spread_of_earlier_windows():
    """40 sequences of items 1..9, windows of 3 and one: of the share 0.5, each of the 6 ends 4..9
    is equally likely, so 5/12 end before 9. A short sequence is read whole."""
    steps, share = 50, 0.5
    log = [[(1 + n, 1) for n in range(9)]] * 40 + [[(1, 1), (2, 1)]]
    stream = BatchStream(flat(log), 3, 41, steps, seed=0, random_windows=share)
    ends = []
    for batch in stream:
        assert batch.sequences_B[-1] == 40
        assert batch.mask_BT.sum(dim=1).tolist() == [3] * 40 + [1]
        ends += batch.actions_BT[:40, 2].tolist()
        assert (batch.actions_BT[:40, 2] - batch.history_BT[:40, 0] == 3).all()
    count = torch.tensor([ends.count(end) for end in range(1, 10)]) / (steps * 40)
    expected = torch.tensor([0, 0, 0] + [share / 6] * 5 + [1 - share * 5 / 6])
    deviation = (expected * (1 - expected) / (steps * 40)).sqrt()
    assert ((count - expected).abs() <= 5 * deviation).all()
    stream.start = 30
    again = [end for batch in stream for end in batch.actions_BT[:40, 2].tolist()]
    assert again == ends[30 * 40 :], "a function of the step, wherever the stream starts"


def test_batches_of_equally_many_positions(stream):
    """Windows of 1, 2, 3, 4 and six times 5 positions: 40 of them, in batches of at most 15 and a
    window more, as many in every epoch; every sequence once per epoch, and resuming is exact."""
    filled = BatchStream(stream.sequences, 5, 4, 3, seed=1, tokens=15)
    assert (filled.steps_per_epoch, len(filled)) == (3, 9)
    batches = list(filled)
    for first in (0, 3, 6):
        epoch = batches[first : first + 3]
        sizes = [len(batch.action_N) for batch in epoch]
        assert sum(sizes) == 40
        assert all(40 / 3 - 5 < size < 40 / 3 + 5 for size in sizes)
        rows = [row for batch in epoch for row in batch.sequences_B.tolist()]
        assert sorted(rows) == [0, 1, 3, 4, 5, 7, 8, 9, 10, 11]
    for start in (1, 4, 8):
        filled.start = start
        assert [as_lists(batch) for batch in filled] == [as_lists(b) for b in batches[start:]]


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=40).filter(lambda each: max(each) >= 2),
    st.integers(1, 6),
    st.integers(2, 5),
)
def test_no_batch_of_a_token_budget_is_empty_or_far_too_full(lengths, max_length, windows):
    tokens = windows * max_length
    log = flat([[(1, 1)] * length for length in lengths])
    stream = BatchStream(log, max_length, 1, 1, seed=0, tokens=tokens)
    sizes = [len(batch.action_N) for batch in stream]
    assert len(sizes) == stream.steps_per_epoch == -(-sum(sizes) // tokens)
    assert 0 < min(sizes) <= max(sizes) < tokens + max_length
