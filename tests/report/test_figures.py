import sys

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.over_optimisation import BEST_OF_N, Curve, fit
from recsys_posttrain.report.figures import LINES, _styled, over_optimisation, panels
from recsys_posttrain.report.noise_quality import methods_drawn

SQRT_KL_N = np.array([2.0, 0.0, 1.0, 3.0])
GOLD_N = SQRT_KL_N * (2 - 0.5 * SQRT_KL_N)


@pytest.fixture
def figures(monkeypatch):
    """What is saved from now on."""
    saved = []
    target = "recsys_posttrain.report.figures.save"
    monkeypatch.setattr(target, lambda figure, path: saved.append(figure))
    return saved


def test_a_panel_for_each_method_with_everything_that_was_given(tmp_path, figures):
    """Five methods: three columns, two rows, the sixth panel hidden. Points are drawn in the order
    of sqrt KL; a fit adds its curve, and a peak in range is at d = 2."""
    plain = Curve(SQRT_KL_N, 2 * SQRT_KL_N, GOLD_N)
    fitted = plain._replace(fitted=fit(BEST_OF_N, SQRT_KL_N, GOLD_N), peak_kl=4.0)
    curves = {"ASFT": fitted} | {f"method {number}": plain for number in range(4)}
    over_optimisation(curves, tmp_path / "x.png", unit="stars")
    axes = figures[0].axes
    assert [axis.get_title() for axis in axes if axis.get_visible()] == list(curves)
    assert len(axes) == 6
    lines = {line.get_label(): line for line in axes[0].get_lines()}
    for label, values_N in (("gold (truth)", GOLD_N), ("proxy (reward model)", 2 * SQRT_KL_N)):
        np.testing.assert_array_equal(lines[label].get_xdata(), [0, 1, 2, 3])
        np.testing.assert_array_equal(lines[label].get_ydata(), values_N[[1, 2, 0, 3]])
    np.testing.assert_allclose(lines["peak"].get_xdata(), 2)
    assert "law fitted to gold" in lines
    assert "law fitted to gold" not in [line.get_label() for line in axes[1].get_lines()]
    assert axes[0].get_ylabel() == "gain over the reference\n(stars)"
    assert all("√nat" in axis.get_xlabel() for axis in axes[:5])


def test_a_judge_in_the_place_of_the_truth(tmp_path, figures):
    fitted = fit(BEST_OF_N, SQRT_KL_N, GOLD_N)
    curve = Curve(SQRT_KL_N, 2 * SQRT_KL_N, judge_N=GOLD_N, fitted=fitted)
    over_optimisation({"ASFT": curve}, tmp_path / "x.png")
    lines = {line.get_label(): line for line in figures[0].axes[0].get_lines()}
    np.testing.assert_array_equal(lines["judge (of other users)"].get_ydata(), GOLD_N[[1, 2, 0, 3]])
    assert "law fitted to judge" in lines
    assert "peak" not in lines
    assert not [label for label in lines if "gold" in label]


def test_the_file_is_a_png_and_the_same_each_time(tmp_path):
    curves = {"ASFT": Curve(SQRT_KL_N, 2 * SQRT_KL_N, GOLD_N)}
    paths = [tmp_path / "new" / name for name in ("one.png", "two.png")]
    for path in paths:
        over_optimisation(curves, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    pixels = pytest.importorskip("matplotlib.image").imread(paths[0])[..., :3]
    assert pixels.shape[0] > 300
    assert pixels.std() > 0.05  # something is drawn


def test_no_two_lines_look_alike_in_grey():
    """Another marker and another dash for each, and brightness (Rec. 601) that only rises."""
    assert len({line["marker"] for line in LINES}) == len(LINES)
    assert len({str(line["linestyle"]) for line in LINES}) == len(LINES)
    shares = {1: 0.299, 3: 0.587, 5: 0.114}
    grey = [sum(s * int(line["color"][n : n + 2], 16) for n, s in shares.items()) for line in LINES]
    assert grey == sorted(grey)


def test_no_curve_is_refused(tmp_path):
    with pytest.raises(UserError, match="no curve to draw"):
        over_optimisation({}, tmp_path / "x.png")


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"recsys-posttrain\[figures\]"):
        panels(1, 1)


def test_bounds_have_no_line_and_every_method_has_one():
    """A world's bounds stood in the picture, and the methods behind them did not."""
    conditions = [("", "", 0.0), ("model", "ItemBias", 0.6), ("model", "ItemBias", 1.2)]
    rows = [
        {"method": name, "place": place, "kind": kind, "level": level, "mean": mean}
        for name, means in {
            "BC": (3, 3, 3),
            "Oracle": (4, 4, 4),
            **{f"M{n}": (3.5, 3.2, 3 - n / 10) for n in range(9)},
        }.items()
        for (place, kind, level), mean in zip(conditions, means, strict=True)
    ]
    names = methods_drawn(pd.DataFrame(rows))
    assert names == [f"M{n}" for n in range(9)]
    styles = [line for _, line in _styled(names)]
    assert len({str(sorted(line.items(), key=str)) for line in styles}) == 9
