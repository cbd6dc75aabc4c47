"""A function or a regressor of the user's own as a reward model: what it is asked, and what not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression

from recsys_posttrain.algorithms import ASFT, DPO, GRPO, OfflinePPO
from recsys_posttrain.algorithms.pairs import SampledPairs
from recsys_posttrain.algorithms.signals import model_reward, user_mean
from recsys_posttrain.data import UserHoldout
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.errors import TrainingFailed, UserError
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.evaluation.judged_value import judged_value
from recsys_posttrain.models.reward_model import RewardModel, score_next
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.noise import RewardNoise, Starvation
from recsys_posttrain.rewards.own import RewardFunction, RewardRegressor
from recsys_posttrain.rewards.own_rows import FRAME
from recsys_posttrain.rewards.renumbered import Renumbered
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.tensors import save_tensors
from recsys_posttrain.training.judge import reward_quality
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.reward import train_reward, user_parts

SHORT = Training(epochs=2, batch_size=16, learning_rate=0.01)
GIVEN = ASFT(reward=model_reward, baseline=user_mean)


def by_title(frame):
    """Seven times the number in the item's name, modulo 50."""
    return frame["item_id"].str.removeprefix("title ").astype(int) * 7 % 50


def by_past(frame):
    """Of the history too: its mean reward, how long it is, and the time since its last event."""
    past = frame["history_rewards"].map(np.mean) + frame["history_items"].map(len)
    return past + (frame["time"] - frame["history_times"].map(lambda each: each[-1])) / 100


class ByTitle(RewardModel):
    """`by_title` as a product over the catalogue, in stars."""

    max_length = 200

    def __init__(self, corpus):
        super().__init__()
        frame = pd.DataFrame({"item_id": corpus.item_ids})
        self.item_ids = corpus.item_ids
        stars_V = corpus.reward_scale.to_stars(by_title(frame).to_numpy(np.float64))
        self.factor_V1 = torch.from_numpy(stars_V)[:, None]

    def member_factors(self, batch):
        return torch.ones(1, len(batch.action_N), 1), self.factor_V1[None]


def model_of(own_log, function):
    return train_reward(own_log.data, RewardFunction(function))[0]


def test_the_frame_has_ids_and_rewards_as_the_log_has_them(own_log):
    frames, corpus = [], own_log.data.corpus
    model = model_of(own_log, lambda frame: frames.append(frame) or np.zeros(len(frame)))
    users_N = torch.tensor([4, 9, 30])
    batch = batch_of(own_log.data.train, users_N, 200)
    items_NK = torch.tensor([[3, 5, 3]]).repeat(len(batch.action_N), 1)
    model.score(batch, items_NK)
    (frame,) = frames
    assert list(frame) == list(FRAME)
    assert len(frame) == 2 * len(batch.action_N)  # an item that is asked for twice, once
    asked = {corpus.item_ids[2], corpus.item_ids[4]}
    for user, rows in frame.groupby("user_id"):
        log = own_log.frame[own_log.frame["user_id"] == user].sort_values(
            "timestamp", kind="stable"
        )
        for row in rows.itertuples():
            length = len(row.history_items)
            assert row.history_items.tolist() == log["item_id"].tolist()[:length]
            np.testing.assert_allclose(row.history_rewards, log["rating"][:length], atol=1e-5)
            assert row.history_times.tolist() == log["timestamp"].tolist()[:length]
            assert row.time == log["timestamp"].iloc[length]
            assert row.item_id in asked
        assert len(rows) == 2 * (len(log) - 3)  # two events are targets, the first has no history
    assert set(frame["user_id"]) == set(corpus.user_ids[users_N.numpy()])


def test_a_function_is_scored_as_the_same_product(own_log):
    corpus, targets = own_log.data.corpus, own_log.data.test
    own, product = model_of(own_log, by_title), ByTitle(corpus)
    assert product.sums_exactly
    assert not own.sums_exactly
    batch = batch_of(own_log.data.train, torch.arange(20), 10)
    items_NK = torch.randint(1, corpus.num_items + 1, (len(batch.action_N), 4))
    torch.testing.assert_close(own.score(batch, items_NK), product.score(batch, items_NK))
    items_NK = items_NK[: len(targets.items_N)]
    asked = targets.history, items_NK, targets.times_N, targets.users_N
    torch.testing.assert_close(score_next(own, *asked), score_next(product, *asked))


