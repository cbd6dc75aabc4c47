"""The table of cutoffs in a made-up study whose trade-off is known."""

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.evaluation.metrics import (
    coverage,
    per_user_frame,
    popularity_rank,
    shown_popularity,
)
from recsys_posttrain.report.cells import read_sheet
from recsys_posttrain.report.latex import latex
from recsys_posttrain.report.render import markdown
from recsys_posttrain.report.table import comparison_table, write_table

USERS, ITEMS = 200, 60
COUNT_V = np.arange(ITEMS)  # item 1 the least popular, item 60 the most


def test_popularity_by_hand():
    """Counts 5, 1, 5, 9: of four items one is below each 5, and one as popular beside itself."""
    rank_V = popularity_rank([5, 1, 5, 9])
    assert rank_V.tolist() == [0.5, 0.125, 0.5, 0.875]
    lists = np.array([[2, 4, 0], [0, 0, 0]])
    found = shown_popularity(lists, rank_V, 2)
    assert found[0] == pytest.approx(0.5)
    assert np.isnan(found[1])
    assert shown_popularity(lists, rank_V, 1)[0] == 0.125
    assert shown_popularity(lists, rank_V, 3)[0] == pytest.approx(0.5), "0 is no item"


def test_coverage_of_the_first_items():
    lists = np.array([[1, 2, 3], [1, 4, 3]])
    assert [coverage(lists, 8, first) for first in (1, 2, None)] == [1 / 8, 3 / 8, 4 / 8]


def run(method, ranks, first):
    """Everybody is shown items `first`, first - 1, ..., of falling popularity."""
    lists = np.tile(np.arange(first, first - 50, -1), (USERS, 1))
    return per_user_frame(
        ranks,
        lists,
        user_id=np.arange(USERS),
        item_id=np.arange(USERS),
        reward_N=np.full(USERS, 4.0),
        total_reward_N=np.full(USERS, 9.0),
        count_V=COUNT_V,
    ).assign(method=method, seed=0)


@pytest.fixture
def table():
    """BC has a third of the users at rank 1, a third at 40; X four tenths at 1, none at 40."""
    place_N = np.arange(USERS) / USERS
    of_bc = np.where(place_N < 1 / 3, 1.0, np.where(place_N < 2 / 3, 40.0, 55.0))
    of_x = np.where(place_N < 0.4, 1.0, 55.0)
    rows = [run("Pretrained", of_bc, 60), run("BC", of_bc, 60), run("X", of_x, 50)]
    return comparison_table(pd.concat(rows), num_items=ITEMS)


def test_by_hand(table):
    lines = markdown(table.parts["cutoffs"][0]).splitlines()
    up = "NDCG@1, NDCG@5, NDCG@10, HR@1, HR@5, HR@10"
    assert f"Against BC: X: {up} up, HR@50 down." in lines[0]
    titles = [line for line in lines[1:] if line.endswith(":")]
    assert titles == [
        "NDCG, all targets:",
        "HR, all targets:",
        "coverage: share of the catalogue in the lists:",
        "popularity of what is shown, minus that of Pretrained:",
    ]
    # 67 of 200 users are below a third, 134 below two thirds, 80 below .4.
    assert "| BC | .3350 | .3350 | .3350 | **.6700** |" in lines
    gain = "**.4000**† (+.0650)"
    assert f"| X | {gain} | {gain} | {gain} | .4000† (-.2700) |" in lines
    shares = " | ".join(f"{each} (.0000)" for each in (".0167", ".0833", ".1667", ".8333"))
    assert f"| X | {shares} |" in lines
    # The first is of place 59.5 of 60, of X 49.5; ten places further on all cutoffs.
    assert "| Pretrained | .9917 (.0000) | .9583 (.0000) | .9167 (.0000) | .5833 (.0000) |" in lines
    shift = "-.1667 ±.0000"
    assert f"| X | {shift} | {shift} | {shift} | {shift} |" in lines
    assert r"\textit{HR, all targets}" in latex(table.parts["cutoffs"][0])


def test_the_main_table_keeps_its_columns_and_the_terminal_says_the_trade_off(table, tmp_path):
    assert "NDCG@50 all" not in set(table.frame()["column"])
    assert "NDCG@50" not in table.caption
    assert "HR@50 down" in str(table.rich().renderables[-1])
    write_table(table, tmp_path)
    assert len(read_sheet(tmp_path / "cutoffs.json").blocks) == 4
    found = pd.read_csv(tmp_path / "cutoffs.csv").set_index(["column", "method"])
    assert found.loc[("HR@50 all", "X"), "difference"] == pytest.approx(0.4 - 0.67)
    assert set(pd.read_csv(tmp_path / "pairs.csv")["column"]) <= set(table.frame()["column"])


def test_without_a_trade_off_nothing_is_claimed():
    ranks = np.full(USERS, 5.0)
    rows = pd.concat([run("BC", ranks, 60), run("X", ranks - 4, 60)])
    table = comparison_table(rows, num_items=ITEMS)
    assert "No method differs from BC in both directions." in table.parts["cutoffs"][0].caption
