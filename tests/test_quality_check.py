"""benchmarks/quality_check.py passes what equals its control and fails what does not."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from benchmark_runs import FOLDER
from doc_pages import ROOT

from recsys_posttrain.errors import UserError

SEEDS, USERS = (0, 1, 2), 400


@pytest.fixture
def check(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import quality_check

    return quality_check


def rows_of(shifts):
    """Drawn rows: of each method its shift of every metric, on the same users."""
    generator = np.random.default_rng(0)
    frames = []
    for seed in SEEDS:
        base = generator.random(USERS) + 0.01 * generator.normal()
        for method, shift in shifts.items():
            values = dict.fromkeys(("ndcg@10", "hr@10", "reward/proxy@10"), base + shift)
            frames.append(pd.DataFrame({"method": method, "seed": seed, **values}))
    return pd.concat(frames)


def test_the_interval_of_three_seeds_by_hand(check):
    """1, 2, 3: mean 2, sd 1, t of two degrees of freedom 4.3027; half is 4.3027 sqrt(2 / 3)."""
    low, high = check.interval([1.0, 2.0, 3.0])
    assert (low + high) / 2 == 2
    assert (high - low) / 2 == pytest.approx(4.302653 * (2 / 3) ** 0.5)
    with pytest.raises(UserError, match="1 seed"):
        check.interval([1.0])


def test_the_interval_holds_the_mean_of_other_seeds_95_times_of_100(check):
    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(4_000):
        low, high = check.interval(list(generator.normal(size=3)))
        inside += low <= generator.normal(size=3).mean() <= high
    assert 0.94 < inside / 4_000 < 0.96


def test_a_path_that_differs_fails_and_one_that_does_not_passes(check):
    found = check.by_seed(
        rows_of({"BC, exact": 0, "BC, fast": 0.001, "BC, wrong": -0.2, "Tilt": 9})
    )
    lines = check.verdicts(found, {}).set_index("path")
    assert set(lines.index) == {"BC, fast", "BC, wrong"}
    assert lines.loc["BC, fast", "passes"].all()
    assert not lines.loc["BC, wrong", "passes"].any()
    with pytest.raises(UserError, match="DPO, fast has no control"):
        check.verdicts(check.by_seed(rows_of({"DPO, fast": 0})), {})


def test_a_control_has_to_stay_what_it_was(check):
    found = check.by_seed(rows_of({"BC, exact": 0}))
    assert check.verdicts(found, found)["passes"].all()
    moved = check.by_seed(rows_of({"BC, exact": 0.3}))
    assert not check.verdicts(moved, found)["passes"].any()


def test_exit_codes_and_renewing(check, tmp_path, monkeypatch, capsys):
    rows = rows_of({"BC, exact": 0, "BC, fast": 0})

    class Study:
        def frame(self, name):
            return rows

    monkeypatch.setattr(check, "study_folder", lambda folder: Study())
    monkeypatch.setattr(sys, "argv", ["quality_check.py"])
    check.main(["runs/q", "--renew", "--output", str(tmp_path)])
    stored = json.loads((tmp_path / "quality_check.json").read_text())
    assert list(stored["controls"]) == ["q"]
    check.main(["runs/q", "--output", str(tmp_path)])
    said = capsys.readouterr().out
    assert "every path reaches its control" in said
    assert "the same as their control in every value, so not tried: BC, fast\n" in said
    rows.loc[rows["method"] == "BC, fast", "hr@10"] += 1
    with pytest.raises(SystemExit) as end:
        check.main(["runs/q", "--output", str(tmp_path)])
    assert end.value.code == 1
    said = capsys.readouterr().out
    assert "1 of the comparisons fail" in said
    assert "not tried" not in said


def test_every_path_of_the_study_has_its_control(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    import quality

    labels = [run.label for run in quality.runs_on()]
    for label in labels:
        assert f"{label.rpartition(', ')[0]}, exact" in labels
    exact = [run for run in quality.runs_on() if run.label.endswith(", exact")]
    for run in exact:
        assert not run.setup.pretraining.bfloat16
        assert not run.posttraining.bfloat16 or not run.is_trained
        assert run.setup.pretraining.tokens is None
