"""Tables of curves with values computed by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.evaluation.over_optimisation import mean_curves
from recsys_posttrain.report.over_optimisation import curves_sheet, write_curves
from recsys_posttrain.report.render import markdown

E2 = math.e**2


def points(method, seed, steps, kl, proxy, gold):
    return pd.DataFrame(
        {
            "step": steps,
            "kl": kl,
            "sqrt_kl": np.sqrt(kl),
            "reward/proxy": proxy,
            "reward/gold": gold,
            "method": method,
            "seed": seed,
        }
    )


@pytest.fixture
def three():
    """hacks: gold d (2 - d / 2) with d = 0 to 4 in the mean of two seeds, 3 at the reference; a
    step that one seed lacks. PPO|x: gold d (1 - log d) / 2 with d = sqrt e, 1, e, e^2. short: one
    step."""
    kl, gold = [0, 0.5, 3, 8, 15], [3, 4.4, 5.1, 4.4, 2.9]
    other_kl, other_gold = [0, 1.5, 5, 10, 17, 50], [3, 4.6, 4.9, 4.6, 3.1, 0]
    of_ppo = [3, 3.5, 3 + math.sqrt(math.e) / 4, 3, 3 - E2 / 2]
    runs = [
        points("hacks", 0, [0, 1, 4, 9, 16], kl, [4, 5, 6, 7, 8], gold),
        points("hacks", 1, [0, 1, 4, 9, 16, 25], other_kl, [4, 5, 6, 9, 8, 0], other_gold),
        points("PPO|x", 0, [0, 2, 3, 5, 7], [0, 1, math.e, E2, E2**2], 4.0, of_ppo),
        points("short", 0, [0, 9], [0, 2], [4, 3.5], [3, 2.75]),
    ]
    return pd.concat(runs, ignore_index=True)


def text_of(curves, what, seeds):
    return markdown(curves_sheet(curves, what, seeds))


def tables(text):
    """The rows of each table of a text, as lists of cells."""
    found = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            cells = line.replace(r"\|", "!").strip("|").split("|")
            found[-1].append([cell.strip() for cell in cells])
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def test_the_mean_over_seeds_at_steps_that_all_have(three):
    curve = mean_curves(three)["hacks"]
    np.testing.assert_allclose(curve.sqrt_kl_N, [0, 1, 2, 3, 4])
    np.testing.assert_allclose(curve.proxy_N, [0, 1, 2, 4, 4])
    np.testing.assert_allclose(curve.gold_N, [0, 1.5, 2, 1.5, 0], atol=1e-12)
    assert curve.peak_kl == pytest.approx(4)
    assert curve.judge_N is None
    assert curve.fitted.law.name == "best-of-n"


def test_the_tables_by_hand(three):
    text = text_of(mean_curves(three), "x", 2)
    observed, laws = tables(text)
    head = ["run", "points", "largest KL", "proxy gain there", "largest gold gain", "at KL"]
    assert observed[0] == [*head, "peak"]
    assert observed[2:] == [
        ["hacks", "5", "16", "+4.0000", "+2.0000", "4", "KL 4"],
        ["PPO!x", "5", "54.6", ".0000", "+.5000", "1", "KL 1"],
        ["short", "2", "2", "-.5000", ".0000", "0", "no peak in range"],
    ]
    assert laws[0] == ["run", "law", "a", "b", "R²", "fitted peak KL"]
    assert [" ".join(row[:2]) for row in laws[2:]] == [
        *("hacks best-of-n", "hacks RL", "PPO!x RL")
    ], "best of n says less of PPO than a constant"
    assert laws[2][2:] == ["2", "0.5", "1.0000", "4"]
    assert laws[4][2:] == ["0.5", "0.5", "1.0000", "1"]
    assert text.startswith("Over-optimisation on x; 2 seeds, mean")
    assert "gold: the true reward." in text


def test_peaks_that_were_not_seen(three):
    """Gold d (2 - d / 10) up to d = 4 peaks at d = 10; gold 2 d + d^2 has no peak."""
    rising = three[three["method"] == "short"].iloc[[0] * 5].reset_index(drop=True)
    d_N = np.arange(5.0)
    frame = rising.assign(step=range(5), kl=d_N**2)
    for gold_N, coefficients in (
        (d_N * (2 - d_N / 10), ["2", "0.1"]),
        (2 * d_N + d_N**2, ["2", "-1"]),
    ):
        text = text_of(mean_curves(frame.assign(**{"reward/gold": gold_N})), "x", 1)
        observed, laws = tables(text)
        assert laws[2][1:] == ["best-of-n", *coefficients, "1.0000", "no peak in range"]
        assert observed[2][-1] == "no peak in range"


def test_points_that_say_nothing_have_no_law(three):
    """One run with a single step away from the reference."""
    text = text_of(mean_curves(three[three["method"] == "short"]), "x", 1)
    (observed,) = tables(text)
    assert observed[2][-1] == "no peak in range"
    assert "No law could be fitted." in text


def test_the_judge_counts_only_where_there_is_no_truth(three):
    both = three.assign(**{"reward/judge": -three["reward/gold"]})
    assert text_of(mean_curves(both), "x", 2) == text_of(mean_curves(three), "x", 2)
    judge = three.rename(columns={"reward/gold": "reward/judge"})
    text = text_of(mean_curves(judge), "x", 2)
    assert "judge: a reward model of other users, not the truth." in text
    assert "fitted to judge" in text
    observed, laws = tables(text)
    assert observed[0][4] == "largest judge gain"
    assert observed[2][4:] == ["+2.0000", "4", "KL 4"]
    assert laws[2][2:] == ["2", "0.5", "1.0000", "4"]
    assert "gold" not in text


def test_without_both_nothing_is_fitted(three, tmp_path):
    curves = mean_curves(three.drop(columns="reward/gold"))
    text = text_of(curves, "x", 2)
    (observed,) = tables(text)
    assert observed[2] == ["hacks", "5", "16", "+4.0000"]
    assert "No truth and no judge" in text
    said = write_curves(three.drop(columns="reward/gold"), tmp_path, "x")
    assert "hacks  proxy +4.0000 at KL 16\n" in said


def test_what_is_written_and_said(three, tmp_path):
    said = write_curves(three, tmp_path, "x")
    names = {"curves.parquet", "over_optimisation.md", "over_optimisation.png"}
    assert {path.name for path in tmp_path.iterdir()} == names | {"over_optimisation.json"}
    assert all(name in said for name in names)
    assert "hacks  proxy +4.0000 at KL 16; gold at most +2.0000, at KL 4, peak at 4\n" in said
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "curves.parquet"), three)
