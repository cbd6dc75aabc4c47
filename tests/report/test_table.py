"""The table of four users and two methods, worked out by hand, and what the user may get wrong."""

from io import StringIO

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats
from table_rows import equal_ranks, noisy, run

from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.metrics import gini
from recsys_posttrain.report.caption import Provenance
from recsys_posttrain.report.cells import decimal, percent
from recsys_posttrain.report.table import comparison_table, write_table
from recsys_posttrain.stats.bootstrap import bootstrap, interval, p_value
from recsys_posttrain.stats.columns import COLUMNS, Column
from recsys_posttrain.stats.significance import effect_size, holm

HIT, LISTS = Column("HR@1", "all", "hr@1"), COLUMNS[-2]


def terminal(table):
    out = StringIO()
    Console(file=out, width=100, color_system=None).print(table.rich())
    return out.getvalue()


def golden(**changes):
    given = {
        "num_items": 4,
        "columns": (HIT, Column("NDCG@5", "liked", "ndcg@5"), LISTS),
        "provenance": Provenance("toy_set", "last one", "10", "none", "abc", "make x"),
    }
    return comparison_table(equal_ranks(), **(given | changes))


def test_markdown_by_hand():
    assert golden().markdown() == (
        "toy\\_set, last one; 4 users; 4 targets; seed 0; 10 post-training steps; tuning budget: "
        "none; commit abc; command: make x. Mean ± half of the 95% interval (bootstrap of users). "
        "Where fewer than 100 users count, a t distribution over users, with one degree of freedom "
        "less, in place of the bootstrap: HR@1 all (4), NDCG@5 liked (4). With one seed no "
        "interval over seeds is possible: intervals and tests are over users alone, and another "
        "seed may differ by more. Second block: minus BC, paired on the same users and seeds. "
        "↑ higher is better, ↓ lower is better. Bold: best of the column, every row is eligible "
        "(not used for coverage@10: a useless ranker can win these). † differs from BC (p ≤ .05, "
        "bootstrap, 20,000 draws, so that no p is below .0001, Holm-corrected over the 1 pair of "
        "methods of a column). Targets: liked: reward ≥ 4; top: ≥ 5; disliked: ≤ 2; weighted: by "
        "reward. No interval or test for coverage@10 (mean over seeds).\n"
        "\n| method | HR@1 all ↑ | NDCG@5 liked ↑ | coverage@10 ↑ |\n|:--|--:|--:|--:|\n"
        "| BC | .0000 ±.0000 | .6309 ±.0000 | .7500 |\n"
        "| A\\_1 & B | **1.0000**† ±.0000 | **1.0000**† ±.0000 | 1.0000 |\n"
        "\nDifference to BC:\n\n"
        "| method | HR@1 all ↑ | NDCG@5 liked ↑ | coverage@10 ↑ |\n|:--|--:|--:|--:|\n"
        "| A\\_1 & B | +1.0000† ±.0000 | +.3691† ±.0000 | +.2500 |\n"
    )


def test_latex_by_hand():
    text = golden(control="A_1 & B").latex()
    head, body = text.split(r"\label{tab:comparison}")
    assert head.startswith("\\begin{table*}[tp]\n\\centering\n\\footnotesize\n")
    said = (r"toy\_set", r"half of the 95\% interval", r"minus A\_1 \& B")
    assert all(each in head for each in said)
    assert body == (
        "\\par\\medskip\n\\begin{tabular}{lrrr}\n\\toprule\n"
        " & HR@1 & NDCG@5 & coverage \\\\\n"
        "method & all $\\uparrow$ & liked $\\uparrow$ & @10 $\\uparrow$ \\\\\n"
        "\\midrule\nBC & .0000$^\\dagger$\\,{\\scriptsize $\\pm$.0000} & "
        ".6309$^\\dagger$\\,{\\scriptsize $\\pm$.0000} & .7500 \\\\\n"
        "A\\_1 \\& B & \\textbf{1.0000}\\,{\\scriptsize $\\pm$.0000} & "
        "\\textbf{1.0000}\\,{\\scriptsize $\\pm$.0000} & 1.0000 \\\\\n"
        "\\midrule\n\\multicolumn{4}{l}{\\textit{Difference to A\\_1 \\& B}} \\\\\n"
        "BC & $-$1.0000$^\\dagger$\\,{\\scriptsize $\\pm$.0000} & "
        "$-$.3691$^\\dagger$\\,{\\scriptsize $\\pm$.0000} & $-$.2500 \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table*}\n"
    )


