"""A log with ids that are text and rewards that are no stars, and a policy on it."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from recsys_posttrain.data import LeaveOneOut, RatingsFile, prepare
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.policy import new_policy


@pytest.fixture(scope="session")
def own_log(small_ratings_csv, tmp_path_factory):
    """frame, data and policy; rewards are 10 times the stars of the small log, less 7."""
    folder = tmp_path_factory.mktemp("own")
    frame = pd.read_csv(small_ratings_csv)
    frame["user_id"] = [f"person {each}" for each in frame["user_id"]]
    frame["item_id"] = [f"title {each}" for each in frame["item_id"]]
    frame["rating"] = 10.0 * frame["rating"] - 7
    frame.to_csv(folder / "log.csv", index=False)
    corpus = prepare(RatingsFile(str(folder / "log.csv")), cache=folder / "cache")
    assert not corpus.reward_scale.is_stars
    policy = new_policy(
        SASRec(dim=8, blocks=1, feed_forward=16, max_length=10, dropout=0), corpus.num_items, 0
    )
    policy.item_ids = corpus.item_ids
    with torch.no_grad():
        policy.backbone.item_embedding.weight.mul_(5)
    return SimpleNamespace(frame=frame, data=LeaveOneOut().split(corpus), policy=policy)
