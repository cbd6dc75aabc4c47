"""The cache of a frozen model's outputs: each log has its own."""

import torch

from recsys_posttrain.data.batching import batch_of
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