def test_relative_is_in_percent_and_has_no_value_over_zero():
    text = golden(relative_to="BC").markdown()
    assert "| A\\_1 & B | –† | +58.5† ±0.0 | +33.3 |" in text  # noqa: RUF001
    assert "Second block: change in percent of BC" in text


def test_numbers_are_written_the_short_way():
    written = " ".join(map(decimal, (0.18224, 3.5, -0.00211, float("nan"))))
    assert written == ".1822 3.5000 -.0021 –"  # noqa: RUF001
    signed = [decimal(x, sign=True) for x in (0.01, -0.00001, -10.01)]
    assert signed == ["+.0100", ".0000", "-10.0100"]
    assert [percent(x, sign=True) for x in (0.04, 12.34, -0.5)] == ["0.0", "+12.3", "-0.5"]


def test_cells_agree_with_the_statistics_done_one_by_one():
    rows = noisy(num_users=500)
    cells = comparison_table(rows, num_items=60, seed=4).frame().set_index(["method", "column"])
    by_seed = rows.set_index(["method", "seed"])

    def values(method, source, keep):
        seeds = (0, 0, 0) if method == "Popularity" else (0, 1, 2)
        frames = [by_seed.loc[(method, seed)] for seed in seeds]
        return np.stack([f[source].where(keep(f["reward"])) for f in frames])

    for column, source, keep in [
        ("NDCG@10 all", "ndcg@10", lambda r: r > 0),
        ("NDCG@10 liked", "ndcg@10", lambda r: r >= 4),
        ("NDCG@10 disliked", "ndcg@10", lambda r: r <= 2),
        ("reward proxy@10", "reward/proxy@10", lambda r: r > 0),
    ]:
        p_values = []
        for method in ("Popularity", "OfflinePPO"):
            found = cells.loc[(method, column)]
            difference = values(method, source, keep) - values("BC", source, keep)
            mean, draws = bootstrap(difference[None], rng=np.random.default_rng(4)).mean_and_draws
            one, p = interval(mean[0], draws[:, 0]), p_value(draws[:, 0])
            wanted = [one.value, one.low, one.high, p, effect_size(difference)]
            names = ["difference", "difference_low", "difference_high", "p_value", "effect_size"]
            assert found[names].tolist() == pytest.approx(wanted)
            assert found["mean"] == pytest.approx(np.nanmean(values(method, source, keep)))
            p_values.append(p)
        between = values("Popularity", source, keep) - values("OfflinePPO", source, keep)
        draws = bootstrap(between[None], rng=np.random.default_rng(4)).draws_RK
        adjusted = holm([*p_values, p_value(draws[:, 0])])
        for method, one in zip(("Popularity", "OfflinePPO"), adjusted, strict=False):
            assert cells.loc[(method, column), "p_holm"] == pytest.approx(one)

    first = by_seed.loc[("BC", 0)]
    gain_N = np.mean([by_seed.loc[("BC", s)]["ndcg@10"].to_numpy() for s in range(3)], axis=0)
    weighted = cells.loc[("BC", "NDCG@10 weighted"), "mean"]
    assert weighted == pytest.approx(np.average(gain_N, weights=first["reward"]))
    lists = [gini(np.stack(list(by_seed.loc[("BC", s)]["top10"])), 60) for s in range(3)]
    assert cells.loc[("BC", "Gini@10"), "mean"] == pytest.approx(np.mean(lists))
    assert cells.loc[("BC", "Gini@10"), ["low", "p_value"]].isna().all()


