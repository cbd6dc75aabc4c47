"""A log that drifts, and a policy that was trained on its first day.

160 users go from item to item, 30 in a circle: on the first day mostly to the next one, on the
second mostly five further. Half of the users come back, and 20 new ones come.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recsys_posttrain as rp
from recsys_posttrain.data import LeaveOneOut, RatingsFile, prepare
from recsys_posttrain.models.checkpoint import save_policy

ITEMS, MONDAY, DAY = 30, 1_700_000_000, 86_400
COLUMNS = ["user_id", "item_id", "rating", "timestamp"]


@dataclass(frozen=True)
class Drift:
    """folder: with monday.csv, tuesday.csv, and the policy of monday in policy/."""

    folder: Path
    monday: pd.DataFrame
    tuesday: pd.DataFrame

    @property
    def policy(self):
        return self.folder / "policy"

    def file(self, name, frame):
        path = self.folder / name
        frame.to_csv(path, index=False)
        return str(path)


def a_day(users, step, start, rng, had):
    rows = []
    for user in users:
        item, time = int(rng.integers(ITEMS)), start + int(rng.integers(DAY // 2))
        for place in range(7):
            seen = had.setdefault(user, set())
            if item not in seen:
                seen.add(item)
                rows.append((user, f"film {item}", float(rng.integers(1, 6)), time + 60 * place))
            item = (item + step) % ITEMS if rng.random() < 0.9 else int(rng.integers(ITEMS))
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture(scope="module")
def drift(tmp_path_factory, own_cache):
    folder, rng, had = tmp_path_factory.mktemp("drift"), np.random.default_rng(0), {}
    users = [f"user {number}" for number in range(160)]
    monday = a_day(users, 1, MONDAY, rng, had)
    later = users[::2] + [f"new {number}" for number in range(20)]
    tuesday = a_day(later, 5, MONDAY + DAY, rng, had)
    unknown = tuesday.groupby("user_id").tail(1).head(12).assign(item_id="a film of tuesday")
    tuesday = pd.concat([tuesday, unknown.assign(timestamp=unknown["timestamp"] + 1)])
    made = Drift(folder, monday, tuesday.sample(frac=1, random_state=0))
    made.file("tuesday.csv", made.tuesday)
    dataset = RatingsFile(made.file("monday.csv", monday))
    corpus = prepare(dataset)
    backbone = rp.SASRec(dim=16, blocks=1, feed_forward=32, max_length=12, dropout=0.1)
    plan = rp.Training(steps=150, batch_size=32, learning_rate=5e-3)
    policy, _ = rp.pretrain(LeaveOneOut().split(corpus), backbone, plan)
    made.policy.mkdir()
    save_policy(made.policy, policy, backbone, corpus, dataset)
    return made
