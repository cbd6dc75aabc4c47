"""The propensity of every choice goes with its event, from the file to targets and batches."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from data_factory import parts_of, targets_of

from recsys_posttrain.data import LeaveOneOut, RatingsFile, UserHoldout, prepare
from recsys_posttrain.data.batching import BatchStream, batch_of
from recsys_posttrain.data.encode import encode
from recsys_posttrain.data.hold_out import HoldOut
from recsys_posttrain.data.prepare import corpus_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.rewards.noise import Flips, RewardNoise
from recsys_posttrain.types import Interactions

USERS, EVENTS = 12, 7


@pytest.fixture
def frame():
    """Event t of user u, on item 100 + (u + 3 t) % 30, has the propensity 1 / (2 + 10 u + t); rows
    in no order."""
    user_E, step_E = (each.ravel() for each in np.mgrid[:USERS, :EVENTS])
    rows = pd.DataFrame(
        {
            "user_id": user_E,
            "item_id": 100 + (user_E + 3 * step_E) % 30,
            "rating": 1.0 + (user_E + step_E) % 5,
            "timestamp": 10 * step_E + 1,
            "propensity": 1 / (2 + 10 * user_E + step_E),
        }
    )
    return rows.sample(frac=1, random_state=1).reset_index(drop=True)


@pytest.fixture
def corpus(frame):
    return corpus_of(Interactions("made", frame, "0" * 64))


def expected(corpus, users_N, times_N):
    """What users and times say."""
    ids_N = torch.from_numpy(corpus.user_ids.astype(np.int64))[users_N]
    return 1 / (2 + 10 * ids_N.double() + (times_N - 1) // 10)


def check(data):
    """Every part of a split."""
    for part, users_E in parts_of(data):
        assert torch.equal(part.propensities_E, expected(data.corpus, users_E, part.timestamps_E))
    for each in targets_of(data):
        expected_N = expected(data.corpus, each.users_N, each.times_N)
        assert torch.equal(each.propensities_N, expected_N)


@pytest.mark.parametrize(
    "split", [LeaveOneOut(1), UserHoldout(minimum_item_ratings=1), HoldOut(LeaveOneOut(1), 0.4)]
)
def test_every_part_of_a_split_has_its_own(corpus, split):
    check(split.split(corpus))


def test_another_numbering_keeps_them_with_their_events(corpus):
    """And drops those of unknown items."""
    data = LeaveOneOut(1).split(corpus)
    known = corpus.item_ids[::-1][: len(corpus.item_ids) - 4]
    encoded = encode(data, known)
    assert len(encoded.train.items_E) < len(data.train.items_E)
    assert len(encoded.test.items_N) < len(data.test.items_N)
    check(encoded)


def test_the_batch_has_that_of_every_action(corpus):
    """Windows that end early too; in the order of the real positions."""
    data = LeaveOneOut(1).split(corpus)
    rows_B, skipped_B = torch.arange(USERS), torch.arange(USERS) % 3
    batches = [batch_of(data.train, rows_B, 3, skipped_B), batch_of(data.train, rows_B, 50)]
    batches += list(BatchStream(data.train, 3, 5, 2, seed=0, random_windows=0.5))
    for batch in batches:
        expected_N = expected(corpus, batch.user_N, batch.time_N).float()
        assert torch.equal(batch.propensity_N, expected_N)
        assert bool((batch.propensities_BT[~batch.mask_BT] == 0).all())


def test_noise_on_the_rewards_of_a_log_leaves_them(corpus):
    data = LeaveOneOut(1).split(corpus)
    log = RewardNoise(log=Flips(0.5)).on_log(data, None)
    assert not torch.equal(log.sequences.rewards_E, data.train.rewards_E)
    assert torch.equal(log.sequences.propensities_E, data.train.propensities_E)


def test_a_log_without_them_has_none(corpus, frame):
    plain = corpus_of(Interactions("made", frame.drop(columns="propensity"), "0" * 64))
    data = LeaveOneOut(1).split(plain)
    assert data.train.propensities_E is data.test.propensities_N is None
    assert data.test.history.propensities_E is None
    assert batch_of(data.train, torch.arange(3), 5).propensity_N is None
    encoded = encode(data, plain.item_ids[::-1])
    assert encoded.train.propensities_E is encoded.test.propensities_N is None
    assert torch.equal(plain.sequences.items_E, corpus.sequences.items_E)


@pytest.mark.parametrize("name", ["propensity", "Propensity", "pscore", "action_prob"])
def test_a_file_and_its_cache_give_the_same(tmp_path, corpus, frame, name):
    path = tmp_path / "mine.csv"
    frame.rename(columns={"propensity": name}).to_csv(path, index=False)
    first, again = (prepare(RatingsFile(str(path)), 1, cache=tmp_path) for _ in range(2))
    for each in (first, again):
        assert torch.equal(each.sequences.propensities_E, corpus.sequences.propensities_E)
        assert each.sequences.propensities_E.dtype == torch.float64


@pytest.mark.parametrize(
    ("value", "shown"),
    [("0", "'0'"), ("1.01", "'1.01'"), ("-.2", "'-.2'"), ("", "nothing"), ("x", "'x'")],
)
def test_a_file_with_one_that_is_none(tmp_path, value, shown):
    path = tmp_path / "mine.csv"
    rows = [f"1,1,5,1,.5\n1,2,5,2,{value}\n1,3,4,3,1\n"]
    path.write_text("user_id,item_id,rating,timestamp,propensity\n" + "".join(rows))
    with pytest.raises(UserError) as refusal:
        RatingsFile(str(path)).load()
    assert str(refusal.value) == (
        f"{path}: a propensity, the probability with which the log's policy chose the item, must "
        f"be above 0 and at most 1 in every row; row 2 has {shown}: correct or remove that row."
    )


@pytest.mark.parametrize("value", [0.0, 1.5, float("nan")])
def test_a_dataset_with_one_that_is_none(frame, value):
    frame.loc[3, "propensity"] = value
    with pytest.raises(UserError, match=rf"^made: a propensity, .* row 4 has {value:g}: correct"):
        corpus_of(Interactions("made", frame, ""))


def test_rare_items_that_are_left_out_are_said(frame, capsys):
    """They were choices of the log's policy too, so that b is no longer a whole distribution."""
    interactions = Interactions("made", frame, "")
    rare = int((frame["item_id"].map(frame["item_id"].value_counts()) < 3).sum())
    assert rare > 0
    assert len(corpus_of(interactions, 3).sequences.items_E) == len(frame) - rare
    said = f"made: {rare / len(frame):.2%} of events are on items left out as rare, so that off-pol"
    assert said in capsys.readouterr().err
    corpus_of(interactions, 1)
    corpus_of(replace(interactions, frame=frame.drop(columns="propensity")), 3)
    assert capsys.readouterr().err == ""
