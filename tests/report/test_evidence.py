"""Evidence and verdicts of studies written by hand."""

from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain.report import evidence
from recsys_posttrain.report.evidence import conditions_at, paying, safest, supported
from recsys_posttrain.report.findings import Finding, of_errors
from recsys_posttrain.report.study_folder import StudyFolder

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"
# (place, kind, level): accuracy, then the difference of PPO, ASFT and Pretrained to BC.
CLEAN = ("", "", 0.0)
BIAS, OTHER = ("model", "ItemBias", 1.0), ("model", "Independent", 1.0)
PPO_WINS = {CLEAN: (0.7, 0.5, 0.3, 0.1), BIAS: (0.5, 0.5, 0.3, 0.1)}
ASFT_WINS = {CLEAN: (0.7, 0.5, 0.3, 0.1), BIAS: (0.5, 0.2, 0.3, 0.1)}
HARMLESS = {OTHER: (0.5, 0.5, 0.3, 0.1)}


def _study(conditions: dict[tuple[str, str, float], tuple[float, ...]], half: float) -> StudyFolder:
    """Every difference has this half interval."""
    cells = []
    for (place, kind, level), (accuracy, *differences) in conditions.items():
        for method, d in zip(("PPO", "ASFT", "Pretrained"), differences, strict=True):
            cells.append([method, d, d - half, d + half, place, kind, level, accuracy])
        cells.append(["BC", None, None, None, place, kind, level, accuracy])
    bounds = ["difference", "difference_low", "difference_high"]
    condition = ["place", "kind", "level", "pairwise_accuracy"]
    frame = pd.DataFrame(cells, columns=["method", *bounds, *condition])
    frame = frame.assign(column="value", mean=0.5)
    record = {"dataset": "jester", "commit": "0123456789", "versions": {}}
    return StudyFolder(Path("noise_vs_quality-jester"), record, frame, "BC", None, ())


def _finding(study: StudyFolder, accuracy: float) -> Finding:
    names = ["pairwise_accuracy", "pairwise_accuracy_low", "pairwise_accuracy_high"]
    bounds = [accuracy, accuracy - 0.01, accuracy + 0.01]
    return of_errors(study, pd.Series(dict(zip(names, bounds, strict=True))))


def test_the_levels_around_the_accuracy_are_the_evidence() -> None:
    more = {("model", "ItemBias", 2.0): (0.4, 0.1, 0.3, 0.1)}
    found = conditions_at(_study(PPO_WINS | more, 0.05), 0.59, 0.6, 0.61)
    assert sorted(each.level for each in found) == [0.0, 1.0]
    found = conditions_at(_study(PPO_WINS | more, 0.05), 0.44, 0.45, 0.46)
    assert sorted(each.level for each in found) == [1.0, 2.0]
    assert all(each.is_near for each in found)


def test_a_study_with_the_projected_correlation_is_read_by_it() -> None:
    """Its order is another: the biased model orders logged items better. Without the model's own
    correlation with a truth, that with the judge is compared."""
    study = _study(PPO_WINS | HARMLESS, 0.05)
    study.cells["projected_truth"] = 0.9 - study.cells["pairwise_accuracy"]
    assert evidence.axis_of_models(study) == "projected_truth"
    assert evidence.studied_range(study) == pytest.approx((0.2, 0.4))
    found = conditions_at(study, 0.29, 0.3, 0.31)
    assert sorted({each.quality for each in found}) == pytest.approx([0.2, 0.4])
    names = ["projected_judge", "projected_judge_low", "projected_judge_high", "pairwise_accuracy"]
    model = pd.Series(dict(zip(names, (0.3, 0.29, 0.31, 0.7), strict=True)))
    text = "\n".join(of_errors(study, model).lines)
    assert "projected correlation (judge) .3000 [.2900, .3100]" in text
    assert "by projected correlation (truth)" in text
    study.cells.loc[0, "projected_truth"] = float("nan")
    assert evidence.axis_of_models(study) == "pairwise_accuracy"


