"""Sampled losses as the catalogue grows: where they become faster, and a tiny run."""

import pytest
from benchmark_runs import FOLDER, record_in, tiny_run


@pytest.fixture
def sampled(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import sampled

    return sampled


@pytest.mark.parametrize(
    ("ratios", "size"),
    [
        ([0.5, 2.0, 8.0], 1_000),  # half way between 100 and 10,000 in logarithms
        ([0.5, 0.5**0.5, 2.0], 100_000),  # a third of the way: 10,000 x 1,000^(1/3)
        ([2.0, 0.5, 2.0], 316_228),  # for good: half way between 10,000 and 10^7
        ([1.5, 2.0, 8.0], 100),
        ([0.1, 0.2, 0.9], None),
    ],
)
def test_where_it_becomes_faster(sampled, ratios, size):
    assert sampled.faster_from([100, 10_000, 10_000_000], ratios) == size


def test_a_tiny_run_writes_result_and_picture(tmp_path):
    words = ("--largest", "1000", "--rounds", "1", "--threads", "1")
    (point,) = tiny_run("sampled", tmp_path, *words)["points"]
    assert point["items"] == 1000
    assert 3000 < point["events"] < 5000
    milliseconds = point["milliseconds_median"]
    for name in ("sampled softmax", "gBCE"):
        ratio = milliseconds["full softmax"] / milliseconds[name]
        assert point["ratio_median"][name] == pytest.approx(ratio, rel=0.01)


def test_the_committed_result_has_its_shape(sampled):
    record = record_in(FOLDER / "results", "sampled")
    assert [point["items"] for point in record["points"]] == list(sampled.SIZES)
    assert record["negatives"] == {name: loss.negatives for name, loss in sampled.SAMPLED.items()}
