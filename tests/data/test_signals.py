"""Further columns of a log: they go with their events, from the file to targets and batches."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from data_factory import parts_of, targets_of

from recsys_posttrain.data import LeaveOneOut, RatingsFile, UserHoldout, prepare
from recsys_posttrain.data.audit import signal_lines
from recsys_posttrain.data.batching import BatchStream, batch_of
from recsys_posttrain.data.encode import encode
from recsys_posttrain.data.hold_out import HoldOut
from recsys_posttrain.data.signals import own_unit
from recsys_posttrain.errors import UserError
from recsys_posttrain.reward_scale import scale_of
from recsys_posttrain.rewards.noise import Flips, RewardNoise
from recsys_posttrain.types import Batch

USERS, EVENTS = 12, 7


@pytest.fixture
def frame():
    """Event t of user u has the watch time 100 u + t, and is a click where u + t is even; rows in
    no order."""
    user_E, step_E = (each.ravel() for each in np.mgrid[:USERS, :EVENTS])
    rows = pd.DataFrame(
        {
            "user_id": [f"u{user}" for user in user_E],
            "item_id": 100 + (user_E + 3 * step_E) % 30,
            "timestamp": 10 * step_E + 1,
            "watch time": 100.0 * user_E + step_E,
            "click": (user_E + step_E + 1) % 2,
            "title": "x",
            "rank": step_E,
        }
    )
    return rows.sample(frac=1, random_state=1).reset_index(drop=True)


@pytest.fixture
def log(frame, tmp_path):
    path = tmp_path / "mine.csv"
    frame.to_csv(path, index=False)
    return RatingsFile(
        str(path), reward="click - 'watch time' / 1000", signals="click, 'watch time'"
    )


@pytest.fixture
def corpus(log):
    return prepare(log, 1)


def expected(corpus, users_N, times_N):
    """What users and times say, in the order of the signals and in stars."""
    ids = corpus.user_ids[users_N.numpy()]
    user_N = np.array([int(name[1:]) for name in ids], dtype=np.int64)
    step_N = (times_N.numpy() - 1) // 10
    own = {"click": (user_N + step_N + 1) % 2, "watch time": 100.0 * user_N + step_N}
    stars = [corpus.signal_scales[name].to_stars(each) for name, each in own.items()]
    return torch.from_numpy(np.stack(stars, axis=1).astype(np.float32))


def check(data):
    """Every part of a split."""
    for part, users_E in parts_of(data):
        assert torch.equal(part.signals.values, expected(data.corpus, users_E, part.timestamps_E))
    for each in targets_of(data):
        assert torch.equal(each.signals.values, expected(data.corpus, each.users_N, each.times_N))


@pytest.mark.parametrize(
    "split", [LeaveOneOut(1), UserHoldout(minimum_item_ratings=1), HoldOut(LeaveOneOut(1), 0.4)]
)
def test_every_part_of_a_split_has_its_own(corpus, split):
    check(split.split(corpus))


def test_another_numbering_keeps_them_with_their_events(corpus):
    data = LeaveOneOut(1).split(corpus)
    encoded = encode(data, corpus.item_ids[::-1][: len(corpus.item_ids) - 4])
    assert 0 < len(encoded.train.items_E) < len(data.train.items_E)
    check(encoded)


def test_the_batch_has_those_of_every_action(corpus):
    data = LeaveOneOut(1).split(corpus)
    rows_B, skipped_B = torch.arange(USERS), torch.arange(USERS) % 3
    batches = [batch_of(data.train, rows_B, 3, skipped_B), batch_of(data.train, rows_B, 50)]
    batches += list(BatchStream(data.train, 3, 5, 2, seed=0, random_windows=0.5))
    for batch in batches:
        assert torch.equal(batch.signals.values, expected(corpus, batch.user_N, batch.time_N))
        assert torch.equal(batch.signals.of("watch time"), batch.signals.values[:, 1])
    moved = batch.to(torch.device("cpu"))
    assert isinstance(moved, Batch)
    assert torch.equal(moved.signals.values, batch.signals.values)


def test_noise_on_the_rewards_of_a_log_leaves_them(corpus):
    data = LeaveOneOut(1).split(corpus)
    log = RewardNoise(log=Flips(0.5)).on_log(data, None)
    assert torch.equal(log.sequences.signals.values, data.train.signals.values)


def test_scales_are_those_of_rewards_and_own_units_come_back(corpus, frame):
    for name in ("click", "watch time"):
        raw = frame[name].to_numpy(np.float32)
        assert corpus.signal_scales[name] == scale_of(raw)
    own = own_unit(corpus.sequences.signals, corpus.signal_scales)
    assert sorted(own["signal/click"]) == pytest.approx(sorted(frame["click"]), abs=1e-6)
    assert sorted(own["signal/watch time"]) == pytest.approx(sorted(frame["watch time"]), rel=1e-6)
    assert signal_lines(corpus) == [
        "signal click: 0 to 1, mean 0.5, not 0 in 50.0% of events",
        "signal watch time: 0 to 1106, mean 553, not 0 in 98.8% of events",
    ]


def test_the_reward_is_the_formula(log, frame, corpus):
    found = log.load()
    assert found.has_ratings
    expected_E = frame["click"] - frame["watch time"] / 1000
    assert found.frame["rating"].to_numpy() == pytest.approx(expected_E.to_numpy(), abs=1e-12)
    assert corpus.reward_scale == scale_of(expected_E.to_numpy(np.float32))


def test_a_log_without_them_has_none(log):
    plain = prepare(replace(log, signals="", reward="click"), 1)
    data = LeaveOneOut(1).split(plain)
    assert data.train.signals is data.test.signals is data.test.history.signals is None
    assert batch_of(data.train, torch.arange(3), 5).signals is None
    assert plain.signal_scales == {}
    assert signal_lines(plain) == []


def test_the_cache_gives_the_same(log, corpus):
    again = prepare(log, 1)
    assert torch.equal(again.sequences.signals.values, corpus.sequences.signals.values)
    assert again.sequences.signals.names == ("click", "watch time")
    assert again.signal_scales == corpus.signal_scales


def test_formulas_and_columns_are_part_of_the_identity(log, tmp_path):
    """Not how they are written."""
    plain = RatingsFile(log.path)
    changed = [
        plain,
        log,
        replace(log, reward="click"),
        replace(log, signals="click"),
        replace(log, signals="click, w='watch time'"),
        replace(log, duplicates="first"),
        replace(log, columns="item=rank"),
    ]
    hashes = [each.content_hash() for each in changed]
    assert len(set(hashes)) == len(hashes)
    written = replace(log, reward="(click)-'watch time'/1000.0", signals="click,'watch time'")
    assert replace(log, reward="click - 'watch time' / 1000.0").content_hash() == (
        written.content_hash()
    )


def test_columns_by_name(frame, tmp_path):
    """Also where a usual name means something else in this file."""
    path = tmp_path / "mine.csv"
    frame.rename(columns={"user_id": "who", "item_id": "what", "rank": "user"}).to_csv(path)
    log = RatingsFile(str(path), columns="user = who,item=what , rating=watch time", signals="user")
    found = log.load().frame
    assert found["user_id"].tolist() == frame["user_id"].tolist()
    assert found["rating"].tolist() == frame["watch time"].tolist()
    assert found["signal/user"].tolist() == frame["rank"].tolist()


def test_which_numeric_columns_nothing_reads(log):
    """The title is text."""
    assert log.unused() == ["rank"]
    assert RatingsFile(log.path).unused() == ["watch time", "click", "rank"]


def test_formulas_are_of_the_rows_that_are_kept(tmp_path):
    """Quantiles within a user do not count a duplicate, and a row is named as the file has it."""
    path = tmp_path / "mine.csv"
    path.write_text("user,item,ts,x\n1,1,1,5\n1,1,1,9\n1,2,2,7\n1,3,3,\n")
    log = RatingsFile(str(path), reward="quantile_within_user(fill(x, 6))", duplicates="last")
    assert log.load().frame["rating"].tolist() == pytest.approx([5 / 6, 3 / 6, 1 / 6])
    with pytest.raises(UserError, match="no value in 1 of 3 rows; row 4 has nothing in x"):
        replace(log, reward="x").load()
    with pytest.raises(UserError, match="--signals 'x' has no value in 1 of 3 rows; row 4"):
        replace(log, signals="x").load()


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"reward": "clik"}, r"mine.csv has no column 'clik' for a formula.*did you mean 'click'"),
        ({"signals": "Click"}, r"mine.csv has no column 'Click' for a formula to read"),
        ({"reward": "title"}, "title must be a number wherever it is written; row 1 has 'x'"),
        ({"reward": "click * 1e12 * 1e12"}, r"--reward 'click .* must be at most 1e\+15 in size"),
        ({"columns": "usr=title"}, "'usr=title' is not NAME=COLUMN .*; did you mean 'user_id'"),
        ({"columns": "user"}, "'user' is not NAME=COLUMN"),
        ({"columns": "user=a,user_id=b"}, "names user_id twice"),
        ({"columns": "item=titel"}, "no column 'titel', given for item_id; did you mean 'title'"),
        ({"reward": "click +"}, "--reward 'click .*cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(log, rules, sentence):
    with pytest.raises(UserError, match=sentence):
        replace(log, **{"reward": "", "signals": "", **rules}).load()