def test_overlapping_intervals_are_not_told_apart() -> None:
    """.5 ± .1 and .3 ± .1 touch at .4; with ±.09 they do not."""
    touching = conditions_at(_study(PPO_WINS, 0.1 + 1e-9), 0.5, 0.5, 0.5)
    apart = conditions_at(_study(PPO_WINS, 0.09), 0.5, 0.5, 0.5)
    assert supported(touching) == {"PPO", "ASFT"}
    assert supported(apart) == {"PPO"}


def test_a_method_pays_only_above_the_untrained_everywhere() -> None:
    near = conditions_at(_study(ASFT_WINS, 0.05), 0.59, 0.6, 0.61)
    assert paying(near, frozenset({"PPO", "ASFT"})) == {"ASFT"}  # PPO under the bias: .15 = .15


def test_the_safest_has_the_best_worst_case() -> None:
    near = conditions_at(_study(ASFT_WINS, 0.05), 0.59, 0.6, 0.61)
    name, bound = safest(near)
    assert (name, bound) == ("ASFT", pytest.approx(0.25))


def test_one_method_under_both_errors_is_supported() -> None:
    found = _finding(_study(PPO_WINS | HARMLESS, 0.05), 0.6)
    assert found.best == ("PPO",)
    assert found.is_near
    assert not found.has_tilt
    assert "PPO is above policies trained without rewards under every error" in found.verdict


@pytest.mark.parametrize(
    ("study", "accuracy", "why"),
    [
        (_study(PPO_WINS | HARMLESS, 0.05), 0.8, "outside of what was studied"),
        (_study(PPO_WINS | HARMLESS, 0.05), 0.4, "outside of what was studied"),
        (_study(ASFT_WINS | HARMLESS, 0.04), 0.5, "no method is among the best"),
        (_study(PPO_WINS | HARMLESS, 0.3), 0.6, "no interval is above"),
    ],
    ids=["above", "below", "depends", "overlap"],
)
def test_nothing_is_supported_where_the_intervals_say_nothing(
    study: StudyFolder, accuracy: float, why: str
) -> None:
    found = _finding(study, accuracy)
    assert found.best == ()
    assert why in found.verdict
    assert found.is_near == ("outside" not in why)


def test_two_that_pay_are_both_supported_the_surer_one_first() -> None:
    close = {CLEAN: (0.7, 0.45, 0.5, 0.1), BIAS: (0.5, 0.45, 0.5, 0.1)}
    found = _finding(_study(close | {OTHER: (0.5, 0.45, 0.5, 0.1)}, 0.05), 0.6)
    assert found.best == ("ASFT", "PPO")
    assert "ASFT and 1 more, not told apart, are" in found.verdict


def test_the_strength_is_what_was_chosen_where_the_quality_is_near() -> None:
    study = _study(PPO_WINS | HARMLESS, 0.05)
    chosen = {"": "KL 1", "ItemBias": "KL 3", "Independent": "KL 1"}
    study.cells["strength"] = study.cells["kind"].map(chosen)
    assert _finding(study, 0.6).strengths["PPO"] == "KL 1 or KL 3"


def test_a_published_study_decides_nothing_outside_of_its_qualities() -> None:
    """No method of the semi-synthetic study is advised for a model that is better than its own."""
    from recsys_posttrain.report.study_folder import study_folder

    study = study_folder(RESULTS / "noise_vs_quality-semi-ml-100k")
    low, high = evidence.studied_range(study)
    assert _finding(study, high + 0.1).best == ()
    assert low < high


def test_a_model_with_a_judge_is_read_by_the_studys_judge() -> None:
    """Jester's clean model agrees .837 with its judge and .361 with the truth: one that agrees .83
    with its own judge is as good as that one. Independent errors leave both correlations, and take
    the argmax down, so nothing is supported under every error."""
    from recsys_posttrain.report.study_folder import study_folder

    study = study_folder(RESULTS / "noise_vs_quality-jester")
    assert evidence.studied_range(study) == pytest.approx((-0.040, 0.364), abs=5e-4)  # table.md
    names = ["projected_judge", "projected_judge_low", "projected_judge_high", "pairwise_accuracy"]
    model = pd.Series(dict(zip(names, (0.83, 0.82, 0.84, 0.6), strict=True)))
    found = of_errors(study, model)
    assert found.is_near
    assert found.best == ()
    assert "by projected correlation (judge)" in "\n".join(found.lines)
