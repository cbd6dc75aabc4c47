"""A log that the tutorials draw, so that they need no download and the truth is known.

Each person has a taste and each film a flavour. A person has seen what was popular, mostly, and
gave stars by taste; what the next film will be depends a little on it too.
"""

import numpy as np
import pandas as pd

from recsys_posttrain.evaluation.evaluate import Evaluation
from recsys_posttrain.types import Split


def draw(users: int, films: int = 120, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The log, a row for each rating; and the truth, the stars of every user for every film."""
    random = np.random.default_rng(seed)
    taste, flavour = random.normal(size=(users, 3)), random.normal(size=(films, 3))
    truth = 3.2 + 0.5 * random.normal(size=films) + 0.6 * taste @ flavour.T
    truth = truth.clip(1, 5)
    popularity = 1 / np.arange(1, films + 1) ** 0.7
    rows: list[tuple[object, ...]] = []
    for user in range(users):
        wish = np.log(popularity) + 0.4 * truth[user]
        seen = np.argsort(-(wish + random.gumbel(size=films)))[: random.integers(12, 40)]
        stars = np.round(truth[user, seen] + 0.7 * random.normal(size=len(seen))).clip(1, 5)
        seconds = 1_700_000_000 + random.integers(10_000_000) + 60 * np.arange(len(seen))
        rows += zip(
            [f"u{user}"] * len(seen), [f"film-{f}" for f in seen], stars, seconds, strict=True
        )
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    index = [f"u{user}" for user in range(users)]
    return log, pd.DataFrame(truth, index=index, columns=[f"film-{film}" for film in range(films)])


def worth(result: Evaluation, data: Split, truth: pd.DataFrame) -> float:
    """The mean of the true stars of the five films that each user is shown."""
    rows = zip(result.per_user["user_id"], result.per_user["top10"], strict=True)
    lists = [truth.loc[user, data.corpus.item_ids[items[:5] - 1]] for user, items in rows]
    return float(np.mean([each.mean() for each in lists]))
