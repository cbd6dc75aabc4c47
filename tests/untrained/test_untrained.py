"""Methods without training in a catalogue of four items in which everything is known by hand."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from data_factory import made_corpus, made_sequences

from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.evaluation.true_value import true_value
from recsys_posttrain.models.ranker import SameForAll
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Split, Targets
from recsys_posttrain.untrained import (
    BestFixedList,
    Given,
    ItemMean,
    Popularity,
    Pretrained,
    RewardArgmax,
    Tilt,
    Uniform,
)
from recsys_posttrain.worlds.base import Truth

IDS = np.array([10, 20, 30, 40])
PI = [0.4, 0.3, 0.2, 0.1]  # of the reference, in every context
R_UV = torch.tensor([[1.0, 2.0, 3.0, 3.5], [4.0, 1.0, 2.0, 3.0]])  # of user 0 and of user 1


class ByUser(RewardModel):
    """r_hat is the user's row of R_UV, whatever the history."""

    max_length = 5
    item_ids = IDS

    def member_factors(self, batch):
        return R_UV[batch.user_N][None], torch.eye(4)[None]


@pytest.fixture(scope="module")
def given():
    """Two users with one event each before their target, and items that may be shown again."""
    train = made_sequences([1, 1], [1, 2], [4.0, 2.0], [0, 1])
    ones_2 = torch.ones(2, dtype=torch.int64)
    targets = Targets(
        train, torch.tensor([3, 4]), ones_2.float(), 9 * ones_2, torch.tensor([0, 1]), "allowed"
    )
    corpus = made_corpus([1, 1], [1, 2], item_ids=IDS, repeats="allowed")
    data = Split(corpus, train, targets, targets, train)
    reference = SameForAll(torch.tensor(PI).log(), IDS)
    return Given(data, reference, ByUser().eval())


def rows_of(method, given):
    return evaluate(method.ranker(given), given.data, given.reward, given.reference).per_user


def tilted(user, temperature):
    weight = [p * math.exp(r / temperature) for p, r in zip(PI, R_UV[user].tolist(), strict=True)]
    return [each / sum(weight) for each in weight]


def probabilities(method, given):
    targets = given.data.test
    state_NR, factor_VR = method.ranker(given).scores(
        targets.history, targets.times_N, targets.users_N
    )
    return (state_NR.double() @ factor_VR.double().T).softmax(dim=1)


def test_a_tilt_is_the_reference_times_the_exponential_of_the_reward(given):
    found_NV = probabilities(Tilt(0.5), given)
    for user in (0, 1):
        assert found_NV[user].tolist() == pytest.approx(tilted(user, 0.5), rel=1e-5)
    # By hand at a temperature of 1 / log 2: weights of user 0 are .4 x 2, .3 x 4, .2 x 8, .1 x 11.3
    found = probabilities(Tilt(1 / math.log(2)), given)[0]
    weight = torch.tensor([0.8, 1.2, 1.6, 0.1 * 2**3.5])
    assert found.tolist() == pytest.approx((weight / weight.sum()).tolist(), rel=1e-5)


def test_its_kl_is_exact_and_its_list_is_by_probability(given):
    rows = rows_of(Tilt(0.5), given)
    for user in (0, 1):
        pi = tilted(user, 0.5)
        kl = sum(p * math.log(p / q) for p, q in zip(pi, PI, strict=True))
        assert rows["kl"][user] == pytest.approx(kl, rel=1e-4)
        best = sorted(range(1, 5), key=lambda item: -pi[item - 1])
        assert rows["top10"][user].tolist() == best
    assert rows["reward/proxy@10"].tolist() == pytest.approx([2.375, 2.5])


def test_the_limits_of_the_temperature(given):
    hot, cold = rows_of(Tilt(1e6), given), rows_of(Tilt(1e-4), given)
    assert hot["top10"].map(list).tolist() == [[1, 2, 3, 4]] * 2
    assert hot["top10"].map(list).equals(rows_of(Pretrained(), given)["top10"].map(list))
    assert hot["kl"].abs().max() < 1e-5
    best = rows_of(RewardArgmax(), given)
    assert best["top10"].map(list).tolist() == [[4, 3, 2, 1], [1, 4, 3, 2]]
    assert cold["top10"].map(list).equals(best["top10"].map(list))
    # All on one item: -log of what the reference gives it.
    for rows in (cold, best):
        assert rows["kl"].tolist() == pytest.approx([-math.log(0.1), -math.log(0.4)], rel=1e-4)
        assert rows["entropy"].abs().max() < 1e-4


def test_a_tilt_is_worth_what_its_policy_expects(given):
    truth = Truth(R_UV, torch.eye(4), np.arange(2), IDS)
    worth = true_value(Tilt(0.5).ranker(given), truth, given.data.test)["reward/gold"]
    for user in (0, 1):
        expected = sum(p * r for p, r in zip(tilted(user, 0.5), R_UV[user].tolist(), strict=True))
        assert worth[user] == pytest.approx(expected, rel=1e-5)
    best = true_value(RewardArgmax().ranker(given), truth, given.data.test)
    assert best["reward/gold"].tolist() == pytest.approx([3.5, 4.0])
    assert best["regret@5"].tolist() == pytest.approx([0, 0], abs=1e-6)


def test_the_best_fixed_list_is_by_the_mean_over_users(given):
    """Means 2.5, 1.5, 2.5, 3.25; of equal ones the lower id is first."""
    rows = rows_of(BestFixedList(), given)
    assert rows["top10"].map(list).tolist() == [[4, 1, 3, 2]] * 2


# Item 1 has one 5; item 2 four 4s; item 3 one 1; nobody rated item 4. The mean is 22 / 6.
LOG = made_sequences([6], [1, 2, 2, 2, 2, 3], [5.0, 4, 4, 4, 4, 1])


