"""Rank correlations by hand and against SciPy's, and what is compared with what."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, spearmanr

from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.metrics import per_user_frame
from recsys_posttrain.report.agreement import (
    agreement_sheet,
    kendall,
    rank_agreement,
    spearman_rows,
)
from recsys_posttrain.report.render import markdown
from recsys_posttrain.stats.columns import Column

MRR, PROXY = Column("MRR", "all", "mrr"), Column("reward", "proxy@10", "reward/proxy@10")


def study(users=5, spread=0.0, **rank_of):
    """Each method has one rank for everybody, or ranks around it."""
    generator = np.random.default_rng(users)
    frames = []
    for method, rank in rank_of.items():
        frame = per_user_frame(
            rank + spread * generator.random(users),
            np.ones((users, 10), int),
            user_id=np.arange(users),
            item_id=np.arange(users),
            reward_N=np.full(users, 5.0),
            total_reward_N=np.ones(users),
            proxy_reward_N=np.full(users, 3.0),
        )
        frames.append(frame.assign(method=method, seed=0))
    return pd.concat(frames)


def test_the_correlations_are_scipys():
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 5, (2, 40, 7)).astype(float)
    first[3], second[4] = 1.0, 2.0
    for row, (x, y) in enumerate(zip(first, second, strict=True)):
        if row in (3, 4):
            assert np.isnan(spearman_rows(first, second)[row])
            assert np.isnan(kendall(first, second)[row])
            continue
        assert spearman_rows(first, second)[row] == pytest.approx(spearmanr(x, y).statistic)
        assert kendall(first, second)[row] == pytest.approx(kendalltau(x, y).statistic)


@pytest.mark.parametrize(
    ("other", "rho", "tau"),
    [
        ({"A": 3, "B": 5, "C": 9}, 1, 1),
        ({"C": 2, "B": 5, "A": 9}, -1, -1),
        ({"B": 2, "A": 5, "C": 9}, 1 / 2, 1 / 3),  # one of three pairs is swapped
        ({"A": 2, "B": 5, "C": 5}, np.sqrt(3) / 2, np.sqrt(2 / 3)),  # one is tied
    ],
)
def test_by_hand(other, rho, tau):
    """Nobody differs from anybody, so every draw is the estimate."""
    frame = rank_agreement(study(A=1, B=2, C=3), study(users=7, **other), columns=(MRR,))
    for name, value in (("spearman", rho), ("kendall", tau)):
        found = frame.loc["MRR all", [name, f"{name}_low", f"{name}_high"]].tolist()
        assert found == pytest.approx([value, value, value])
    assert frame.loc["MRR all", "methods"] == 3


def test_methods_of_one_study_only_are_left_out():
    more = study(A=1, X=1, B=2, C=3, D=4)
    fewer = study(B=3, C=5, Y=9, A=9, D=4)
    frame = rank_agreement(more, fewer, columns=(MRR,))
    assert frame.loc["MRR all", "methods"] == 4
    assert frame.loc["MRR all", "spearman"] == pytest.approx(-0.4)  # 1234, 4132: 1 - 6 * 14 / 60
    with pytest.raises(UserError, match=r"have 2 methods in common \(A, B\), and .* needs three"):
        rank_agreement(study(A=1, B=2, C=3), study(A=1, B=2, D=3))
    with pytest.raises(UserError, match=r"have 0 methods in common \(none\)"):
        rank_agreement(study(A=1), study(B=1))


def test_columns_that_one_study_lacks_are_left_out_and_equal_methods_have_no_order():
    rows = study(A=1, B=2, C=3).assign(**{"reward/judge@10": 1.0})
    frame = rank_agreement(rows, study(A=1, B=2, C=3))
    assert "reward judge@10" not in frame.index
    assert not {"coverage@10", "Gini@10"} & set(frame.index)
    assert frame.loc["NDCG@10 all", "kendall"] == 1
    assert frame.loc["reward proxy@10", ["spearman", "kendall_low"]].isna().all()
    text = markdown(agreement_sheet(frame, "Caption."))
    assert text.startswith("Caption.\n\n| column | methods | Spearman | Kendall |\n")
    assert "| NDCG@10 all | 3 | 1.0000 [1.0000, 1.0000] | 1.0000 [1.0000, 1.0000] |\n" in text


def test_the_interval_opens_where_neighbours_cannot_be_told_apart():

    def agreement(spread, **rank_of):
        studies = (study(users, spread=spread, **rank_of) for users in (40, 50))
        return rank_agreement(*studies, columns=(MRR,))

    assert agreement(0.2, A=1, B=2, C=3).loc["MRR all", "kendall_low"] == 1
    close = agreement(9.0, A=1, B=1.2, C=1.4)
    assert close.loc["MRR all", "kendall_low"] < 0
    pd.testing.assert_frame_equal(close, agreement(9.0, A=1, B=1.2, C=1.4))
