"""The five lines, from studies and intervals written by hand."""

import math
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain.report.answer import OwnGains, answer, choose
from recsys_posttrain.report.findings import Finding, is_evidence, of_methods
from recsys_posttrain.report.nearest import Log, distance, log_in, logs_of
from recsys_posttrain.report.rivals import rivals
from recsys_posttrain.report.study_folder import study_folder

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"
UNSURE = OwnGains("NDCG@10 liked", {1.0: (0.01, -0.01, 0.03), 0.3: (0.0, -0.2, 0.2)}, False, "")
PAYS = OwnGains("reward dr", {1.0: (0.1, 0.05, 0.2), 0.3: (0.3, 0.02, 0.6)}, True, "")
HARMS = OwnGains("reward dr", {1.0: (-0.1, -0.2, -0.05)}, True, "")


def _finding(*best, tilt=True, near=True):
    strengths = {"Tilt": "temperature 3", "DPO": "beta 2"}
    rival = ("DPO", (0.01, -0.02, 0.04)) if tilt else None
    return Finding("a study", near, best, strengths, tilt, rival, "", ())


def _quality(accuracy, naive, half=0.01, users=500.0, slope=(0.9, 1.0, 1.1)):
    """The best naive baseline is the second."""
    frame = pd.DataFrame(
        {"pairwise_accuracy": [0.5, naive, accuracy], "users": users, "events": 5000.0},
        index=["global mean", "item mean", "RewardFactors"],
    )
    frame["pairwise_accuracy_low"] = frame["pairwise_accuracy"] - half
    frame["pairwise_accuracy_high"] = frame["pairwise_accuracy"] + half
    names = ["calibration_slope_low", "calibration_slope", "calibration_slope_high"]
    return frame.assign(**dict(zip(names, slope, strict=True)))


@pytest.mark.parametrize(
    ("own", "findings", "method", "strength"),
    [
        (UNSURE, [_finding("Tilt", "DPO")], "Tilt", "3"),
        (PAYS, [_finding("Tilt", "DPO")], "Tilt", "1"),  # its own surest temperature
        (HARMS, [_finding("Tilt", "DPO")], None, ""),
        (PAYS, [_finding("DPO", tilt=True)], "DPO", "beta 2"),  # the tilt is behind there
        (UNSURE, [_finding("DPO", tilt=False)], "DPO", "beta 2"),
        (PAYS, [_finding("DPO", tilt=False)], "Tilt", "1"),  # it was not tried there
        (UNSURE, [_finding(), _finding("DPO")], "DPO", "beta 2"),  # the first decides nothing
        (UNSURE, [_finding("DPO", near=False)], None, ""),
        (UNSURE, [_finding()], None, ""),
        (PAYS, [], "Tilt", "1"),
        (HARMS, [_finding()], "", ""),
    ],
)
def test_what_is_chosen(own, findings, method, strength):
    found = choose(own, findings)
    assert (found.method, found.strength) == (method, strength)


def test_the_first_of_two_near_studies_decides():
    found = choose(UNSURE, [_finding("DPO"), _finding("Tilt")])
    assert found.method == "DPO"
    lines = list(answer(_quality(0.7, 0.6), UNSURE, [_finding("DPO"), _finding("Tilt")]))
    assert "Tilt, which a study supports, being ahead on your log" in lines[4]


def test_five_lines():
    lines = list(answer(_quality(0.7, 0.6), PAYS, [_finding("Tilt")]))
    assert [line[:3] for line in lines] == ["1. ", "2. ", "3. ", "4. ", "5. "]
    assert ".7000 [.6900, .7100] on 5,000 events of 500 users, better than" in lines[0]
    assert "item mean .6000 [.5900, .6100]" in lines[0]
    assert lines[1] == "2. Fix first: nothing."
    assert "do not train: tilt" in lines[2]
    assert "temperature 1, in stars" in lines[3]
    assert "nearest is DPO, +.0100 [-.0200, +.0400] in a study" in lines[4]
    assert "propensities" not in lines[4]
    undecided = list(answer(_quality(0.7, 0.6), UNSURE, []))
    assert undecided[2].startswith("3. Method: not enough evidence; your own intervals hold 0")
    nothing = list(answer(_quality(0.7, 0.6), HARMS, []))
    assert nothing[2].startswith("3. Method: change nothing")
    trained = list(answer(_quality(0.7, 0.6), UNSURE, [_finding("DPO")]))
    assert trained[2].startswith("3. Method: train DPO")
    assert trained[3].startswith("4. Strength: beta 2;")