def test_the_next_action_is_asked_about_after_the_whole_history(own_log):
    corpus, targets = own_log.data.corpus, own_log.data.test
    found_N1 = score_next(
        model_of(own_log, by_past),
        *(targets.history, targets.items_N[:, None], targets.times_N, targets.users_N),
    )
    for user, stars in zip(targets.users_N, found_N1[:, 0], strict=True):
        log = own_log.frame[own_log.frame["user_id"] == corpus.user_ids[user]]
        log = log.sort_values("timestamp", kind="stable")
        past, times = log["rating"].iloc[:-1], log["timestamp"].to_numpy()
        wanted = past.mean() + len(past) + (times[-1] - times[-2]) / 100
        np.testing.assert_allclose(
            corpus.reward_scale.from_stars(float(stars)), wanted, rtol=1e-4, atol=1e-3
        )


@pytest.mark.parametrize(
    "algorithm", [GIVEN, GRPO(samples=3), DPO(pairs=SampledPairs(candidates=3, width=0))]
)
def test_methods_of_given_items_train_as_with_the_product(own_log, algorithm):
    """A function of the item, and the same numbers as factors: the same policy."""
    data = own_log.data
    models = model_of(own_log, by_title), ByTitle(data.corpus)
    first, second = (
        posttrain(own_log.policy, data, algorithm, each, SHORT, seed=1)[0] for each in models
    )
    moved = 0.0
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], atol=1e-5, rtol=1e-4)
        moved += float((value - own_log.policy.state_dict()[name]).abs().sum())
    assert moved > 0.1
    rows = [evaluate(first, data, each, own_log.policy).per_user for each in models]
    for column in ("reward/proxy@10", "kl"):
        np.testing.assert_allclose(rows[0][column], rows[1][column], atol=1e-4)


@pytest.mark.parametrize("algorithm", [ASFT(), OfflinePPO(), DPO()])
def test_methods_of_the_whole_catalogue_say_what_to_take_instead(own_log, algorithm):
    says = r"FunctionModel scores given items only.*ASFT\(reward=model_reward, baseline=user_mean\)"
    with pytest.raises(TrainingFailed, match=says):
        posttrain(own_log.policy, own_log.data, algorithm, model_of(own_log, by_title), SHORT)


def test_another_numbering_of_the_items_changes_nothing(own_log):
    corpus = own_log.data.corpus
    model = model_of(own_log, by_title)
    number_V1 = torch.cat(
        [torch.zeros(1, dtype=torch.int64), torch.arange(corpus.num_items, 0, -1)]
    )
    other = Renumbered(model, corpus.item_ids[::-1], number_V1)
    batch = batch_of(own_log.data.train, torch.arange(5), 10)
    flipped = batch._replace(
        history_BT=number_V1[batch.history_BT], actions_BT=number_V1[batch.actions_BT]
    )
    items_NK = torch.randint(1, corpus.num_items + 1, (len(batch.action_N), 3))
    found_NK = other.score(type(batch)(*flipped), number_V1[items_NK])
    torch.testing.assert_close(found_NK, model.score(batch, items_NK))
    assert not other.sums_exactly
    last_BK = items_NK[:5]
    found_BK = other.score_last(type(batch)(*flipped), number_V1[last_BK])
    torch.testing.assert_close(found_BK, model.score_last(batch, last_BK))


def test_the_quality_table_has_it_beside_the_baselines(own_log):
    data, config = own_log.data, RewardFunction(by_title)
    table = reward_quality(model_of(own_log, by_title), data, config, seed=0)
    assert list(table.index)[-1] == "RewardFunction"
    assert {"item mean", "gradient boosting"} < set(table.index)
    judged = table.loc["RewardFunction"]
    assert judged["rmse_low"] < judged["rmse"] < judged["rmse_high"]
    seen = []
    model = model_of(own_log, lambda frame: seen.append(frame) or by_title(frame))
    reward_quality(model, data, config, seed=0)
    each = seen[0]
    log = own_log.frame.set_index(["user_id", "item_id"])["rating"]
    wanted = log.loc[[*zip(each["user_id"], each["item_id"], strict=True)]].to_numpy()
    assert judged["events"] == len(each)
    rmse = np.sqrt(np.square(by_title(each).to_numpy() - wanted).mean())
    assert judged["rmse"] == pytest.approx(rmse, rel=1e-5)


