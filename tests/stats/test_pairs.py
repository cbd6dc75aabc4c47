"""All pairs of methods: wins and equality by hand, and the rows of a table."""

from io import StringIO

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from recsys_posttrain.report.cells import p_text
from recsys_posttrain.report.latex import latex
from recsys_posttrain.report.render import markdown
from recsys_posttrain.report.table import comparison_table, write_table
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats import bootstrap as bootstrap_module
from recsys_posttrain.stats.bootstrap import bootstrap, equivalence_p, interval, p_value
from recsys_posttrain.stats.columns import Column
from recsys_posttrain.stats.pairs import compared_pairs, equal, margin_of, separated, wins
from recsys_posttrain.stats.significance import holm

NDCG, GOLD = Column("NDCG@10", "all", "ndcg@10"), Column("reward", "gold@5", "reward/gold@5")


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_wins_by_hand(higher_is_better):
    """C is above both others by a test, and A above B by none; where lower is better the other way
    round."""
    pairs = pd.DataFrame(
        [
            ("A", "B", 1.0, 0.2),
            ("A", "C", -2.0, 0.05),
            ("C", "B", 3.0, 0.01),
            ("A", "D", 9, np.nan),
        ],
        columns=["method", "other", "difference", "p_holm"],
    )
    found = wins(pairs, ["A", "B", "C", "D"], higher_is_better)
    by_hand = [[0, 1], [0, 1], [2, 0], [0, 0]]
    assert found.tolist() == [each[:: 1 if higher_is_better else -1] for each in by_hand]
    assert wins(pairs[:0], ["A"], higher_is_better).tolist() == [[0, 0]]


def drawn(num_users=150, seeds=2):
    """Four methods: A and B alike, C a little above, D far above; rewards of 3 and as much more."""
    rng = np.random.default_rng(0)
    user_N = rng.uniform(0.2, 0.6, num_users)
    frames = []
    for method, gain in {"A": 0.0, "B": 0.0005, "C": 0.02, "D": 0.2}.items():
        for seed in range(seeds):
            value_N = user_N + gain + rng.normal(0, 0.01, num_users)
            columns = {
                "user_id": np.arange(num_users),
                "item_id": np.arange(num_users),
                "reward": 4.0,
                "total_reward": 9.0,
                "ndcg@10": value_N,
                "reward/gold@5": 3 + value_N,
            }
            frames.append(pd.DataFrame(columns).assign(method=method, seed=seed))
    return pd.concat(frames, ignore_index=True)


def table_of(rows, **changes):
    given = {"num_items": 9, "control": "A", "columns": (NDCG, GOLD), "resamples": 5_000}
    return comparison_table(rows, **(given | changes))


def test_pairs_agree_with_the_statistics_done_one_by_one():
    rows, columns = drawn(), ("ndcg@10", "reward/gold@5")
    pairs = table_of(rows).comparison.pairs
    assert len(pairs) == 2 * 6
    by_run = rows.set_index(["method", "seed"])
    for source, margin, of_column in zip(
        columns,
        (0.1 * rows.loc[rows["method"] == "A", "ndcg@10"].mean(), 0.1),
        (pairs.iloc[:6], pairs.iloc[6:]),
        strict=True,
    ):
        p, p_equal = [], []
        for row in of_column.itertuples():
            first_SN, second_SN = (
                np.stack([by_run.loc[(name, s), source].to_numpy() for s in (0, 1)])
                for name in (row.method, row.other)
            )
            mean, draws = bootstrap(
                (first_SN - second_SN)[None], resamples=5_000, rng=np.random.default_rng(0)
            ).mean_and_draws
            found = interval(mean[0], draws[:, 0])
            assert row.difference == pytest.approx(np.mean(first_SN - second_SN))
            assert [row.low, row.high] == pytest.approx([found.low, found.high])
            assert row.margin == pytest.approx(margin)
            p.append(p_value(draws[:, 0]))
            p_equal.append(equivalence_p(draws[:, 0], margin))
        assert of_column["p_value"].tolist() == pytest.approx(p)
        assert of_column["p_equal"].tolist() == pytest.approx(p_equal)
        assert of_column["p_holm"].tolist() == pytest.approx(holm(p).tolist())
        assert of_column["p_equal_holm"].tolist() == pytest.approx(holm(p_equal).tolist())


