"""A trial ends early where its best validation is below the median of the complete trials'."""

import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
import pytorch_lightning as pl
from optuna.trial import TrialState, create_trial

from recsys_posttrain.evaluation.subsets import all_targets, liked
from recsys_posttrain.sweep import pruning, work
from recsys_posttrain.sweep.proposal import RANDOM_TRIALS
from recsys_posttrain.sweep.pruning import Pruned, Pruning, is_hopeless, validated_name
from recsys_posttrain.sweep.run import run_sweep

NAME, FILE = "small_sweep-small", "small_sweep.py"


def complete(*values):
    return create_trial(value=values[-1], intermediate_values=dict(enumerate(values)))


# At number 1 the values are .2 .3 .4 .5 .6: their median is .4.
PAST = [complete(0.9, value, 0.5) for value in (0.6, 0.2, 0.5, 0.3, 0.4)]


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ((0.0,), False),  # the first does not decide
        ((0.0, 0.39), True),
        ((0.0, 0.4), False),
        ((0.41, 0.1), False),  # it was good once
        ((0.39, 0.1), True),
    ],
)
def test_below_the_median_of_the_others_at_the_same_validation(values, ends):
    assert is_hopeless(dict(enumerate(values)), PAST) is ends


def test_other_states_do_not_count_and_few_trials_prune_nothing():
    running = create_trial(state=TrialState.RUNNING, intermediate_values={0: 9.0, 1: 9.0})
    pruned = create_trial(state=TrialState.PRUNED, intermediate_values={0: 9.0, 1: 9.0})
    assert not is_hopeless({0: 0.0, 1: 0.4}, [*PAST, running, pruned, pruned])
    assert len(PAST) == RANDOM_TRIALS
    assert not is_hopeless({0: 0.0, 1: 0.0}, PAST[1:])


def sweep(prunes=True, seeds=(7,), over=all_targets):
    return SimpleNamespace(metric="ndcg@10", over=over, pruning=prunes, tuning_seeds=seeds)


def reported(values, **options):
    kept = []
    hear = Pruning(sweep(**options), PAST, lambda number, value: kept.append((number, value)))
    try:
        for value in values:
            hear({"validation/ndcg@10": value, "validation/ndcg@10 liked": 1.0})
    except Pruned as reason:
        return kept, str(reason)
    return kept, ""


def test_a_trial_ends_at_the_validation_that_shows_it_and_says_so():
    kept, reason = reported([0.1, 0.2, 0.3, 0.3])
    assert kept == [(0, 0.1), (1, 0.2)]
    assert (
        reason == "ended after 2 of 4 validations: its best so far, 0.2, is below the median there"
    )
    assert reported([0.1, 0.45, 0.3, 0.3])[1].startswith("ended after 3 of 4")


def test_the_last_validation_ends_nothing():
    assert reported([0.1, 0.45, 0.55, 0.0], seeds=(7,))[1] == ""
    past = [complete(0.9, 0.9, 0.9, value) for value in (0.95, 0.96, 0.97, 0.98, 0.99)]
    one_seed, two_seeds = (
        Pruning(sweep(seeds=seeds), past, lambda *_: None) for seeds in ((7,), (7, 8))
    )
    for hear in (one_seed, two_seeds):
        for value in (0.9, 0.9, 0.9):
            hear({"validation/ndcg@10": value})
    one_seed({"validation/ndcg@10": 0.0})
    with pytest.raises(Pruned, match="after 4 of 8"):
        two_seeds({"validation/ndcg@10": 0.0})


def test_what_is_not_asked_for_or_not_validated_prunes_nothing():
    assert reported([0.1, 0.2], prunes=False) == ([], "")
    assert [value for _, value in reported([0.1, 0.2], over=liked)[0]] == [1.0, 1.0]
    assert validated_name(sweep(over=liked)) == "validation/ndcg@10 liked"
    hear = Pruning(sweep(), PAST, lambda *_: pytest.fail("kept"))
    hear({"validation/kl": 0.1})


@pytest.fixture(scope="module")
def eager(options, tmp_path_factory):
    """A sweep that may prune after its first trial, and as many trials as that needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruning, "RANDOM_TRIALS", 1)
        patched = options._replace(trials=6, seeds=1, output=tmp_path_factory.mktemp("eager"))
        yield run_sweep(work.Path(__file__).parents[1] / FILE, patched), patched


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
    run_sweep(work.Path(__file__).parents[1] / FILE, options)
    pd.testing.assert_frame_equal(table(folder), before)
    assert len(fits) == (before["state"] == "pruned").sum()
