"""A trial ends early where its best validation is below the median of the complete trials'."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import pytorch_lightning as pl

from recsys_posttrain.sweep import sampler
from recsys_posttrain.sweep.run import run_sweep

SMALL_SWEEP = Path(__file__).parents[1] / "small_sweep.py"


@pytest.fixture(scope="module")
def eager(options, tmp_path_factory):
    """A sweep that may prune after its first trial, and as many trials as that needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "RANDOM_TRIALS", 1)
        patched = options._replace(trials=6, seeds=1, output=tmp_path_factory.mktemp("eager"))
        yield run_sweep(SMALL_SWEEP, patched), patched


def table(folder):
    frame = pd.read_csv(folder / "trials.csv", keep_default_na=False)
    return frame.drop(columns="seconds")


def test_pruned_trials_are_outcomes_without_a_value(eager):
    folder, _ = eager
    trials = table(folder)
    pruned = trials[trials["state"] == "pruned"]
    assert 0 < len(pruned) < len(trials)
    assert set(trials["state"]) == {"complete", "pruned"}
    assert set(pruned["value"]) == {""}
    assert all(" is below the median there" in reason for reason in pruned["reason"])
    caption = (folder / "table.md").read_text()
    assert f"{len(pruned)} trials ended early, behind the median of their method's" in caption


def test_what_is_trained_already_is_pruned_alike(eager, monkeypatch):
    """A sweep from nothing, but with the stages of the first: those it completed are replayed from
    their logs, and no trial that it completed is trained again."""
    folder, options = eager
    before = table(folder)
    shutil.rmtree(folder)
    fits, original = [], pl.Trainer.fit
    monkeypatch.setattr(
        pl.Trainer, "fit", lambda *args, **kw: (fits.append(1), original(*args, **kw))[1]
    )
    run_sweep(SMALL_SWEEP, options)
    pd.testing.assert_frame_equal(table(folder), before)
    assert len(fits) == (before["state"] == "pruned").sum()
