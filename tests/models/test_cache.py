"""The cache of a frozen model's outputs: each log has its own."""

from types import SimpleNamespace

import torch

from recsys_posttrain.data import positions
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.notes import heard
from recsys_posttrain.data.positions import TrainingPositions
from recsys_posttrain.models.cache import OutputCache
from recsys_posttrain.types import Sequences


def test_another_log_has_outputs_of_its_own() -> None:
    cache = OutputCache()
    for items in ([1, 2, 3, 4], [5, 6, 7, 8]):
        items_E = torch.tensor(items)
        log = Sequences(items_E, items_E.float(), items_E, torch.tensor([0, 2, 4]))
        cache.set_positions(TrainingPositions(log, max_length=3))
        batch = batch_of(log, torch.tensor([1, 0]), max_length=3)
        found_N = cache.get("actions", batch, lambda batch: batch.action_N, items_E)
        assert found_N.tolist() == [items[3], items[1]]
    cache.set_positions(None)
    assert not cache.holds(1)


def test_what_takes_long_is_announced_once(monkeypatch) -> None:
    """384 positions in three batches. The first took 30 s, so 60 more are to come."""
    items_E = torch.arange(1, 2 * 384 + 1)
    log = Sequences(items_E, items_E.float(), items_E, torch.arange(0, 2 * 384 + 1, 2))
    for seconds, said in ((30.0, ["about 60 s more"]), (3.0, []), (0.0, [])):
        clock = iter(torch.arange(100).mul(seconds).tolist())
        monkeypatch.setattr(positions, "time", SimpleNamespace(monotonic=clock.__next__))
        with heard(keep=True) as notes:
            TrainingPositions(log, max_length=3).values(lambda batch: batch.action_N, items_E)
        assert [each.partition("every epoch: ")[2] for each in notes] == said
        assert all("384 positions" in each for each in notes)
