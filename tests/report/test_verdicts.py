"""What the page says in words, of differences that are written down."""

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.report.forest import Forest, drawn
from recsys_posttrain.report.verdicts import answer, differences

COLUMN = "NDCG@10 liked"


def cells(**methods):
    """By method its mean and p; BC is the control, at .2."""
    rows = [
        {
            "method": method,
            "column": COLUMN,
            "mean": mean,
            "difference": mean - 0.2,
            "difference_low": mean - 0.21,
            "difference_high": mean - 0.19,
            "p_holm": p,
            "significant": p <= 0.05,
        }
        for method, (mean, p) in methods.items()
    ]
    nothing = dict.fromkeys(("difference", "difference_low", "difference_high", "p_holm"), np.nan)
    control = {"method": "BC", "column": COLUMN, "mean": 0.2, "significant": False, **nothing}
    return pd.DataFrame([control, *rows])


def pairs(**p):
    """By `A_B` the p of a pair."""
    names = [name.split("_") for name in p]
    return pd.DataFrame(
        {"method": [a for a, _ in names], "other": [b for _, b in names], "p_holm": p.values()}
    )


def said(of, between=None, column=COLUMN):
    found = answer("goal", column, of, "BC", between)
    return found.best, found.text


def test_one_that_is_better_than_all():
    of = cells(A=(0.25, 0.01), B=(0.22, 0.04), C=(0.1, 0.01))
    best, text = said(of, pairs(A_B=0.03, C_A=0.001))
    assert best == "A"
    assert text == "+.0500 [+.0400, +.0600] (p = .010) against BC. Every other method is worse."


def test_several_that_no_test_separates_are_undecided():
    of = cells(A=(0.25, 0.01), B=(0.24, 0.04), C=(0.23, 0.2), D=(0.1, 0.01))
    best, text = said(of, pairs(A_B=0.3, C_A=0.06, A_D=0.001, B_D=0.001))
    assert best == "A"
    assert text.endswith("against BC. Undecided between it and B, C.")


def test_a_higher_mean_without_a_test_does_not_win():
    """C has the highest mean, and differs from nothing."""
    best, text = said(cells(A=(0.25, 0.01), C=(0.3, 0.2)), pairs(A_C=0.5))
    assert (best, text) == (
        "A",
        "+.0500 [+.0400, +.0600] (p = .010) against BC. Undecided between it and C.",
    )


def test_nothing_better_than_the_control():
    best, text = said(cells(A=(0.22, 0.2), B=(0.21, 0.9)), pairs(A_B=1.0))
    assert best == ""
    assert text == (
        "No method is shown to be better than BC. Nearest: A, +.0200 [+.0100, +.0300] (p = .200)."
    )
    best, text = said(cells(A=(0.19, 0.2), B=(0.1, 0.001)))
    assert (best, text) == (
        "",
        "No method is shown to be better than BC. It has the highest mean; not separated from "
        "it: A.",
    )
    assert said(cells(A=(0.1, 0.01))) == ("BC", "the control: every other method is worse.")


def test_without_pairs_only_the_control_is_compared():
    best, text = said(cells(A=(0.25, 0.01), B=(0.24, 0.02)))
    assert best == "A"
    assert text.endswith("Its mean is the best of the 2 that are better than BC.")


def test_where_less_is_better_less_wins():
    column = "regret@10"
    of = cells(A=(0.15, 0.01), B=(0.3, 0.01)).assign(column=column)
    assert said(of, pairs(A_B=0.01), column)[0] == "A"
    found = differences(of, "BC", higher_is_better=False)
    assert [(each.method, each.verdict) for each in found] == [
        ("A", "better"),
        ("BC", "control"),
        ("B", "worse"),
    ]


def test_the_forest_has_bars_colours_and_coverage():
    rows = differences(cells(A=(0.25, 0.01), B=(0.22, 0.3), C=(0.18, 0.02)), "BC")
    html = drawn(Forest(COLUMN, "↑", "BC", rows, {"A": 0.5, "BC": 0.25}))
    lines = html.split("<tbody>")[1].split("</tr>")[:4]
    assert [line.split('class="')[1].split('"')[0] for line in lines] == [
        "better",
        "undecided",
        "control",
        "worse",
    ]
    assert "coverage@10" in html
    assert [line.count(">.5000<") + line.count(">.2500<") for line in lines] == [2, 0, 1, 0]
    dots = [float(line.split('cx="')[1].split("%")[0]) for line in (lines[0], lines[1], lines[3])]
    assert (dots[1] - dots[2]) / (dots[0] - dots[2]) == pytest.approx(4 / 7, abs=0.01)
    zero = float(lines[2].split('x1="')[1].split("%")[0])
    assert dots[0] > dots[1] > zero > dots[2]  # more is to the right
    assert (zero - dots[2]) / (dots[0] - dots[2]) == pytest.approx(2 / 7, abs=0.01)
    assert "circle" not in lines[2]
    assert html.count("minus BC [95%]") == 1
