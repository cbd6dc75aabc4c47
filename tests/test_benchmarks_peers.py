"""The comparison with other libraries: the floor, the ratios, the conversation with a side."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmark_runs import FOLDER, record_in, tiny_run
from torch.utils.flop_counter import FlopCounterMode


@pytest.fixture
def peers(monkeypatch):
    for folder in (FOLDER, FOLDER / "peers"):
        monkeypatch.syspath_prepend(folder)
    import peers

    # The folder of the same name must not hide the script.
    assert hasattr(peers, "SIDES"), peers
    return peers


@pytest.fixture
def peer_ratios(peers):
    from shared import peer_ratios

    return peer_ratios


@pytest.fixture
def log_path(peers, tmp_path):
    """130 users with 4 to 12 events on 30 items."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(4, 12, 130)
    offsets = np.concatenate([[0], lengths.cumsum()])
    items = generator.integers(1, 31, offsets[-1])
    history_offsets = np.concatenate([[0], (lengths + 1).cumsum()])
    history_items = generator.integers(1, 31, history_offsets[-1])
    peers.Log(30, items, offsets, history_items, history_offsets).save(tmp_path / "log.npz")
    return tmp_path / "log.npz"


def test_the_log_survives_its_file(peers, log_path):
    log = peers.Log.load(log_path)
    assert log.num_items == 30
    assert len(log.train_offsets) == len(log.history_offsets) == 131
    assert len(log.train_items) == log.train_offsets[-1]


