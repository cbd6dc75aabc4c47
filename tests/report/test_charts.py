"""What the panels hold and where it is drawn, from numbers by hand."""

import json
import re
from itertools import combinations
from xml.etree import ElementTree

import pandas as pd
import pytest

from recsys_posttrain.report import charts
from recsys_posttrain.report.study_folder import study_folder, without_outlier
from recsys_posttrain.report.style import COLORS, style_of
from recsys_posttrain.report.svg import Line, Panel, draw, number, ticks


def drawn(panel):
    """By name the places of the points."""
    root = ElementTree.fromstring(draw(panel))
    return {
        group.get("data-name"): [
            tuple(map(float, re.findall(r"[-\d.]+", path.get("transform"))))
            for path in group.iter("path")
            if path.get("transform")
        ]
        for group in root.iter("g")
    }


def test_points_lie_where_their_numbers_say():
    """Three points on a line, the middle one at a quarter of the way."""
    panel = Panel("t", "x", "y", [Line("A", [0, 1, 4], [0, 1, 4], [-1, 0, 3], [1, 2, 5])])
    (x0, y0), (x1, y1), (x4, y4) = drawn(panel)["A"]
    assert x0 < x1 < x4
    assert y0 > y1 > y4  # up is less
    assert (x1 - x0) / (x4 - x0) == pytest.approx(0.25, abs=1e-3)
    assert (y1 - y0) / (y4 - y0) == pytest.approx(0.25, abs=1e-3)
    text = draw(panel)
    assert "A: 1 at 1 [0, 2]" in text
    bars = [
        tuple(map(float, re.findall(r"[\d.]+", d))) for d in re.findall(r'bar" d="(\S+ \S+)"', text)
    ]
    height = (y0 - y4) / 4  # of one unit
    assert [(b[1] - b[2]) / height for b in bars] == pytest.approx([2, 2, 2], abs=0.01)


def test_an_axis_that_falls_has_the_greatest_on_the_left():
    ((x0, _), (x1, _)) = drawn(Panel("t", "x", "y", [Line("A", [0, 1], [0, 0])], falls=True))["A"]
    assert x0 > x1


def test_what_is_missing_is_not_drawn():
    panel = Panel("t", "x", "y", [Line("A", [0.0, 1.0, 2.0], [1.0, float("nan"), 2.0])])
    assert len(drawn(panel)["A"]) == 2
    assert "nan" not in draw(panel)
    assert draw(Panel("t", "x", "y", []))  # nothing at all has axes


def test_ticks_are_round():
    assert ticks(0.0, 1.0) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(-0.013, 0.021, 4) == [-0.01, 0, 0.01, 0.02]
    assert ticks(3, 1203) == [500, 1000]
    assert [number(value) for value in (0.25, -0.5, 3, 1000, 0)] == [
        ".25",
        "-.5",
        "3",
        "1,000",
        "0",
    ]


def test_a_method_looks_the_same_everywhere_and_unlike_the_others():
    known = ["BC", "ASFT", "DPO", "GRPO", "OfflinePPO", "RWR", "ExpRSFT", "KTO", "CQL"]
    colors = [style_of(name).color for name in known]
    assert len({*colors}) == len(known)
    assert colors[0] == "currentColor"  # also on a dark screen
    assert set(colors[1:]) < set(COLORS)
    variant, method = style_of("ASFT(model)"), style_of("ASFT")
    assert variant.color == method.color
    assert variant.dash != method.dash
    several = [*known, "ASFT(model)", "Pessimistic(DPO)", "IQL", "BC, shuffled reward"]
    assert all(style_of(a) != style_of(b) for a, b in combinations(several, 2))


def test_noise_panels_go_from_good_rewards_to_bad_or_where_the_accuracy_stays_by_level(
    finished_study,
):
    study = study_folder(finished_study)
    (panel,) = charts.noise_against_quality(study, "reward gold@5")
    (line,) = panel.lines
    assert (panel.title, line.name, panel.y) == ("ItemBias, reward model", "PPO", "reward gold@5")
    assert (line.x, panel.falls) == ([0.6, 0.2], True)
    study.cells["projected_truth"] = 0.6
    (panel,) = charts.noise_against_quality(study, "reward gold@5")
    assert (panel.lines[0].x, panel.falls) == ([0.0, 0.6], False)


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
    (panel,) = charts.over_optimisation(points)
    gold, proxy = panel.lines
    assert panel.title == "PPO"
    assert gold.x == [0.0, 0.5, 1.0]  # square roots of the KL
    assert gold.y == pytest.approx([0.0, 0.2, 0.1])
    assert proxy.y == pytest.approx([0.0, 0.5, 1.0])


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
    (panel,) = charts.tuning(trials)
    tried, best, failed, pruned = panel.lines
    assert tried.y == [0.2, 0.1, 0.4]
    assert best.y == [0.2, 0.2, 0.4]
    assert (failed.x, failed.notes) == ([1], ["diverged"])
    assert (pruned.x, pruned.notes) == ([4], ["behind"])
    assert failed.y == pruned.y == [0.1]
    assert charts.names([panel]) == ("no noise",)


def test_training_curves_are_those_of_the_first_seed(finished_study):
    record = json.loads((finished_study / "run.json").read_text())
    stages = {"reward": "reward-0", "PPO/0": "posttrain-0", "PPO/1": "posttrain-1"}
    record["stages"] = {name: {"folder": folder} for name, folder in stages.items()}
    (finished_study / "run.json").write_text(json.dumps(record))
    assert charts.training(study_folder(finished_study)) == []  # published results have no stages
    for folder, first in (("reward-0", 9.0), ("posttrain-0", 3.0), ("posttrain-1", 5.0)):
        (path := finished_study.parent / "stages" / folder).mkdir(parents=True)
        logged = [{"step": 10, "loss": first, "kl": 0.1}, {"step": 20, "loss": 1.0, "kl": 0.2}]
        logged += [{"step": 30, "loss": 2.0}, {"step": 30, "validation/ndcg@10": 0.5}]
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in logged))
    panels = {panel.title: panel.lines for panel in charts.training(study_folder(finished_study))}
    assert list(panels) == ["loss", "kl", "validation/ndcg@10"]
    assert {title: (lines[0].x, lines[0].y) for title, lines in panels.items()} == {
        "loss": ([10, 20, 30], [1.0, 0.0, 0.5]),
        "kl": ([10, 20], [0.1, 0.2]),
        "validation/ndcg@10": ([30], [0.5]),
    }
    assert {line.name for lines in panels.values() for line in lines} == {"PPO"}
