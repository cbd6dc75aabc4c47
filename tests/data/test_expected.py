"""What people expect of items that they did not choose reaches the judge, and the judge alone."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from recsys_posttrain.config import describe
from recsys_posttrain.data import UserHoldout
from recsys_posttrain.data.expected import expected_digest, with_expected
from recsys_posttrain.data.notes import heard
from recsys_posttrain.data.prepare import prepare
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.qualities import quality_caption
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.types import Sequences
from tests.data.test_published import written

USERS, ITEMS = 30, 12
SPLIT = UserHoldout(minimum_item_ratings=1)


def log_frame():
    """User u rates the items u, u + 1, u + 2, u + 3 (mod 12), at 1000, 1010, 1020, 1030."""
    rows = [
        (f"u{user}", f"i{(user + place) % ITEMS}", 1 + (user + place) % 5, 1000 + 10 * place)
        for user in range(USERS)
        for place in range(4)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])


@dataclass(frozen=True)
class Asked:
    """A log in memory, and what every user was asked: three items each, one of them rated, one
    that nobody ever rated, and one between two of the user's events."""

    path: str
    higher: float = 0.0

    name = "asked"

    def content_hash(self):
        return "0" * 64

    def load(self):
        from recsys_posttrain.data import RatingsFile

        return replace(RatingsFile(self.path).load(), content_hash=self.content_hash())

    def expected(self):
        rows = []
        for user in range(USERS):
            rows += [
                (f"u{user}", f"i{(user + 1) % ITEMS}", 5.0, 1001),  # rated
                (f"u{user}", "i-nobody", 5.0, 1002),
                (f"u{user}", f"i{(user + 6) % ITEMS}", 2.5 + self.higher, 1015),
            ]
        rows.append(("stranger", "i1", 3.0, 1003))
        return pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])


@pytest.fixture
def asked(tmp_path):
    log_frame().to_csv(tmp_path / "log.csv", index=False)
    return Asked(str(tmp_path / "log.csv"))


def test_the_judge_reads_them_at_their_time_and_nobody_else_does(asked):
    corpus = prepare(asked, minimum_item_ratings=1)
    before = SPLIT.split(corpus)
    with heard(keep=True) as said:
        after = with_expected(before, asked)
    users = before.judge.lengths_N.nonzero().squeeze(1).tolist()
    assert users  # some users are the judge's
    for user in range(USERS):
        held = slice(*after.judge.offsets_N1[user : user + 2].tolist())
        items = [str(corpus.item_ids[item - 1]) for item in after.judge.items_E[held].tolist()]
        if user not in users:
            assert items == []
            continue
        number = int(corpus.user_ids[user][1:])
        own = [f"i{(number + step) % ITEMS}" for step in (0, 1, 6, 2, 3)]
        assert items == own
        assert after.judge.timestamps_E[held].tolist() == [1000, 1010, 1015, 1020, 1030]
        assert after.judge.rewards_E[held][2] == 2.5
    for part in ("train", "reward", "validation", "test", "corpus"):
        assert getattr(after, part) is getattr(before, part)
    others = 3 * (USERS - len(users)) + 1
    assert said == [
        f"{corpus.name}: the judge also learns from {len(users)} expectations of {len(users)} "
        f"people; left out: {others} of others than its users, {len(users)} of items that are not "
        f"in the catalogue, {len(users)} of items that the user also rated"
    ]


def test_they_are_converted_to_stars(asked):
    corpus = prepare(asked, minimum_item_ratings=1)
    halved = replace(corpus, reward_scale=RewardScale(unit=2.0))
    after = with_expected(SPLIT.split(halved), asked)
    is_asked_E = after.judge.timestamps_E == 1015
    assert after.judge.rewards_E[is_asked_E].unique().tolist() == [np.float32(2.5 / 2)]


def test_without_a_judge_or_without_answers_nothing_changes(asked):
    data = SPLIT.split(prepare(asked, minimum_item_ratings=1))
    assert with_expected(data, object()) is data
    alone = replace(data, judge=None)
    assert with_expected(alone, asked) is alone
    assert expected_digest(data, object()) == ""
    missing = replace(data, corpus=replace(data.corpus, reward_scale=RewardScale(missing="none")))
    assert with_expected(missing, asked) is missing


def test_equal_times_keep_the_log_first(asked):
    from recsys_posttrain.data.expected import _merged

    log = Sequences(
        torch.tensor([3, 4, 9]),
        torch.tensor([1.0, 2.0, 3.0]),
        torch.tensor([5, 5, 1]),
        torch.tensor([0, 2, 2, 3]),
    )
    more = torch.tensor([2, 0, 1]), torch.tensor([7, 8, 6])
    both = _merged(log, *more, torch.tensor([4.0, 5.0, 6.0]), torch.tensor([0, 5, 2]))
    assert both.items_E.tolist() == [3, 4, 8, 6, 7, 9]
    assert both.rewards_E.tolist() == [1.0, 2.0, 5.0, 6.0, 4.0, 3.0]
    assert both.offsets_N1.tolist() == [0, 3, 4, 6]


def test_a_study_trains_its_judge_on_them(asked, tmp_path):
    """Other answers are another judge, and the same reward model."""

    def stages(dataset):
        setup = Setup(dataset=dataset, split=SPLIT)
        pipeline = Pipeline(setup, tmp_path / "runs")
        return pipeline, pipeline.keys.judge.folder, pipeline.keys.reward().folder

    pipeline, judge, reward = stages(asked)
    assert int(pipeline.data.judge.lengths_N.max()) == 5
    _, other_judge, other_reward = stages(replace(asked, higher=1.0))
    assert judge != other_judge
    assert reward == other_reward
    assert describe(asked)["higher"] == 0.0  # which is not part of the data's hash here


def test_movielens_beliefs_reach_a_judge(tmp_path):
    from recsys_posttrain.worlds.catalog import dataset_named
    from tests.data.test_published import BELIEFS

    frame = log_frame()
    names = {"user_id": "userId", "item_id": "movieId"}
    frame["user_id"] = frame["user_id"].str[1:].astype(int)
    frame["item_id"] = frame["item_id"].str[1:].astype(int)
    files = {"ml_belief_2024/user_rating_history.csv": frame.rename(columns=names).to_csv(index=0)}
    header = BELIEFS.splitlines()[0]
    lines = [f"{user},{(user + 6) % ITEMS},0,,,3.5,4,1005,1,1,3" for user in range(USERS)]
    files["ml_belief_2024/belief_data.csv"] = "\n".join([header, *lines]) + "\n"
    dataset = dataset_named("ml-belief-2024", written(tmp_path, files))
    data = Pipeline(Setup(dataset=dataset, split=SPLIT), tmp_path / "runs").data
    is_asked_E = data.judge.timestamps_E == 1005
    assert int(is_asked_E.sum()) == int((data.judge.lengths_N > 0).sum())
    assert set(data.judge.rewards_E[is_asked_E].tolist()) == {3.5}


def test_the_caption_of_the_judge_says_so(asked, tmp_path):
    pipeline = Pipeline(Setup(dataset=asked, split=SPLIT), tmp_path / "runs")
    study = SimpleNamespace(full_seeds=False)
    of_judge = quality_caption(study, pipeline, is_judge=True)
    assert of_judge.startswith(
        "Judge on asked: each logged reward, and each answer to what was expected of an item, "
        "predicted from"
    )
    assert "answer" not in quality_caption(study, pipeline)
