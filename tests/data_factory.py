"""A small generated set of ratings, for tests that must run without the real files."""

from pathlib import Path

import numpy as np


def write_small_ratings(path: Path, users: int = 60, items: int = 40, seed: int = 0) -> Path:
    """Write a CSV with user_id, item_id, rating, timestamp; rows in random order.

    Popular items have small numbers. A user rates 6 to 20 distinct items, in sittings of a few
    events that share their second, so that timestamp ties occur, as in MovieLens.
    """
    generator = np.random.default_rng(seed)
    popularity = 1.0 / np.arange(1, items + 1) ** 0.5
    rows = []
    for user in range(1, users + 1):
        length = int(generator.integers(6, min(20, items) + 1))
        chosen = generator.choice(
            items, size=length, replace=False, p=popularity / popularity.sum()
        )
        start = int(generator.integers(0, 10_000_000))
        seconds = start + 30 * generator.integers(0, length // 2 + 1, size=length)
        ratings = generator.integers(1, 6, size=length)
        rows += [
            f"{user},{item + 1},{rating},{second}"
            for item, rating, second in zip(chosen, ratings, seconds, strict=True)
        ]
    shuffled = [rows[n] for n in generator.permutation(len(rows))]
    path.write_text("\n".join(["user_id,item_id,rating,timestamp", *shuffled]) + "\n")
    return path