def raising(frame):
    raise KeyError("no such title")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (
            lambda frame: by_title(frame).where(frame["item_id"] != "title 3"),
            "gave nan for .* item title 3",
        ),
        (lambda frame: np.ones(3), r"gave \(3,\) numbers for .* rows"),
        (lambda frame: 4.0, r"gave \(\) numbers"),
        (lambda frame: frame["item_id"], "gave no numbers but Series"),
        (raising, "the reward function raising raised KeyError .*no such title.* columns user_id"),
    ],
)
def test_what_a_function_gives_wrong_is_said_in_one_sentence(own_log, function, says):
    model = model_of(own_log, function)
    batch = batch_of(own_log.data.train, torch.arange(60), 10)
    with pytest.raises(UserError, match=says):
        model.score(batch, batch.action_N[:, None])
    with pytest.raises(TrainingFailed, match=says):
        posttrain(own_log.policy, own_log.data, GIVEN, model, SHORT)


def test_what_learns_nothing_neither_judges_nor_starves(own_log):
    with pytest.raises(UserError, match="RewardFunction learns nothing from the log"):
        train_reward(
            own_log.data, RewardFunction(by_title), noise=RewardNoise(model=Starvation(0.5))
        )
    assert Setup(reward=RewardFunction(by_title)).judge_config.__class__.__name__ == "RewardFactors"
    config = RewardRegressor(LinearRegression, features)
    assert Setup(reward=config).judge_config == config
    for wrong in (dict(function=3), dict(function=by_title, held_out=1)):
        with pytest.raises(UserError, match="RewardFunction: "):
            RewardFunction(**wrong)


def test_a_function_can_judge_lists_step_by_step(own_log):
    """One of the item alone, so that the joined history does not matter; discount .9."""
    data = UserHoldout().split(own_log.data.corpus)
    found, wanted = (
        judged_value(own_log.policy, each, data.test)
        for each in (model_of(own_log, by_title), ByTitle(data.corpus))
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def features(frame):
    return np.stack([by_title(frame), frame["history_rewards"].map(np.mean)], axis=1)


def test_a_regressor_is_the_least_squares_fit_and_comes_back_from_its_file(own_log, tmp_path):
    """To the events of the users that it may learn from, but for their first and two targets."""
    data, config = own_log.data, RewardRegressor(LinearRegression, features)
    model, fitted = train_reward(data, config, seed=3)
    rows, rewards = [], []
    for user in data.corpus.user_ids[user_parts(data.reward, 0.2, 3).fit_N.numpy()]:
        log = own_log.frame[own_log.frame["user_id"] == user]
        log = log.sort_values("timestamp", kind="stable").iloc[:-2]
        for place in range(1, len(log)):
            number = int(log["item_id"].iloc[place].removeprefix("title "))
            rows.append((number * 7 % 50, log["rating"].iloc[:place].mean(), 1.0))
            rewards.append(log["rating"].iloc[place])
    wanted = np.linalg.lstsq(np.array(rows), np.array(rewards))[0]
    found = [*model.regressor.coef_, model.regressor.intercept_]
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
    save_tensors(tmp_path / "reward.safetensors", model.state_dict())
    other = config.build(data.corpus.num_items)
    other.know(data.corpus)
    other.restore(tmp_path / "reward.safetensors", "train it again")
    batch = batch_of(data.train, torch.arange(9), 10)
    items_NK = batch.action_N[:, None]
    assert torch.equal(model.score(batch, items_NK), other.score(batch, items_NK))
    assert fitted.steps == 0


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (dict(features=lambda frame: frame[["item_id"]]), "features of <lambda> are no numbers"),
        (dict(features=lambda frame: np.ones((2, 2))), r"have the shape \(2, 2\) for"),
        (dict(features=lambda frame: np.ones(len(frame))), "have the shape"),
        (dict(features=lambda frame: np.full((len(frame), 1), np.nan)), "raised ValueError .*NaN"),
        (dict(regressor=lambda: 3), "is 3; return an unfitted regressor"),
    ],
)
def test_what_is_wrong_with_a_regressor_is_said_before_it_is_used(own_log, changed, says):
    config = replace(RewardRegressor(LinearRegression, features), **changed)
    with pytest.raises(UserError, match=says):
        train_reward(own_log.data, config)
