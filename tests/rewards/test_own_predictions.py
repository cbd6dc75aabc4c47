"""A file of predictions as a reward model: exact where full, else looked up, never guessed."""

import numpy as np
import pandas as pd
import pytest
import torch

from recsys_posttrain.algorithms import ASFT, DPO, OfflinePPO
from recsys_posttrain.algorithms.pairs import SampledPairs
from recsys_posttrain.config import digest
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.errors import TrainingFailed, UserError
from recsys_posttrain.models.reward_model import score_next
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards import own_predictions
from recsys_posttrain.rewards.own_predictions import RewardPredictions, low_rank
from recsys_posttrain.training.judge import reward_quality
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.reward import train_reward

SHORT = Training(epochs=1, batch_size=16)


@pytest.fixture
def table(own_log):
    """Every user with every item, in another order than the log's; drawn numbers."""
    corpus = own_log.data.corpus
    pairs = [(user, item) for item in corpus.item_ids[::-1] for user in corpus.user_ids]
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id"])
    return frame.assign(prediction=np.random.default_rng(0).normal(20, 9, len(frame)).round(3))


def trained(own_log, frame, path):
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
    return train_reward(own_log.data, RewardPredictions(str(path)))[0]


def wanted_of(own_log, frame, users_N, items_NK):
    corpus, value = own_log.data.corpus, frame.set_index(["user_id", "item_id"])["prediction"]
    raw = [
        [value[corpus.user_ids[user], corpus.item_ids[item - 1]] for item in items]
        for user, items in zip(users_N.tolist(), items_NK.tolist(), strict=True)
    ]
    return torch.tensor(corpus.reward_scale.to_stars(np.array(raw)))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("most", [256, 5])
def test_scores_are_those_of_the_file(own_log, table, tmp_path, suffix, most, monkeypatch):
    """Also where the table is too rich to be a product (rank 40 of at most 5)."""
    monkeypatch.setattr(own_predictions, "MAX_RANK", most)
    model = trained(own_log, table, tmp_path / f"table.{suffix}")
    assert model.sums_exactly == (most == 256)
    targets, corpus = own_log.data.test, own_log.data.corpus
    items_NK = torch.randint(1, corpus.num_items + 1, (len(targets.items_N), 3))
    found_NK = score_next(model, targets.history, items_NK, targets.times_N, targets.users_N)
    wanted_NK = wanted_of(own_log, table, targets.users_N, items_NK)
    torch.testing.assert_close(found_NK, wanted_NK.float(), atol=1e-5, rtol=1e-5)
    batch = batch_of(own_log.data.train, torch.tensor([8, 3, 21]), 10)
    items_NK = batch.action_N[:, None]
    torch.testing.assert_close(
        model.score(batch, items_NK),
        wanted_of(own_log, table, batch.user_N, items_NK).float(),
        atol=1e-5,
        rtol=1e-5,
    )


def test_a_full_table_serves_every_method(own_log, table, tmp_path, capsys):
    model = trained(own_log, table, tmp_path / "table.csv")
    users, items = len(own_log.data.corpus.user_ids), own_log.data.corpus.num_items
    said = capsys.readouterr().err
    assert f"predictions for {users * items:,} of {users * items:,} pairs" in said
    assert "exact over the catalogue" in said
    for algorithm in (ASFT(), OfflinePPO(samples=2)):
        posttrain(own_log.policy, own_log.data, algorithm, model, SHORT)
    batch = batch_of(own_log.data.train, torch.arange(4), 10)
    every_NV = torch.arange(1, items + 1).expand(len(batch.action_N), items)
    torch.testing.assert_close(
        model.score_all(batch), wanted_of(own_log, table, batch.user_N, every_NV).float()
    )