def test_improvement_and_iqm_over_seeds_are_in_the_frame():
    """Ranks of four users under five seeds; a lower rank is better, and seed 4 diverged."""
    down = Column("rank", "all", "rank", higher_is_better=False)
    ranks = {"BC": [1, 2, 3, 4, 90], "X": [2, 2, 2, 1, 1]}
    rows = pd.concat(
        run(method, [rank, rank, rank, rank], seed=seed)
        for method, of_seed in ranks.items()
        for seed, rank in enumerate(of_seed)
    )
    table = comparison_table(rows, num_items=9, columns=(down, LISTS))
    cells = table.frame().set_index(["method", "column"])
    control, method = (cells.loc[(name, "rank all")] for name in ("BC", "X"))
    assert [control["mean"], control["iqm"]] == pytest.approx([20, 3])
    # Against 1, 2, 3, 4, 90 in turn, 2 wins or ties 3.5 times of 5 and 1 does 4.5 times.
    assert method["improvement"] == pytest.approx((3 * 3.5 + 2 * 4.5) / 25)
    for cell, name in ((control, "iqm"), (method, "iqm"), (method, "improvement")):
        assert cell[f"{name}_low"] < cell[name] < cell[f"{name}_high"]
    assert method["improvement_high"] == 1
    assert np.isnan(control["improvement"])
    lists = cells.loc[("X", "coverage@10")]
    assert lists[["iqm", "iqm_low", "improvement", "improvement_low"]].isna().all()
    assert table.markdown().count("\n") < 15, "the printed table has no further rows"


def test_one_seed_has_no_interval_over_seeds_and_says_so():
    one, three = (comparison_table(noisy(seeds=s), num_items=60) for s in (1, 3))
    assert (one.comparison.over_seeds, three.comparison.over_seeds) == (False, True)
    sentence = "With one seed no interval over seeds is possible: intervals and tests are over"
    assert sentence in one.caption
    assert sentence not in three.caption
    assert "(bootstrap of users, a t distribution over seeds)" in three.caption


def test_best_follows_the_direction_and_every_row_is_eligible():
    down = Column("rank", "all", "rank", higher_is_better=False)
    rows = pd.concat([run("Popularity", [1, 1, 1, 2.0]), run("BC", [1, 1, 2, 9.0])])
    cells = comparison_table(rows, num_items=9, columns=(HIT, down, LISTS)).frame()
    assert cells["best"].tolist() == [True, False, True, False, False, False]


def test_users_with_several_targets_are_one_cluster():
    rows = pd.concat([run(m, [1, 1, 1, 9.0], user_id=[0, 0, 0, 1]) for m in ("BC", "X")])
    table = comparison_table(rows, num_items=9, columns=(HIT,))
    cell = table.frame().iloc[0]
    assert cell["mean"] == 0.75  # over targets
    # Shares 3/4 and 1/4 of deviations 1/4 and -3/4: a variance of 2 (3/16)^2, times 2 / (2 - 1).
    half = stats.t(1).ppf(0.975) * np.sqrt(2 * 2 * (3 / 16) ** 2)
    assert cell["high"] - 0.75 == pytest.approx(half, rel=0.1)  # a tail of 20,000 draws
    assert 0.75 - cell["low"] == pytest.approx(half, rel=0.1)
    assert "2 users; 4 targets" in table.caption
    assert "Means are over targets; the targets of a user are drawn together." in table.caption
    assert "over targets" not in golden().caption
    found = golden().comparison
    assert (found.methods, found.seeds, found.num_users) == (("BC", "A_1 & B"), (0,), 4)


