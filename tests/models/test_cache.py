"""The cache of a frozen model's outputs: each log has its own."""

from pathlib import Path
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


def test_what_is_too_large_for_memory_lies_in_a_file_without_a_name(monkeypatch, tmp_path) -> None:
    """3,840 values of 4 bytes, in a folder that is empty again; announced once."""
    items_E = torch.arange(1, 2 * 384 + 1)
    log = Sequences(items_E, items_E.float(), items_E, torch.arange(0, 2 * 384 + 1, 2))
    monkeypatch.setattr(positions, "LARGEST_CACHE", 3_839)
    monkeypatch.setattr(positions.tempfile, "tempdir", str(tmp_path))
    numbered = TrainingPositions(log, max_length=3)
    assert numbered.fit(10)

    def states(batch):
        return batch.action_N[:, None] * torch.arange(10.0)

    with heard(keep=True) as notes:
        kept_ED = numbered.values(states, items_E)
    assert [each.partition(" take ")[2].partition(" GiB")[0] for each in notes] == ["0.0"]
    assert str(tmp_path) in notes[0]
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(kept_ED, torch.arange(2.0, 769.0, 2)[:, None] * torch.arange(10.0))
    maps = Path("/proc/self/maps")
    assert not maps.exists() or f"{tmp_path}/recsys-posttrain-" in maps.read_text()


def test_what_fits_is_decided_once_and_a_full_disk_keeps_nothing(monkeypatch) -> None:
    items_E = torch.arange(1, 9)
    log = Sequences(items_E, items_E.float(), items_E, torch.tensor([0, 4, 8]))
    monkeypatch.setattr(positions, "LARGEST_CACHE", 11)
    free = [100.0]
    monkeypatch.setattr(positions, "_room_on_disk", lambda: free[0])
    numbered = TrainingPositions(log, max_length=3)  # six positions
    assert numbered.fit(1)
    assert numbered.fit(4), "96 bytes"
    assert not numbered.fit(5), "120 bytes"
    free[0] = 0.0  # by its own file, say
    assert numbered.fit(4)
    assert not TrainingPositions(log, max_length=3).fit(4)
