"""Sampled losses as the catalogue grows: where they become faster, and a tiny run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
HOME_FOLDERS = ("/home/", "/root/", "/work/", "/tmp/")


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
    words = ["--largest", "1000", "--rounds", "1", "--threads", "1"]
    script = [sys.executable, FOLDER / "sampled.py", *words]
    done = subprocess.run([*script, "--output", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "sampled.json").read_text(encoding="utf-8")
    record = json.loads(text)
    assert record["command"] == "python benchmarks/sampled.py " + " ".join(words)
    (point,) = record["points"]
    assert point["items"] == 1000
    assert 3000 < point["events"] < 5000
    milliseconds = point["milliseconds_median"]
    for name in ("sampled softmax", "gBCE"):
        ratio = milliseconds["full softmax"] / milliseconds[name]
        assert point["ratio_median"][name] == pytest.approx(ratio, rel=0.01)
    assert not any(part in text for part in HOME_FOLDERS)
    assert (tmp_path / "sampled.png").read_bytes()[:4] == b"\x89PNG"


def test_the_committed_result_has_its_shape(sampled):
    path = FOLDER / "results" / "sampled.json"
    if not path.exists():
        pytest.skip("the sampled losses have not been measured yet")
    text = path.read_text(encoding="utf-8")
    record = json.loads(text)
    assert record["command"].startswith("python benchmarks/sampled.py")
    assert [point["items"] for point in record["points"]] == list(sampled.SIZES)
    assert record["negatives"] == {name: loss.negatives for name, loss in sampled.SAMPLED.items()}
    assert not any(part in text for part in HOME_FOLDERS)
    assert path.with_suffix(".png").exists()