def test_the_floor_counts_the_products_of_a_step(peers):
    """Against torch's own counter, which sees a plain step. It counts whole squares of attention
    where a causal mask leaves the lower half with its diagonal."""
    width, feed_forward, blocks, items, time = 8, 16, 2, 30, 10
    layers = [(torch.randn(width, 3 * width), torch.randn(width, width)) for _ in range(blocks)]
    fed = [
        (torch.randn(width, feed_forward), torch.randn(feed_forward, width)) for _ in range(blocks)
    ]
    table = torch.randn(items, width, requires_grad=True)
    for pair in (*layers, *fed):
        for weight in pair:
            weight.requires_grad_()
    with FlopCounterMode(display=False) as counter:
        x = torch.randn(time, width, requires_grad=True)
        for (qkv, out), (up, down) in zip(layers, fed, strict=True):
            query, key, value = (x @ qkv).chunk(3, dim=1)
            x = x + ((query @ key.T).softmax(dim=1) @ value) @ out
            x = x + (x @ up).relu() @ down
        (x @ table.T).logsumexp(dim=1).sum().backward()
    squares = 3 * blocks * 2 * 2 * width * (time * time - time * (time + 1) // 2)
    ours = time * peers.flops_per_event(np.array([time]), width, feed_forward, blocks, items)
    assert counter.get_total_flops() - squares == pytest.approx(ours)


def test_matmul_rate_is_a_rate(peers):
    for dtype in peers.DTYPES.values():
        assert peers.matmul_gflops(dtype, size=64) > 0


def test_ratios_say_how_many_times_faster_ours_is(peers, peer_ratios):
    measured = {
        "train": {"ours-64": [10.0, 20.0, 40.0], "rectools": [1.0, 4.0, 5.0], "ours": [1.0] * 3},
        "recommend": {"ours-64": [2.0, 1.0], "rectools": [8.0, 5.0]},
        "recommend_core": {},
    }
    ratios = peer_ratios.ratios(measured, peers.OPPONENTS)
    assert ratios["train"] == {
        "ours-64 to rectools": {
            "of_medians": 5.0,
            "median_of_pairs": 8.0,
            "interval_of_pairs": [5.0, 10.0],
        }
    }
    assert ratios["recommend"]["ours-64 to rectools"]["of_medians"] == round(6.5 / 1.5, 2)
    assert ratios["recommend"]["ours-64 to rectools"]["median_of_pairs"] == 4.5


def test_each_peer_has_an_opponent_among_ours(peers):
    assert set(peers.OPPONENTS) | set(peers.OPPONENTS.values()) == set(peers.SIDES)
    assert all(name.startswith("ours") for name in peers.OPPONENTS.values())


@pytest.mark.parametrize(("count", "outside"), [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (12, 2)])
def test_the_interval_of_a_median_is_that_of_published_tables(peer_ratios, count, outside):
    """Order statistics for the median at 95%: from the smallest to the largest of 6 to 8, from the
    second of 9 to 11, from the third of 12 to 14."""
    assert peer_ratios.left_out(count) == outside


def test_an_interval_holds_the_median_as_often_as_it_says(peer_ratios):
    """Of 9 draws, 96.1% of the time."""
    draws = np.sort(np.random.default_rng(0).normal(size=(20_000, 9)), axis=1)
    outside = peer_ratios.left_out(9)
    holds = (draws[:, outside] <= 0) & (draws[:, -1 - outside] >= 0)
    assert holds.mean() == pytest.approx(1 - 2 * 10 / 512, abs=0.005)


@pytest.mark.parametrize("name", ["ours-gbce", "ours-hstu"])
def test_our_other_sides_answer(peers, log_path, name):
    side = peers.SideProcess(name, log_path, threads=1, patience=200)
    try:
        assert side.ask("train 2")["events"] > 0
        assert side.ask("recommend")["rows"] == 1300
    finally:
        side.close()


def test_our_side_answers(peers, log_path):
    side = peers.SideProcess("ours-64", log_path, threads=1, patience=200)
    try:
        assert side.facts["feed_forward"] == 64
        trained = side.ask("train 3")
        recommended = side.ask("recommend")
    finally:
        side.close()
    log = peers.Log.load(log_path)
    events = int((np.diff(log.train_offsets) - 1).sum())  # 130 users are an epoch of two steps
    assert 0 < trained["events"] < 3 * events
    assert recommended["users"] == 130
    assert recommended["rows"] == 1300
    assert 0 < recommended["core_seconds"] <= recommended["seconds"]


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("no such python", "its environment does not exist: run make bench-peers"),
        (sys.executable, "No module named 'rectools'"),
    ],
)
def test_a_peer_without_its_environment_or_its_library_is_reported(
    peers, log_path, monkeypatch, python, said
):
    monkeypatch.setattr(peers, "PEERS_PYTHON", Path(python))
    ((what, reason),) = peers.Sides(["rectools"], log_path, threads=1, patience=60).failed.items()
    assert what == "rectools: start"
    assert said in reason


def test_a_tiny_run_writes_result_and_picture(tmp_path):
    """With our side alone, on the synthetic log."""
    words = ("--sides", "ours", "--rounds", "1", "--steps", "1", "--threads", "1")
    record = tiny_run("peers", tmp_path, *words)
    assert record["events_per_second_median"]["ours"] > 0
    assert set(record["floor"]["ours"]["fraction_of_floor"]) == {"float32", "bfloat16"}


def test_the_pinned_set_has_the_peers_and_no_cuda():
    text = (FOLDER / "peers" / "requirements.txt").read_text(encoding="utf-8")
    pins = dict(line.split("==") for line in text.splitlines() if not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    assert {"RecTools", "replay-rec", "recbole"} <= pins.keys()
    assert not any("nvidia" in name or "cuda" in name or name == "triton" for name in pins)


def test_the_committed_result_has_its_shape(peers):
    record = record_in(FOLDER / "results", "peers")
    for name in peers.SIDES:
        failed = f"{name}: start" in record["failed"] or f"{name}: train" in record["failed"]
        assert failed or record["events_per_second_median"][name] > 0
        assert failed or record["sides"][name]["versions"]["torch"]
    assert {"float32", "bfloat16"} == record["matmul_gflops_median"].keys()
