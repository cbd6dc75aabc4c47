"""Growth and memory: the helpers compute what they say, and a tiny run ends in a result."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark_runs import FOLDER, record_in, tiny_run


@pytest.fixture
def growth(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import growth

    return growth


def test_slopes_are_exponents(growth):
    points = [{"size": size, "seconds": 7 * size**1.5} for size in (10, 100, 5_000)]
    assert growth.slopes(points, "seconds") == {"fit": 1.5, "last_two": 1.5}
    points[-1]["seconds"] *= 10
    bent = growth.slopes(points, "seconds")
    assert bent["last_two"] == pytest.approx(1.5 + 1 / np.log10(50), abs=1e-3)
    assert growth.slopes(points[:1], "seconds") is None


@pytest.mark.parametrize(("axis", "size"), [("events", 3_000), ("catalogue", 40), ("length", 7)])
def test_a_point_processes_what_it_says(growth, axis, size):
    point = growth.measure(axis, size, steps=1)
    corpus, length = growth.log_of(axis, size, steps=1)
    targets_N = (corpus.sequences.lengths_N - 1).clamp(max=length)
    assert point["seconds"] > 0
    assert point["size"] == pytest.approx(size, rel=0.25)
    if axis == "events":  # every target of the log, once
        assert point["events"] == int(targets_N.sum())
    if axis == "catalogue":
        assert (point["items"], point["steps"]) == (40, 1)
    if axis == "length":
        assert point["events"] == 128 * 7
    assert point["logits_mib"] == round(4 * point["events_per_batch"] * point["items"] / 2**20, 1)


def test_added_memory_is_what_was_added_since_the_start(growth):
    """80 MiB that come and go before the start do not hide 40 that come after it."""
    program = (
        "from shared.memory import peak_resident_mib, start_of_peak\n"
        "earlier = b'x' * (80 << 20); del earlier\n"
        "before = start_of_peak()\n"
        "later = b'x' * (40 << 20); del later\n"
        "print(peak_resident_mib() - before)\n"
    )
    script = [sys.executable, "-c", program]
    done = subprocess.run(script, cwd=FOLDER, capture_output=True, text=True, check=True)
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux can forget a peak")
    assert 35 < float(done.stdout) < 60


def test_a_script_that_fails_says_why(growth):
    from shared.memory import answer_of

    with pytest.raises(RuntimeError, match=r"growth\.py --point events none: ValueError"):
        answer_of(FOLDER / "growth.py", "--point", "events", "none")


def test_a_tiny_run_writes_result_and_picture(tmp_path):
    record = tiny_run("growth", tmp_path, "--axes", "length", "--largest", "50")
    (point,) = record["axes"]["length"]["points"]
    assert point["events"] == 2 * 128 * 50


def test_the_committed_result_has_its_shape(growth):
    record = record_in(FOLDER / "results", "growth")
    for axis, sizes in growth.AXES.items():
        found = [point["size"] for point in record["axes"][axis]["points"]]
        assert found == pytest.approx(list(sizes), rel=0.05)
        assert set(record["axes"][axis]["slopes"]) == {growth.TIME[axis], "added_memory_mib"}
