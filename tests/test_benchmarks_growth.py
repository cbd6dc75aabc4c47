"""Growth and memory: the helpers compute what they say, and a tiny run ends in a result."""

import subprocess
import sys
from dataclasses import replace
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


@pytest.fixture
def growing(growth, monkeypatch):
    from shared import growing

    monkeypatch.setattr(growing, "TARGETS", 20)
    monkeypatch.setattr(growing, "BATCH_SIZE", 4)
    return growing


@pytest.mark.parametrize(
    ("axis", "size", "items", "length"),
    [("catalogue", 40, 40, 200), ("events", 3_000, 3_416, 200), ("length", 7, 3_416, 7),
     ("users", 50, 3_416, 200)],
)  # fmt: skip
def test_a_log_has_the_size_that_its_axis_says(growing, axis, size, items, length):
    corpus, longest = growing.log_of(axis, size, steps=1)
    lengths_N = corpus.sequences.lengths_N
    assert (corpus.num_items, longest) == (items, length)
    assert len(lengths_N) == {"catalogue": 80, "length": 80, "users": 50}.get(axis, len(lengths_N))
    if axis == "events":
        assert int(lengths_N.sum()) == pytest.approx(3_000, rel=0.25)
    if axis == "length":
        assert set(lengths_N.tolist()) == {8}
    if axis == "users":
        assert set(lengths_N.tolist()) == {12}


def test_every_subject_is_measured(growing):
    for subject in growing.SUBJECTS:
        point = growing.measure(subject, "catalogue", 90, steps=1)
        assert point["size"] == 90
        assert point["seconds"] > 0
        assert point["process_mib"] > point["added_memory_mib"] >= 0
        assert point["table_mib"] == round(90 * 64 * 4 / 2**20, 1)


def test_every_family_of_post_training_is_there(growing):
    families = {each.family for each in growing.METHODS.values()}
    assert families == {"weighted likelihood", "preferences", "policy gradient", "value based"}
    assert all(name.startswith(each.family) for name, each in growing.METHODS.items())


def test_sums_are_sampled_above_the_size_of_the_plan_and_exact_where_asked(growing, monkeypatch):
    drawn, plan = [], growing.POSTTRAINING
    proposal = growing.proposal_of
    monkeypatch.setattr(growing, "proposal_of", lambda *of: drawn.append(1) or proposal(*of))
    monkeypatch.setattr(growing, "POSTTRAINING", replace(plan, exact_items=100))
    name = next(iter(growing.METHODS))
    for subject, size, count in ((name, 100, 0), (name + growing.EXACT, 200, 0), (name, 200, 1)):
        drawn.clear()
        growing.measure(subject, "catalogue", size, steps=1)
        assert len(drawn) == count, (subject, size)


def test_all_users_are_evaluated_where_users_are_the_axis(growing, monkeypatch):
    seen = []
    monkeypatch.setattr(growing, "top_items", lambda states, *_: seen.append(len(states)))
    growing.measure("recommending", "users", 50, steps=1)
    growing.measure("recommending", "length", 7, steps=1)
    assert seen[0] in range(45, 51), "but for those whose user has had the target"
    assert seen[1] == 20


def test_a_step_over_all_items_is_not_measured_on_the_largest_catalogues(growth):
    points = list(growth.points_of("catalogue", np.inf))
    largest = {name: max(size for each, size in points if each == name) for name, _ in points}
    assert largest["pretraining"] == largest["preferences (DPO), exact"] == growth.MOST_EXACT
    assert largest["pretraining, sampled"] == largest["preferences (DPO)"] == 10**6
    assert {subject for subject, _ in growth.points_of("users", 1e4)} == set(growth.SUBJECTS)


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

    with pytest.raises(RuntimeError, match=r"growth\.py --point DPO events none: ValueError"):
        answer_of(FOLDER / "growth.py", "--point", "DPO", "events", "none")


def test_a_tiny_run_writes_result_and_picture(tmp_path):
    record = tiny_run(
        *("growth", tmp_path, "--axes", "length", "--largest", "50", "--steps", "1"),
        *("--subjects", "recommending"),
        picture="growth-length",
    )
    (point,) = record["axes"]["length"]["recommending"]["points"]
    assert point["size"] == 50


def test_the_committed_result_has_its_shape(growth):
    record = record_in(FOLDER / "results", "growth")
    for axis in growth.AXES:
        found = record["axes"][axis]
        for subject, size in growth.points_of(axis, np.inf):
            sizes = [point["size"] for point in found[subject]["points"]]
            assert any(each == pytest.approx(size, rel=0.05) for each in sizes), (subject, size)