def test_a_table_with_holes_is_looked_up_and_names_what_is_missing(
    own_log, table, tmp_path, capsys
):
    """Of one pair that is not logged nothing but a list knows."""
    data, corpus = own_log.data, own_log.data.corpus
    logged = set(zip(own_log.frame["user_id"], own_log.frame["item_id"], strict=True))
    is_logged = [pair in logged for pair in zip(table["user_id"], table["item_id"], strict=True)]
    model = trained(own_log, table[is_logged], tmp_path / "logged.csv")
    said = capsys.readouterr().err
    missing = len(table) - sum(is_logged)
    assert f"{sum(is_logged):,} of {len(table):,} pairs" in said
    assert f"looked up, since {missing:,} are missing" in said
    config = RewardPredictions(str(tmp_path / "logged.csv"))
    assert reward_quality(model, data, config, 0).loc["RewardPredictions", "rmse"] > 0
    with pytest.raises(UserError, match=r"PredictionsModel scores given items only.*GRPO\(\)"):
        model.factors(batch_of(data.train, torch.arange(2), 10))
    asked = r"logged.csv has no prediction for [\d,]+ of the [\d,]+ asked for, such as item title"
    sampled = DPO(pairs=SampledPairs(width=0))
    with pytest.raises(TrainingFailed, match=asked):
        posttrain(own_log.policy, data, sampled, model, SHORT)
    assert corpus.num_items == 40


def test_a_product_of_few_columns_is_found_and_another_is_not(monkeypatch):
    monkeypatch.setattr(own_predictions, "MAX_RANK", 6)
    generator = torch.Generator().manual_seed(1)
    state_UR = torch.randn(50, 4, generator=generator)
    factor_VR = torch.randn(30, 4, generator=generator)
    stars_UV = state_UR @ factor_VR.T
    found_UR, found_VR = low_rank(stars_UV)
    assert found_UR.shape == (50, 4)
    torch.testing.assert_close(found_UR @ found_VR.T, stars_UV, atol=1e-5, rtol=1e-5)
    stars_UV[7, 11] += 0.01  # a fifth column
    found_UR, found_VR = low_rank(stars_UV)
    torch.testing.assert_close(found_UR @ found_VR.T, stars_UV, atol=1e-5, rtol=1e-5)
    noise_UV = 0.01 * torch.randn(50, 30, generator=generator)
    assert low_rank(stars_UV + noise_UV) is None


def test_what_the_log_does_not_have_is_left_out_and_counted(own_log, table, tmp_path, capsys):
    more = pd.DataFrame(
        [("person 0", "title 1", 3.0), ("person 1", "title 99", 4.0), ("x", "title 98", 5.0)],
        columns=list(table),
    )
    model = trained(own_log, pd.concat([more, table]), tmp_path / "more.csv")
    said = capsys.readouterr().err
    assert "left out: 2 users that log does not have ('person 0', 'x')" in said
    assert "left out: 2 items that log does not have ('title 99', 'title 98')" in said
    assert model.sums_exactly


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: pd.concat([t, t.iloc[[5]]]), "has 1 pair twice, such as item title"),
        (lambda t: t.assign(prediction=t["prediction"].where(t.index != 3)), "row 4 has nothing"),
        (lambda t: t.assign(prediction="much"), "prediction must be a number"),
        (lambda t: t.rename(columns={"prediction": "guess"}), "no column for prediction .*guess"),
        (lambda t: t.assign(pred=1.0).rename(columns={"prediction": "score"}), "2 columns for"),
        (lambda t: t.assign(item_id="other"), "none of its pairs is of a user and an item of log"),
    ],
)
def test_a_wrong_file_is_one_sentence(own_log, table, tmp_path, change, says):
    with pytest.raises(UserError, match=says):
        trained(own_log, change(table), tmp_path / "wrong.csv")


def test_a_study_knows_it_by_its_content(own_log, table, tmp_path):
    here, there = tmp_path / "a.csv", tmp_path / "b.csv"
    for each in (here, there):
        table.to_csv(each, index=False)
    config = RewardPredictions(str(here))
    assert digest(config) == digest(RewardPredictions(str(there)))
    table.head(3).to_csv(here, index=False)
    assert digest(config) != digest(RewardPredictions(str(here)))
    with pytest.raises(UserError, match=r"a\.csv has changed since it was given"):
        train_reward(own_log.data, config)
    with pytest.raises(UserError, match="There is no file"):
        RewardPredictions(str(tmp_path / "none.csv"))
