"""Rewards as formulas of columns: values by hand and by pandas, and a sentence for a mistake."""

import math

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.data.expression import Expression, named_expressions
from recsys_posttrain.errors import UserError

COLUMNS = {
    "thumbs": np.array([1.0, 0.0, -1.0, 0.0]),
    "completion": np.array([0.5, 1.0, 0.25, 0.0]),
    "watch time": np.array([30.0, 0.0, 60.0, 600.0]),
    "gap": np.array([1.0, np.nan, 2.0, np.nan]),
}
USERS = np.array(["a", "b", "a", "b"], dtype=object)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("thumbs", [1, 0, -1, 0]),
        ("1.0*thumbs + 0.5*completion - 0.3", [0.95, 0.2, -1.175, -0.3]),
        # Products before sums, from the left, and a sign before all.
        ("1 - completion - thumbs", [-0.5, 0, 1.75, 1]),
        ("completion / 2 / 4", [0.0625, 0.125, 0.03125, 0]),
        ("-completion * -(2 + thumbs)", [1.5, 2, 0.25, 0]),
        ("+ thumbs", [1, 0, -1, 0]),
        ('"watch time" / 60', [0.5, 0, 1, 10]),
        ("' watch time ' / 60", [0.5, 0, 1, 10]),
        ("clip('watch time', 10, 100)", [30, 10, 60, 100]),
        ("log1p('watch time')", [math.log(31), 0, math.log(61), math.log(601)]),
        ("floor('watch time' / 50)", [0, 0, 1, 12]),
        ("fill(gap, -completion)", [1, -1, 2, 0]),
        # User a has 30 < 60, b has 0 < 600.
        ("quantile_within_user('watch time')", [0.25, 0.25, 0.75, 0.75]),
        # thumbs: the group of 0 has 1 and 0; the others are alone.
        ("quantile_within(completion, thumbs)", [0.5, 0.75, 0.5, 0.25]),
        ("quantile_within_user(thumbs * 0)", [0.5] * 4),
        ("1e-3 * thumbs", [0.001, 0, -0.001, 0]),
    ],
)
def test_values_by_hand(text, expected):
    found = Expression(text).values(COLUMNS, USERS)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)
    assert found.dtype == np.float64


def test_quantiles_are_those_of_pandas_with_ties_and_missing_values():
    generator = np.random.default_rng(0)
    value = generator.integers(0, 5, 300).astype(float)
    value[generator.random(300) < 0.1] = np.nan
    group = np.array([f"u{n}" for n in generator.integers(0, 20, 300)], dtype=object)
    by_user = pd.Series(value).groupby(group)
    expected = (by_user.rank(method="average") - 0.5) / by_user.transform("count")
    found = Expression("quantile_within_user(x)").values({"x": value}, group)
    np.testing.assert_allclose(found, expected.to_numpy(), rtol=1e-12, atol=0)


def test_columns_are_named_once_in_order():
    assert Expression("b*a + 'a b' - a").columns == ("b", "a", "a b")


def test_the_same_formula_has_one_text():
    assert Expression("( a+1 )*2").canonical == Expression("(a + 1) * 2").canonical
    assert Expression("a + 1 * 2").canonical != Expression("(a + 1) * 2").canonical


REFUSED = {
    "__import__('os').system('x')": 'has "__import__',
    "__import__('os')": "calls __import__, which there is not",
    "a.b": "has 'a.b'",
    "a[0]": r"has 'a\[0\]'",
    "a if b else c": "has 'a if b else c'",
    "a ** 2": r"has 'a \*\* 2'",
    "a // 2": "has 'a // 2'",
    "a > 1": "has 'a > 1'",
    "not a": "has 'not a'",
    "[a for a in b]": "has ",
    "lambda: a": "has 'lambda: a'",
    "f'{a}'": "has ",
    "(a := 1)": "has ",
    "True * a": "has 'True'",
    "1j * a": "has '1j'",
    "None": "has 'None'",
    "1e999 * a": "has a number above 1e",
    "9" * 400 + " * a": "has a number above 1e",
    "a +": "cannot be read",
    "": "cannot be read",
    "a b": "cannot be read",
    "a; b": "cannot be read",
    "a\0": "cannot be read",
    "-" * 499 + "a": "cannot be read",
    "(" * 249 + "a" + ")" * 249: "cannot be read",
    "a + " * 125 + "a": "has 501 characters; give at most 500",
    "1 + 2": "names no column",
    "clip(a, 1)": "gives clip 2 values, which takes 3",
    "clip(a, low=1, high=2)": "has 'clip",
    "log1p(*a)": r"has '\*a'",
    "exp(a)": "calls exp, which there is not",
    "clipp(a, 1, 2)": "did you mean 'clip'",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:20])
def test_everything_else_is_refused_in_a_sentence(text):
    with pytest.raises(UserError, match=f"^--reward .*{REFUSED[text]}"):
        _ = Expression(text).columns


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "completion / thumbs",
            "has no value in 2 of 4 rows; row 2 divides by 0 or is too large: give a larger",
        ),
        ("thumbs / thumbs", "has no value in 2 of 4 rows; row 2 divides by 0"),
        ("gap + thumbs", r"2 of 4 rows; row 2 has nothing in gap: give fill\(gap, 0\), where not"),
        ("log1p(thumbs * 2)", "in 1 of 4 rows; row 3 divides by 0 or is too large"),
    ],
)
def test_a_row_without_a_value_is_counted_and_named(text, sentence):
    formula = Expression(text)
    value_E = formula.values(COLUMNS, USERS)
    with pytest.raises(UserError, match=sentence):
        formula.check(value_E, COLUMNS, lambda row: f"row {row + 1}")


def test_signals_are_columns_or_formulas_with_a_name():
    found = named_expressions("click, 'watch time', long = clip(watch / duration, 0, 1)")
    assert {name: each.columns for name, each in found.items()} == {
        "click": ("click",),
        "watch time": ("watch time",),
        "long": ("watch", "duration"),
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("click, click", "--signals names click twice"),
        ("click, a=b, a=c", "--signals .*(cannot be read|names a twice)"),
        ("a / b", "the formula 'a / b' needs a name: give x=a / b"),
        (" ", "is no list"),
        ("a) + f(b", "is no list"),
        ("a=1", "names no column"),
        ("*a", "--signals"),
        ("**a", "needs a name"),
        ("a=open(b)", "calls open"),
    ],
)
def test_signals_that_are_refused(text, sentence):
    with pytest.raises(UserError, match=sentence):
        named_expressions(text)
