"""A truth follows the ids of a corpus, and only a world has one."""

import numpy as np
import pytest
import torch
from data_factory import made_corpus

from recsys_posttrain.data import RatingsFile
from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds.base import Truth, truth_of

# r*("ann", "x") = 1, ("ann", "y") = 2, ("ann", "z") = 3; "bob": 10, 20, 30. In no order of ids.
TRUTH = Truth(
    torch.tensor([[10.0], [1.0]]),
    torch.tensor([[2.0], [3.0], [1.0]]),
    np.array(["bob", "ann"], dtype=object),
    np.array(["y", "z", "x"], dtype=object),
)


def corpus_of(users, items):
    """One event each."""
    ids = {"user_ids": np.array(users, dtype=object), "item_ids": np.array(items, dtype=object)}
    first = [1] * len(users)
    return made_corpus(first, items=first, rewards=[4.0, 2.0][: len(users)], **ids)


def test_rows_and_columns_follow_the_corpus():
    aligned = TRUTH.aligned(corpus_of(["bob", "ann"], ["z", "x"]))
    assert aligned.rewards(torch.tensor([0, 1])).tolist() == [[30, 10], [3, 1]]


def test_rewards_of_given_items_and_of_none():
    found = TRUTH.rewards_of(torch.tensor([0, 1]), torch.tensor([[2, 3], [1, 0]]))
    np.testing.assert_array_equal(found, [[30, 10], [2, np.nan]])


@pytest.mark.parametrize(
    ("users", "items", "what"),
    [(["cid"], ["x"], "made: user 'cid'"), (["ann"], ["x", "w"], "made: item 'w'")],
)
def test_a_corpus_of_another_log_is_refused(users, items, what):
    with pytest.raises(UserError, match=f"{what} is not in this world; give the corpus that was"):
        TRUTH.aligned(corpus_of(users, items))


def test_a_log_has_no_truth(tmp_path):
    with pytest.raises(UserError, match=r"^log has no true rewards: only worlds know them; give"):
        truth_of(RatingsFile(str(tmp_path / "log.csv")), corpus_of(["ann"], ["x"]))