@pytest.mark.parametrize(("damping", "order"), [(0.0, [1, 2, 4, 3]), (8.0, [1, 2, 4, 3])])
def test_item_means_by_hand(damping, order, given):
    """Damped by 8: 11/3 + (4/3) / 9 = 3.8148 and 11/3 + (4/3) / 12 = 3.7778."""
    rows = rows_of(ItemMean(damping), given._replace(log=LOG))
    assert rows["top10"].map(list).tolist() == [order] * 2
    ranker = ItemMean(8.0).ranker(given._replace(log=LOG))
    means = (ranker.logit_V / 2**20).tolist()
    expected = [11 / 3 + 4 / 27, 11 / 3 + 1 / 9, 11 / 3 - 8 / 27, 11 / 3]
    assert means == pytest.approx(expected, rel=1e-6)


def test_damping_decides_between_few_and_many():
    """One 5 against eight of 4.75, from a mean of 4.2: undamped the 5 is first, damped by 5 the
    many are."""
    rewards = [5.0, *8 * [4.75], *8 * [3.55], 3.6]
    log = made_sequences([18], [1, *8 * [2], *8 * [3], 4], rewards)
    mean = sum(rewards) / 18
    data = SimpleNamespace(corpus=SimpleNamespace(num_items=4, item_ids=IDS), train=log)
    for damping, first in ((0.0, 1), (5.0, 2)):
        logit_V = ItemMean(damping).ranker(Given(data)).logit_V
        assert int(logit_V.argmax()) + 1 == first
        by_hand = [mean + n * (r - mean) / (n + damping) for n, r in ((1, 5.0), (8, 4.75))]
        assert (logit_V[:2] / 2**20).tolist() == pytest.approx(by_hand, rel=1e-6)


def test_the_damping_is_the_one_that_predicts_other_folds_best():
    """By loops over users: an item's sum is over the users of other folds (user modulo 10)."""
    generator = np.random.default_rng(0)
    users, length = 40, 6
    items = [generator.permutation(8)[:length] + 1 for _ in range(users)]
    noise = generator.normal(0, 1, (users, length))
    rewards = (3 + np.stack(items) / 8 + noise).astype(np.float32).tolist()
    log = made_sequences(users * [length], [each.tolist() for each in items], rewards)
    mean = float(log.rewards_E.double().mean())
    flat = [
        (user, int(item), reward, t)
        for user in range(users)
        for t, (item, reward) in enumerate(zip(items[user], rewards[user], strict=True))
    ]

    def error(damping):
        total = 0.0
        for user, item, reward, t in flat:
            rest = [r - mean for u, i, r, _ in flat if i == item and u % 10 != user % 10]
            total += (reward - mean - sum(rest) / (len(rest) + damping)) ** 2 * (t > 0)
        return total

    best = min((0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0), key=error)
    data = SimpleNamespace(corpus=SimpleNamespace(num_items=8, item_ids=np.arange(8)), train=log)
    chosen, given = (ItemMean(each).ranker(Given(data)).logit_V for each in (None, best))
    assert torch.equal(chosen, given)
    assert not torch.equal(
        chosen, ItemMean(0.5 if best != 0.5 else 50.0).ranker(Given(data)).logit_V
    )


def test_popularity_counts_what_was_before_the_targets(given):
    """Training events are of items 1 and 2, validation targets of 3 and 4, which come before the
    test, and not before themselves."""
    data = replace(given.data, test=replace(given.data.test))
    asked = {"validation": data.validation, "test": data.test, "by default": None}
    weight = {
        name: Popularity().ranker(Given(data, targets=targets)).logit_V.exp().tolist()
        for name, targets in asked.items()
    }
    assert weight["validation"] == pytest.approx([1, 1, 0, 0], abs=1e-8)
    assert weight["test"] == weight["by default"] == pytest.approx([1, 1, 1, 1])


def test_uniform_is_uniform_in_its_policy_and_in_its_lists():
    """4,000 histories: each item is first in a quarter of them, within 4 standard errors of the
    draw of one set of directions."""
    items, users = 40, 4000
    data = SimpleNamespace(corpus=SimpleNamespace(num_items=items, item_ids=np.arange(items)))
    ranker = Uniform().ranker(Given(data))
    state_NR, factor_VR = ranker.scores(made_sequences(users * [1], users * [1]))
    logit_NV = state_NR.double() @ factor_VR.double().T
    pi_NV = logit_NV.softmax(dim=1)
    assert float((pi_NV * items - 1).abs().max()) < 1e-5
    first_V = torch.bincount(logit_NV.argmax(dim=1), minlength=items)
    assert first_V.min() > users / items / 2
    assert first_V.max() < users / items * 2
    rank_V = logit_NV.argsort(dim=1).argsort(dim=1).double().mean(dim=0)
    assert (rank_V - (items - 1) / 2).abs().max() < 1.5
    other = Uniform(seed=1).ranker(Given(data))
    assert not torch.equal(other.scores(made_sequences([1], [1]))[0], state_NR[:1])


@pytest.mark.parametrize(
    ("method", "what"),
    [
        (Pretrained(), "Pretrained needs the reference"),
        (Tilt(), "Tilt needs the reference"),
        (RewardArgmax(), "RewardArgmax needs the reward"),
        (BestFixedList(), "BestFixedList needs the reward"),
    ],
)
def test_what_a_method_needs_and_was_not_given_is_named(method, what, given):
    with pytest.raises(UserError, match=what):
        method.ranker(Given(given.data))


def test_fields_out_of_range_are_refused():
    for make in (lambda: Tilt(0.0), lambda: Tilt(float("nan")), lambda: ItemMean(-1.0)):
        with pytest.raises(UserError, match="must be"):
            make()
