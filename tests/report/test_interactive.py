"""What the panels draw, from numbers by hand."""

import pandas as pd
import pytest

from recsys_posttrain.report import interactive
from recsys_posttrain.report.study_folder import study_folder, without_outlier


def test_the_leaderboard_has_means_and_bounds_of_the_rows(finished_study):
    rows = pd.read_parquet(finished_study / "rows.parquet")
    panels = dict(interactive.leaderboard(study_folder(finished_study)))
    (drawn,) = panels["NDCG@10 all"].data
    at = dict(zip(drawn.y, drawn.x, strict=True))
    expected = rows.groupby("method")["ndcg@10"].mean()
    for method in ("Pretrained", "BC", "PPO"):
        assert at[method] == pytest.approx(expected[method], abs=1e-9)  # printed with ten digits
    assert list(drawn.x) == sorted(drawn.x)  # the best is on top
    assert (pd.Series(drawn.error_x.array) > 0).all()
    assert "coverage@10" not in panels  # it has no interval


def test_noise_panels_go_from_good_rewards_to_bad_or_where_the_accuracy_stays_by_level(
    finished_study,
):
    study = study_folder(finished_study)
    ((title, figure),) = interactive.noise_against_quality(study, "reward gold@5")
    (line,) = figure.data
    assert (title, line.name) == ("ItemBias, reward model", "PPO")
    assert list(line.x) == [0.6, 0.2]
    assert figure.layout.xaxis.autorange == "reversed"
    study.cells["projected_truth"] = 0.6
    ((_, figure),) = interactive.noise_against_quality(study, "reward gold@5")
    assert list(figure.data[0].x) == [0.0, 0.6]


def test_popularity_far_from_all_others_is_left_out():
    """The others span .3 to .6: kept down to .0, left out below."""
    cells = pd.DataFrame(
        {
            "method": ["Popularity", "A", "B"],
            "mean": [0.01, 0.4, 0.5],
            "low": [0.0, 0.3, 0.4],
            "high": [0.02, 0.5, 0.6],
        }
    )
    assert without_outlier(cells)["method"].tolist() == ["Popularity", "A", "B"]
    cells.loc[0, "mean"] = -0.01
    assert without_outlier(cells)["method"].tolist() == ["A", "B"]


def test_gains_are_differences_to_the_first_step(finished_study):
    points = pd.read_parquet(finished_study / "curves.parquet")
    ((run, figure),) = interactive.over_optimisation(points)
    gold, proxy = figure.data
    assert run == "PPO"
    assert list(gold.x) == [0.0, 0.5, 1.0]  # square roots of the KL
    assert list(gold.y) == pytest.approx([0.0, 0.2, 0.1])
    assert list(proxy.y) == pytest.approx([0.0, 0.5, 1.0])


def test_the_tuning_shows_the_best_so_far_and_every_failure():
    values = [0.2, None, 0.1, 0.4, None]
    trials = pd.DataFrame(
        {
            "algorithm": "PPO",
            "noise": "",
            "trial": range(5),
            "state": ["complete", "failed", "complete", "complete", "pruned"],
            "reason": ["", "diverged", "", "", "behind"],
            "value": values,
        }
    )
    ((_, figure),) = interactive.tuning(trials)
    tried, best, failed, pruned = figure.data
    assert list(tried.y) == [0.2, 0.1, 0.4]
    assert list(best.y) == [0.2, 0.2, 0.4]
    assert (list(failed.x), list(failed.customdata)) == ([1], ["diverged"])
    assert (list(pruned.x), list(pruned.customdata)) == ([4], ["behind"])
    assert list(failed.y) == list(pruned.y) == [0.1]
