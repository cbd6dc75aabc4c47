"""Against numbers by hand."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from worlds.calibration import (
    calibration,
    pair_overlap,
    scatter,
    shape_of,
    step_counts,
    total_variation,
)

from recsys_posttrain.types import Interactions
from recsys_posttrain.worlds.base import Truth


def log_of(rows):
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    return Interactions("hand", frame, "")


# Times are not in the order of rows: user 1 sees items 10, 20, 30, user 2 10, 20, user 3 20.
REAL = log_of([(1, 20, 4, 5), (1, 10, 2, 0), (1, 30, 3, 86_400), (2, 10, 4, 1), (2, 20, 5, 2)])
MORE = log_of([*REAL.frame.itertuples(index=False), (3, 20, 1, 86_400)])  # type: ignore[list-item]


def test_total_variation():
    assert total_variation(np.array([1, 1]), np.array([4, 0])) == 0.5
    assert total_variation(np.array([2, 0]), np.array([0, 7])) == 1


def test_pairs_of_items():
    """Users of item 0: 0 1 2 3; of item 1: 0 1; of item 2: 1 4; five users."""
    user_E, item_E = np.array([0, 1, 2, 3, 0, 1, 1, 4]), np.array([0, 0, 0, 0, 1, 1, 2, 2])
    jaccard_P, lift_P = pair_overlap(user_E, item_E)
    np.testing.assert_allclose(jaccard_P, [2 / 4, 1 / 5, 1 / 3])
    np.testing.assert_allclose(lift_P, [2 * 5 / (4 * 2), 1 * 5 / (4 * 2), 1 * 5 / (2 * 2)])
    jaccard_P, _ = pair_overlap(user_E, item_E, frequent=2)
    np.testing.assert_allclose(jaccard_P, [2 / 4])


def test_steps():
    """0-1 twice, 1-2 and 2-1 once; the step from user 0 to user 1 is none."""
    user_E, item_E = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 0, 1, 2])
    assert step_counts(user_E, item_E).tolist() == [2, 2, 2, 2]
    assert step_counts(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 0, 0, 1])).tolist() == [2, 1, 2]


def test_shape():
    shape = shape_of(MORE)
    assert shape.length_N.tolist() == [3, 2, 1]
    assert shape.count_V.tolist() == [3, 2, 1]
    assert shape.user_mean_N.tolist() == [3, 4.5, 1]
    assert len(shape.item_mean_V) == 0  # nothing has 20 ratings
    assert shape.step_E.tolist() == [2, 1, 2]


def test_the_table():
    """Ratings 2 3 4 4 5 against those and a 1; item counts 2 2 1 against 3 2 1."""
    enough = [(user, 99, 3.0, 0) for user in range(4, 24)]
    real, world = (
        log_of([*log.frame.itertuples(index=False), *enough])  # type: ignore[list-item]
        for log in (REAL, MORE)
    )
    table = calibration(real, world).set_index("figure")
    mean = table.loc["rating, mean"]
    assert mean["real"] == pytest.approx(78 / 25)
    assert mean["world"] == pytest.approx(79 / 26)
    assert mean["distance"] == pytest.approx(1 / 26)  # the 1 that only the second has
    # One event each: 20 users of 22 and 21 of 23.
    lengths = table.loc["events per user, median", "distance"]
    assert lengths == pytest.approx(21 / 23 - 20 / 22)
    by_rank = table.loc["events per item, Gini", "distance"]
    real_V, world_V = np.array([20, 2, 2, 1]) / 25, np.array([20, 3, 2, 1]) / 26
    assert by_rank == pytest.approx(np.abs(real_V - world_V).sum() / 2)
    # Ranked 1..4 from the least, counts 1 2 2 20: (-3 - 2 + 2 + 60) / (4 * 25).
    assert table.loc["events per item, Gini", "real"] == pytest.approx(57 / 100)
    assert table.loc["items watched"][["real", "world"]].tolist() == [4, 4]
    assert table.loc["days from first to last event", "real"] == 1
    assert table.loc["steps taken >= 3 times, share", "world"] == 0


@dataclass(frozen=True)
class HandWorld:
    """Two users, 13 items; r* = item number for user 0, 12 - item number for user 1."""

    name: str = "hand"

    def content_hash(self):
        return ""

    def load(self):
        return log_of([(7, 112, 1, 0), (7, 100, 1, 1), (8, 112, 1, 0)])

    def truth(self):
        state_UR = torch.tensor([[0.0, 1.0], [12.0, -1.0]])
        factor_VR = torch.stack([torch.ones(13), torch.arange(13.0)], dim=1)
        return Truth(state_UR, factor_VR, np.array([7, 8]), np.arange(100, 113))


def test_scatter():
    """Ratings 1 1 1 of expectations 12, 0 and 0: 11 below once, 1 above twice."""
    _, real, world, _ = scatter(HandWorld())
    assert real == pytest.approx(0.495)
    assert world == pytest.approx(np.std([-11, 1, 1]))


def test_the_picture_is_written(tmp_path):
    pytest.importorskip("matplotlib")
    from worlds.picture import plot_calibration

    plot_calibration(REAL, MORE, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
