import numpy as np
import pandas as pd
import pytest
import torch
from torchmetrics.functional.retrieval import (
    retrieval_hit_rate,
    retrieval_normalized_dcg,
    retrieval_reciprocal_rank,
)

from recsys_posttrain.evaluation import subsets
from recsys_posttrain.evaluation.metrics import (
    coverage,
    gini,
    hit_rate,
    ndcg,
    per_user_frame,
    reciprocal_rank,
)


def test_by_hand():
    ranks = np.array([1.0, 2.0, 3.0, 10.0, 10.5, 1.5])
    assert hit_rate(ranks, 10).tolist() == [1, 1, 1, 1, 0, 1]
    expected = [1, 0.6309297535714574, 0.5, 0.2890648263178879, 0, 0.7564707973660301]
    assert ndcg(ranks, 10) == pytest.approx(expected, abs=1e-12)
    assert ndcg(ranks, 1).tolist() == [1, 0, 0, 0, 0, 0]
    assert reciprocal_rank(ranks) == pytest.approx([1, 1 / 2, 1 / 3, 0.1, 1 / 10.5, 1 / 1.5])


@pytest.mark.parametrize("k", [1, 5, 20])
def test_torchmetrics_agrees(k):
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        scores = torch.rand(30, generator=generator) + 0.1  # it drops scores <= 0
        target = torch.zeros(30, dtype=torch.int64)
        target[7] = 1
        rank = float((scores > scores[7]).sum() + 1)
        found = retrieval_normalized_dcg(scores, target, top_k=k)
        assert ndcg([rank], k)[0] == pytest.approx(float(found), abs=1e-6)
        assert hit_rate([rank], k)[0] == float(retrieval_hit_rate(scores, target, top_k=k))
        found = retrieval_reciprocal_rank(scores, target)
        assert reciprocal_rank([rank])[0] == pytest.approx(float(found), abs=1e-6)


def test_coverage_and_gini_by_hand():
    lists = np.array([[1, 2], [1, 3], [1, 0]])  # shown 3, 1, 1, 0 times; item 0 is no item
    assert coverage(lists, 4) == 0.75
    # sorted 0 1 1 3: (-3*0 - 1*1 + 1*1 + 3*3) / (4 * 5)
    assert gini(lists, 4) == pytest.approx(9 / 20)
    assert gini([[1, 2, 3, 4]], 4) == 0
    assert gini([[2], [2]], 4) == pytest.approx(3 / 4)
    count = np.array([3.0, 1, 1, 0])  # the definition: mean absolute difference over twice the mean
    slow = np.abs(count[:, None] - count).mean() / (2 * count.mean())
    assert gini(lists, 4) == pytest.approx(slow)


def frame(**changes):
    given = {
        "user_id": [7, 8, 9, 9],
        "item_id": [1, 2, 3, 4],
        "reward_N": [5, 4, 2, 3],
        "total_reward_N": [10, 30, 20, 20],
    }
    lists = np.arange(1, 61).reshape(4, 15)
    return per_user_frame(torch.tensor([1.0, 7, 30, 2]), lists, **(given | changes))


def test_frame_has_one_row_per_target(tmp_path):
    rows = frame(proxy_reward_N=[1, 2, 3, 4])
    cutoffs = (1, 5, 10, 20, 50)
    assert list(rows) == [
        *("user_id", "item_id", "reward", "total_reward", "rank"),
        *(f"hr@{k}" for k in cutoffs),
        *(f"ndcg@{k}" for k in cutoffs),
        *("mrr", "reward/proxy@10", "top10", "top50"),
    ]
    assert rows["hr@5"].tolist() == [1, 0, 0, 1]
    assert rows["ndcg@10"].tolist() == pytest.approx([1, 1 / 3, 0, 0.6309297535714574])
    assert rows["top10"][1].tolist() == list(range(16, 26))
    rows.to_parquet(tmp_path / "rows.parquet")
    again = pd.read_parquet(tmp_path / "rows.parquet")
    pd.testing.assert_frame_equal(rows, again)
    assert frame()["reward/proxy@10"].isna().all()


def test_subsets_by_hand():
    rows, stars = frame(), subsets.RewardScale()
    assert subsets.all_targets(rows, stars).tolist() == [1, 1, 1, 1]
    assert subsets.liked(rows, stars).tolist() == [1, 1, 0, 0]
    assert subsets.top_rated(rows, stars).tolist() == [1, 0, 0, 0]
    assert subsets.disliked(rows, stars).tolist() == [0, 0, 1, 0]
    assert subsets.reward_weighted(rows, stars).tolist() == [5, 4, 2, 3]
    shifted = subsets.RewardScale(zero=2)
    assert subsets.reward_weighted(rows, shifted).tolist() == [3, 2, 0, 1]


def test_a_subset_says_why_it_has_nothing_to_show():
    """Also where every target counts alike: it would repeat the column over all of them."""
    stars = subsets.RewardScale()

    def why(subset, *reward_N, scale=stars):
        rows = frame(reward_N=reward_N)
        return subsets.unusable(subset, subset(rows, scale), scale)

    assert why(subsets.liked, 5, 4, 3, 1) == ""
    assert why(subsets.liked, 3, 3, 2, 1) == "no target"
    assert why(subsets.disliked, 2, 2, 2, 1) == "every target alike"
    assert why(subsets.reward_weighted, 5, 4, -3, 1) == "some rewards are below zero (0)"
    assert why(subsets.reward_weighted, 3, 3, 3, 3) == "every target alike"
    assert why(subsets.all_targets, 3, 3, 3, 3) == ""
    missing = subsets.RewardScale(missing="every reward is 1")
    assert why(subsets.liked, 5, 4, 3, 1, scale=missing) == "every reward is 1"
    assert why(subsets.all_targets, 5, 4, 3, 1, scale=missing) == ""
