"""The share of the loss on old events, by hand and through training."""

import copy

import pytest
import torch

from recsys_posttrain.algorithms import BC, DPO
from recsys_posttrain.algorithms.actors import Actors, logged_rewards
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.newest import NEITHER, NEW, OLD, PART
from recsys_posttrain.logged import Signals
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.ops.softmax import masked_mean
from recsys_posttrain.training.replay import Replayed, replay_weights


@pytest.mark.parametrize(
    ("new", "old", "share", "expected"),
    [
        ([1, 0, 0, 0], [0, 1, 1, 1], 0.25, [3, 1 / 3, 1 / 3, 1 / 3]),
        ([1, 1, 0, 0], [0, 0, 1, 0], 0.5, [0.75, 0.75, 1.5, 0]),
        ([1, 0, 0], [0, 1, 1], 0.0, [3, 0, 0]),
        ([0, 0], [1, 0], 0.5, [1, 0]),
        ([0, 0], [1, 1], 0.0, [0, 0]),
        ([1, 1], [0, 0], 0.5, [1, 1]),
        ([0, 0], [0, 0], 0.5, [0, 0]),
    ],
)
def test_weights_by_hand(new, old, share, expected):
    weight_N = replay_weights(torch.tensor(new).bool(), torch.tensor(old).bool(), share)
    assert weight_N.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("method", [BC(), DPO()])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.8])
def test_the_loss_is_a_mean_over_each_part(tiny, method, share):
    """Of what the method itself counts: DPO finds no pair at some positions."""
    batch = batch_of(tiny.data.train, torch.arange(16), 10)
    count = len(batch.action_N)
    generator = torch.Generator().manual_seed(1)
    part_N = torch.tensor([NEITHER, NEW, OLD])[torch.randint(3, (count,), generator=generator)]
    log = logged_rewards(tiny.data.train, tiny.data.corpus.num_items)
    actors = Actors(FrozenPolicy(copy.deepcopy(tiny.policy)), tiny.reward, log)
    labelled = batch._replace(signals=Signals((PART,), part_N[:, None]))
    plain = method.loss(batch, actors)
    counted_N = torch.ones(count, dtype=torch.bool) if plain.counted_N is None else plain.counted_N
    actors.clear_cache()
    found = Replayed(method, share).loss(labelled, actors)
    by_part = [plain.loss_N[(part_N == part) & counted_N].mean() for part in (NEW, OLD)]
    wanted = (1 - share) * by_part[0] + share * by_part[1]
    torch.testing.assert_close(masked_mean(found.loss_N, found.counted_N), wanted)
    if method == DPO():
        assert not counted_N.all()
