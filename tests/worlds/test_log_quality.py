"""experiments/log_quality.py and the map of it."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain.errors import UserError

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
JESTER = EXPERIMENTS / "results" / "noise_vs_quality-jester"  # with a log, and these models


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import log_quality

    return log_quality


@pytest.fixture
def chart(monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import log_quality_map

    return log_quality_map


def test_ten_methods_meet_four_models_and_strengths_are_tried_under_each(study):
    runs = study.RUNS()
    assert len({run.label for run in runs}) == 10
    kinds = Counter(type(run.noise.model).__name__ for run in runs)
    assert kinds.keys() == {"NoneType", "ItemBias", "Starvation", "TruthShare"}
    first = study.NEXT_RUNS(runs, (), pd.DataFrame())
    assert all(run.noise.model is None for run in first)
    assert Counter(run.label for run in first) == dict.fromkeys({run.label for run in runs}, 3)
    # The judge prefers the middle one of each, so no edge is left without noise.
    seen = [
        {**run.row, "seed": 0, "judge": float(place % 3 == 1), "NDCG@10 liked": 0.0}
        for place, run in enumerate(first)
    ]
    noisy = study.NEXT_RUNS(runs, first, pd.DataFrame(seen))
    asking = {run.label for run in runs if run.noise.model is not None}
    tried = Counter((run.label, type(run.noise.model).__name__) for run in noisy)
    assert tried == {(name, kind): 3 for name in asking for kind in kinds if kind != "NoneType"}


def pairs_of(*rows):
    return pd.DataFrame(rows, columns=["method", "other", "p_value"])


def test_the_best_is_decided_against_all_others_after_correction(chart):
    means = pd.Series({"DPO": 3.5, "BC": 3.4, "ASFT": 3.6})
    between = pairs_of(("ASFT", "BC", 0.02), ("DPO", "ASFT", 0.025), ("BC", "DPO", 0.9))
    found = chart.best_of(means, between)
    assert found[:3] == ("ASFT", 3.6, "DPO")
    assert found.ahead == pytest.approx(0.1)
    assert found.is_decided, "Holm: 2 x .02 and .04 at most"
    between = pairs_of(("ASFT", "BC", 0.02), ("DPO", "ASFT", 0.051), ("BC", "DPO", 0.001))
    assert not chart.best_of(means, between).is_decided


def test_a_map_of_nothing_is_refused(chart, tmp_path, monkeypatch):
    monkeypatch.setattr(chart, "RESULTS", tmp_path)
    with pytest.raises(UserError, match=r"no log_quality-\.\.\. is published yet: give finished"):
        chart.main([])


def test_a_map_of_one_log(chart, tmp_path, capsys):
    """Of the study of errors, whose table has these models too."""
    chart.main([str(JESTER), "--output", str(tmp_path)])
    table = pd.read_csv(JESTER / "table.csv", keep_default_na=False)
    here = table[(table["kind"] == "TruthShare") & (table["level"] == 0.5)]
    argmax = here[(here["method"] == "RewardArgmax")]["mean"].iloc[0]
    text = (tmp_path / "map.md").read_text()
    assert f"**RewardArgmax {argmax:.3f}**" in text
    assert "preference 0.5" in text
    assert text.strip() in capsys.readouterr().out
    assert (tmp_path / "map.png").stat().st_size > 10_000
