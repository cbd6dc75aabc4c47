"""Recommendations for the demo and the bench, materialised as any other: of a policy with random
weights on random ratings."""

import csv
from pathlib import Path

import numpy as np

from recsys_posttrain.data import RatingsFile, prepare
from recsys_posttrain.live.materialize import EventRules, materialize
from recsys_posttrain.live.materialized import Materialized
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.checkpoint import save_policy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.seeding import derived_seed

EVENT = "final"
STAGES = {"before": None, "live": 1, "break": 4, "after": 10}  # the place of the live title
_ITEMS, _RATINGS, _K = 200, 10, 10


def random_lists(users: int, seed: int, folder: Path) -> Materialized:
    """A list per stage for users "0", "1", ..., in folder/lists."""
    generator = np.random.default_rng(derived_seed(seed, "live_demo_ratings"))
    folder.mkdir(parents=True, exist_ok=True)
    ratings = folder / "ratings.csv"
    with ratings.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("user_id", "item_id", "rating", "timestamp"))
        for user in range(users):
            items = generator.choice(_ITEMS, _RATINGS, replace=False)
            stars = generator.integers(1, 6, _RATINGS)
            rows = zip(items.tolist(), stars.tolist(), range(_RATINGS), strict=True)
            writer.writerows((user, *row) for row in rows)
    dataset = RatingsFile(str(ratings))
    corpus = prepare(dataset, minimum_item_ratings=1)
    backbone = SASRec(dim=16, blocks=1, feed_forward=32, max_length=_RATINGS)
    policy = new_policy(backbone, corpus.num_items, seed)
    (folder / "policy").mkdir(exist_ok=True)
    save_policy(folder / "policy", policy, backbone, corpus, dataset)
    rules = EventRules(EVENT, str(corpus.item_ids[0]), STAGES)
    materialize(folder / "policy", rules, _K, folder / "lists")
    return Materialized.open(folder / "lists")
