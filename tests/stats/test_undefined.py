"""Values that a method lacks at single targets: left out of all methods alike, and counted."""

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.evaluation.metrics import per_user_frame
from recsys_posttrain.report.table import comparison_table
from recsys_posttrain.stats.columns import Column
from recsys_posttrain.stats.undefined import undefined_values

PROXY = (Column("reward", "proxy@10", "reward/proxy@10"), Column("HR@1", "all", "hr@1"))


def rows_of(**proxy_by_method):
    return pd.concat(
        [
            per_user_frame(
                [1.0, 2.0, 1.0, 2.0],
                [[1, 2]] * 4,
                user_id=[1, 1, 2, 3],
                item_id=[1, 2, 3, 4],
                reward_N=[1, 2, 3, 4],
                total_reward_N=[1, 1, 2, 3],
                proxy_reward_N=proxy,
            ).assign(method=method, seed=seed)
            for method, proxies in proxy_by_method.items()
            for seed, proxy in enumerate(proxies)
        ],
        ignore_index=True,
    )


def test_a_gap_leaves_its_target_out_of_every_method():
    """Targets 2 (of X) and 4 (of BC's second seed) are gone: 1 and 3 are left, of users 1 and 2."""
    nan = np.nan
    bc, x = [[1.0, 9, 3, 9], [2.0, 9, 4, nan]], [[5.0, nan, 7, 9], [6.0, 9, 8, 9]]
    rows = rows_of(BC=bc, X=x, Never=[None, None])
    table = comparison_table(rows, num_items=20, control="BC", columns=PROXY)
    cells = table.frame().set_index(["method", "column"])
    assert cells.loc[("BC", "reward proxy@10"), "mean"] == pytest.approx(np.mean([1, 3, 2, 4]))
    assert cells.loc[("X", "reward proxy@10"), "mean"] == pytest.approx(np.mean([5, 7, 6, 8]))
    assert cells.loc[("X", "reward proxy@10"), "difference"] == pytest.approx(4)
    assert cells.loc[("X", "reward proxy@10"), "low"] <= 6.5
    assert np.isnan(cells.loc[("Never", "reward proxy@10"), "mean"])
    assert cells.loc[("X", "HR@1 all"), "mean"] == 0.5  # all four
    said = "Left out, because a method has no value there: 2 targets (reward proxy@10)."
    assert said in table.caption
    assert undefined_values(rows) == {"reward/proxy@10": 2}


def test_without_a_gap_nothing_is_said():
    rows = rows_of(BC=[[1.0, 2, 3, 4]], X=[[2.0, 3, 4, 5]])
    table = comparison_table(rows, num_items=20, control="BC", columns=PROXY)
    assert "Left out" not in table.caption
    assert "HR@10 is 1" not in table.caption
    assert undefined_values(rows) == {}
    small = comparison_table(rows, num_items=2, control="BC")
    assert small.caption.endswith("A list of 10 holds all 2 items: HR@10 is 1.")
