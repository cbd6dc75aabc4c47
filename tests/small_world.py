"""A semi-synthetic world of 80 users and 30 items, fitted in a moment."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from recsys_posttrain.types import Interactions
from recsys_posttrain.worlds.preferences import Preferences
from recsys_posttrain.worlds.semi_synthetic import SemiSyntheticMovieLens


@dataclass(frozen=True)
class SmallSource:
    """80 users and 30 items with text as ids; several events share a second."""

    version: int = 0
    name: str = "small"

    def content_hash(self):
        return f"small {self.version}"

    def load(self):
        generator = np.random.default_rng(self.version)
        rows = [
            (user, f"item {item}", float(generator.integers(1, 6)), 1000 * user + step // 2)
            for user in range(80, 0, -1)
            for step, item in enumerate(generator.permutation(30)[: generator.integers(3, 20)])
        ]
        frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
        return Interactions(self.name, frame, self.content_hash())


SMALL = SemiSyntheticMovieLens(SmallSource(), preferences=Preferences(rank=2))  # type: ignore[arg-type]