def test_the_margin_is_a_share_of_the_control_or_of_a_star():
    tens = RewardScale(unit=2.5)
    assert margin_of(NDCG, 0.3, tens, 0.1) == pytest.approx(0.03)
    assert margin_of(NDCG, -0.3, tens, 0.1) == pytest.approx(0.03)
    assert margin_of(GOLD, 7.0, tens, 0.1) == pytest.approx(0.25)
    pairs = table_of(drawn(), margin=0.2).comparison.pairs
    assert pairs["margin"].iloc[-1] == pytest.approx(0.2)


def test_who_differs_and_who_is_equal():
    """C is apart from A of many users, and within a tenth of it: both claims hold."""
    pairs = table_of(drawn(seeds=1)).comparison.pairs
    of_ndcg, methods = pairs[pairs["column"] == "NDCG@10 all"], list("ABCD")
    apart, alike = separated(of_ndcg, methods), equal(of_ndcg, methods)
    assert apart.tolist() == [
        [False, False, True, True],
        [False, False, True, True],
        [True, True, False, True],
        [True, True, True, False],
    ]
    assert alike[0].tolist() == [False, True, True, False]
    assert not alike[3].any()


def test_one_pair_without_a_value_has_no_p():
    nan = np.full((10, 1), np.nan)
    (row,) = compared_pairs("x", ("A", "B"), [(np.nan, nan[:, 0])], 0.1)
    assert np.isnan([row["p_value"], row["p_holm"], row["p_equal"], row["low"]]).all()


def shown(table):
    out = StringIO()
    Console(file=out, width=100, color_system=None).print(table.rich())
    return out.getvalue()


def test_the_sheet_has_counts_and_the_p_of_equivalence(tmp_path):
    table = table_of(drawn(seeds=1))
    text = markdown(table.pairs)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[2:6] == [
        "| A | 0 / 2 | 0 / 2 |",
        "| B | 0 / 2 | 0 / 2 |",
        "| C | 2 / 1 | 2 / 1 |",
        "| D | **3 / 0** | **3 / 0** |",
    ]
    assert lines[8:] == [  # 6 pairs times 1 / 5,001
        *("| B | .001† | .001† |", "| C | .001† | .001† |", "| D | 1.000 | 1.000 |")
    ]
    assert "over the 6 pairs of methods" in text
    assert "5,000 draws, so that no p is below .0004" in text
    assert "10% of A's value, of rewards 10% of a star" in text
    assert r"\label{tab:pairs}" in latex(table.pairs, "pairs")
    assert "reward gold@5: the best is D, apart from all others." in shown(table)
    write_table(table, tmp_path)
    found = pd.read_csv(tmp_path / "pairs.csv")
    assert found["p_holm"].tolist() == pytest.approx(table.comparison.pairs["p_holm"].tolist())


def test_the_terminal_names_those_near_the_best_and_the_equal_ones():
    rows = drawn(seeds=1)
    text = shown(table_of(rows[rows["method"].isin(["A", "B"])]))
    assert "not separated from it: A (equal)." in text


def test_a_method_without_values_has_no_count():
    rows = drawn(seeds=1)
    rows.loc[rows["method"] == "B", "reward/gold@5"] = np.nan
    lines = markdown(table_of(rows).pairs).splitlines()
    assert "| B | 0 / 2 | – |" in lines  # noqa: RUF001
    assert "| A | 0 / 2 | 0 / 2 |" in lines


def test_p_values_have_a_floor():
    assert [p_text(p) for p in (0.0004, 0.001, 0.0123, 0.5, 1.0)] == [
        *("≤ .001", "≤ .001", ".012", ".500", "1.000")
    ]


def test_what_lies_far_apart_is_marked_however_many_methods_there_are(monkeypatch):
    """With 60 draws no p is below .03, and 45 pairs would make it 1."""
    rows = pd.concat([drawn(seeds=1), *(drawn(seeds=1).assign(method=lambda r, n=n: r["method"] + n)
                                        for n in ("1", "2"))])  # fmt: skip
    found = comparison_table(rows, num_items=9, control="A", columns=(NDCG,), resamples=60)
    pairs = found.comparison.pairs.set_index(["method", "other"])
    assert pairs.loc[("A", "D"), "p_holm"] <= 0.05
    assert "2,640 draws, so that no p is below .0008" in found.caption
    assert "too many" not in found.caption
    monkeypatch.setattr(bootstrap_module, "MOST_BYTES", 0)
    few = comparison_table(rows, num_items=9, control="A", columns=(NDCG,), resamples=60)
    assert few.comparison.pairs["p_holm"].min() > 0.05
    assert "66 pairs of methods of a column: too many for any to be marked" in few.caption
