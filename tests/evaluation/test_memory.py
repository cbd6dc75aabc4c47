"""Memory of an evaluation is bounded, whatever the catalogue, and the bound changes no result."""

import pytest
import torch

from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.evaluation import expectation, ranking
from recsys_posttrain.evaluation.expectation import expected_unseen
from recsys_posttrain.evaluation.ranking import BLOCK, score_chunks, target_ranks, top_items
from recsys_posttrain.ops.logsumexp import LARGEST_BUFFER, positions_per_chunk
from recsys_posttrain.types import Sequences, Targets

USERS, ITEMS = 300, 997


@pytest.fixture(scope="module")
def world():
    generator = torch.Generator().manual_seed(0)
    states_ND = torch.randn(USERS, 16, generator=generator)
    table_VD = torch.randn(ITEMS, 16, generator=generator)
    table_VD[501:] = table_VD[3:499]  # in different parts of the catalogue; they must tie
    items_E = torch.randint(1, ITEMS + 1, (USERS * 5,), generator=generator)
    offsets_N1 = torch.arange(0, USERS * 5 + 1, 5)
    history = Sequences(items_E, torch.ones(len(items_E)), items_E * 0, offsets_N1)
    target_N = torch.randint(1, ITEMS + 1, (USERS,), generator=generator)
    users_N = torch.arange(USERS)
    return states_ND, table_VD, Targets(history, target_N, users_N.float(), users_N, users_N)


def results(world):
    states_ND, table_VD, targets = world
    seen = Excluded(targets.history.items_E, targets.history.offsets_N1)
    ranks_N = target_ranks(states_ND, table_VD, targets.items_N, seen, item_bias_V=table_VD[:, 0])
    worth_N = expected_unseen(states_ND, table_VD, states_ND[:, :3], table_VD[:, :3], targets)
    return ranks_N, *top_items(states_ND, table_VD, 20, seen), worth_N


@pytest.mark.parametrize("at_a_time", [1, 64, 100, 996])
def test_a_catalogue_in_parts_gives_what_the_whole_gives(world, monkeypatch, at_a_time):
    """Ranks and lists to the bit; expectations to the last digits of float64."""
    ranks_N, items_NK, scores_NK, worth_N = results(world)
    monkeypatch.setattr(ranking, "ITEMS_AT_A_TIME", at_a_time)
    monkeypatch.setattr(expectation, "LARGEST_BUFFER", 8 * ITEMS * 7)  # seven rows at a time
    ranks_again_N, items_again_NK, scores_again_NK, worth_again_N = results(world)
    assert torch.equal(ranks_N, ranks_again_N)
    assert torch.equal(items_NK, items_again_NK)
    assert torch.equal(scores_NK, scores_again_NK)
    torch.testing.assert_close(worth_N, worth_again_N, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("items", "rows"), [(3000, 512), (100_000, 2 * BLOCK)])
def test_more_items_are_fewer_rows(items, rows):
    """335 rows of 100,000 scores fit: two blocks of 128, one row more would be a third."""
    seen = Excluded(*(torch.zeros(count, dtype=torch.int64) for count in (0, 601)))
    chunks = score_chunks(torch.zeros(600, 1), torch.zeros(items, 1), None, seen, None)
    assert len(next(chunks)[1]) == rows
    assert rows * items <= LARGEST_BUFFER


def test_what_holds_several_arrays_takes_fewer_rows():
    """2^25 numbers in all: 512 rows of 2^16, or of 2^14 four times; 128 of 2^16 four times."""
    assert positions_per_chunk(2**16) == 512
    assert positions_per_chunk(2**14, 4) == 512
    assert positions_per_chunk(2**16, 4) == 128