@pytest.mark.parametrize(
    ("quality", "own", "said"),
    [
        (_quality(0.55, 0.6), PAYS, "the reward model, since item mean orders better"),
        (_quality(0.6, 0.61), PAYS, "the reward model, which orders no better than item mean"),
        (_quality(0.6, 0.61, 0.05, 14.0), PAYS, "how the model is judged, since 14 users"),
        (_quality(0.7, 0.6, slope=(0.5, 0.6, 0.7)), PAYS, "its calibration, slope .6000"),
        (_quality(0.7, 0.6), UNSURE, "record propensities"),
        (_quality(0.7, 0.6), PAYS._replace(distrust="few weights"), "since few weights"),
    ],
)
def test_what_to_fix_first(quality, own, said):
    assert said in list(answer(quality, own, []))[1]


def test_a_model_that_hardly_anyone_judges_is_not_known():
    """The interval of one user has no width."""
    lines = list(answer(_quality(0.5, 0.6, 0.0, users=1.0), UNSURE, []))
    assert lines[0] == "1. Your reward model: not known: 1 user to judge it, fewer than 10."
    assert lines[1] == "2. Fix first: how the model is judged; give a log of more users."
    assert "better" in next(answer(_quality(0.7, 0.6, users=10.0), UNSURE, []))


def test_logs_are_near_by_size_and_density_not_by_name():
    mine = Log(1000, 0.01)
    assert distance(mine, Log(100, 0.1)) == pytest.approx(2)
    assert distance(mine, Log(1000, 0.02)) == pytest.approx(math.log10(2))
    assert distance(mine, None) == math.inf
    record = {"dataset": "x", "num_items": 50, "users": 10, "events": 100}
    assert log_in(record) == Log(50, 0.2)
    assert log_in({"dataset": "x"}) is None
    assert logs_of([{"dataset": "x"}, record, record | {"num_items": 99}]) == {"x": Log(50, 0.2)}


def _model(low, high):
    middle = (low + high) / 2
    return pd.Series(
        {
            "pairwise_accuracy": middle,
            "pairwise_accuracy_low": low,
            "pairwise_accuracy_high": high,
        }
    )


def test_the_whole_field_supports_the_tilt_alone():
    """equal_kl.md: it leads every method at every KL; table.md: +.099 ±.032 in lists of five. At
    another quality the study says nothing."""
    study = study_folder(RESULTS / "whole_field-jester-full-seeds")
    found = of_methods(study, _model(0.56, 0.58))
    assert found.best == ("Tilt",)
    gain = rivals(study).gains["Tilt"]
    assert gain == pytest.approx((0.099, 0.067, 0.131), abs=1e-3)
    assert found.strengths["Tilt"] == "temperature 0.03"
    assert found.rival[0] == "ASFT"  # 3.547, the best trained one of table.md; the tilt has 3.624
    assert found.rival[1][0] == pytest.approx(3.547 - 3.624, abs=1e-3)
    better = of_methods(study, _model(0.6, 0.62))
    assert better.best == ()
    assert "your model is better" in better.verdict


def test_no_method_of_the_main_table_is_above_the_tilt():
    """table.md: Tilt .1530, Pretrained .1371, OfflinePPO .1546 ± .0257 on liked targets."""
    found = of_methods(study_folder(RESULTS / "movielens_main-ml-100k"), _model(0.68, 0.7))
    assert found.best[0] == "Tilt"
    assert "OfflinePPO" in found.best
    assert "BC" not in found.best
    assert found.rival[0] == "OfflinePPO"
    assert found.rival[1][0] == pytest.approx(0.1546 - 0.1530, abs=1e-4)


def test_targets_that_chose_strengths_are_no_evidence():
    assert not is_evidence(study_folder(RESULTS / "strengths-ml-100k-validation"))
    assert is_evidence(study_folder(RESULTS / "movielens_main-ml-100k"))
    assert not is_evidence(study_folder(RESULTS / "sweep_jester-jester"))
