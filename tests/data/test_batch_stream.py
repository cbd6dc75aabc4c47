"""The stream of training batches: what an epoch holds, where it starts, how full a batch is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from slow_batches import as_lists, flat

from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.errors import UserError


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