def test_the_judge_has_a_column_where_it_was_asked():
    without = comparison_table(equal_ranks(), num_items=4).frame()
    assert "reward judge@10" not in without["column"].unique()
    rows = equal_ranks().assign(**{"reward/judge@10": [1.0, 2, 3, 4, 5, 5, 5, 5]})
    cells = comparison_table(rows, num_items=4).frame().set_index(["column", "method"])
    assert cells.loc["reward judge@10", "mean"].tolist() == [2.5, 5.0]


def test_order_of_rows_and_file_bytes_do_not_change_the_table(tmp_path):
    rows = noisy()
    rows["method"] = pd.Categorical(rows["method"], ["Popularity", "BC", "OfflinePPO"])
    shuffled, paths = rows.sample(frac=1, random_state=1), []
    for name, each in (("a", rows), ("b", shuffled)):
        (tmp_path / name).mkdir()
        paths.append(write_table(comparison_table(each, num_items=60), tmp_path / name))
    paths, again = paths
    ends = ("md", "tex", "csv", "json")
    names = [f"{name}.{end}" for name in ("table", "pairs", "cutoffs") for end in ends]
    names.append("variance.csv")
    assert [path.name for path in paths] == names
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    assert {path.name for path in (tmp_path / "a").iterdir()} == set(names)
    assert "One run stands for all seeds: Popularity." in paths[0].read_text(encoding="utf-8")


def test_the_terminal_shows_nine_columns_in_100():
    table = comparison_table(noisy(), num_items=60)
    text = terminal(table)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    for cell in table.frame().itertuples():
        assert decimal(cell.mean) in text


def refuses(match, rows, **changes):
    with pytest.raises(UserError, match=match):
        comparison_table(rows, **({"num_items": 4, "columns": (HIT,)} | changes))


def test_mistakes_are_named():
    rows = equal_ranks()
    refuses("did you mean 'BC'", rows, control="BCC")
    refuses("lack the column 'hr@1'", rows.drop(columns="hr@1"))
    refuses("no rows", rows.iloc[:0])
    seeds = pd.concat([run("BC", [1.0] * 4, seed=s) for s in range(3)])
    fewer = pd.concat([seeds, *(run("X", [1.0] * 4, seed=s) for s in range(2))])
    refuses("'X' has seeds 0, 1 but others have 0, 1, 2", fewer)
    other = run("X", [1.0] * 4, item_id=[4, 3, 2, 9])
    refuses("'X' with seed 0 was evaluated on other targets", pd.concat([rows, other]))


GOLD = ["reward/gold", "reward/gold@5", "reward/gold@10", "regret@10", "reward/gold-rollout@5"]


def test_gold_columns_are_shown_where_the_rows_have_them():
    rows = equal_ranks()
    plain = comparison_table(rows, num_items=4)
    assert plain.columns == COLUMNS
    for place, source in enumerate(GOLD):
        rows[source] = [1.0 + place] * 4 + [2.0 + place] * 4
    table = comparison_table(rows, num_items=4)
    assert [column.source for column in table.columns[len(COLUMNS) :]] == GOLD
    cells = table.frame().set_index(["method", "column"])["best"]
    assert cells["A_1 & B", "reward gold@5"]
    assert cells["BC", "regret@10"]
    assert "| reward gold@5 ↑ | reward gold@10 ↑ | regret@10 ↓ |" in table.markdown()


def test_a_control_alone_is_a_table_too():
    table = comparison_table(run("BC", [2.0] * 4), num_items=4)
    assert ".6309" in terminal(table)
    assert table.markdown().count("| BC |") == 1


def test_more_columns_than_fit_a_terminal_are_a_second_table():
    rows = equal_ranks()
    for source in GOLD:
        rows[source] = 3.25
    text = terminal(comparison_table(rows, num_items=4))
    assert sum("3.2500" in line for line in text.splitlines()) == 2
    assert text.count("A_1 & B") == 4 + 1, "levels and differences, twice each, and the best"
    assert "…" not in text
