import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from recsys_posttrain.config import digest
from recsys_posttrain.data.prepare import prepare
from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds.tabular import Tabular, _inverse, rows

WORLD = Tabular(
    reward=((1.0, 3.0), (5.0, 2.0)), reference=((0.25, 0.75), (0.5, 0.5)), contexts=(0.25, 0.75)
)


def random_world(contexts=3, actions=5, seed=0):
    generator = np.random.default_rng(seed)
    reference_XV = generator.dirichlet(np.ones(actions), contexts)
    share_X = generator.dirichlet(np.ones(contexts))
    reward_XV = generator.standard_normal((contexts, actions))
    return Tabular(rows(reward_XV), rows(reference_XV), tuple(share_X.tolist())), generator


def test_value_regret_and_kl_by_hand():
    """Values of the contexts: 1/2 (1 + 3) = 2 and 5; 0.25 * 2 + 0.75 * 5 = 4.25. The best policy
    has 0.25 * 3 + 0.75 * 5 = 4.5. KL: log 2 / 2 + log(2/3) / 2 = log(4/3) / 2, and log 2."""
    policy_XV = np.array([[0.5, 0.5], [1.0, 0.0]])
    assert WORLD.value(policy_XV) == pytest.approx(4.25)
    assert WORLD.regret(policy_XV) == pytest.approx(0.25)
    expected = 0.25 * math.log(4 / 3) / 2 + 0.75 * math.log(2)
    assert WORLD.kl(policy_XV) == pytest.approx(expected)
    assert WORLD.kl(WORLD.reference_XV) == 0


def test_kl_is_infinite_where_the_reference_never_goes():
    world = Tabular(((1.0, 2.0),), ((1.0, 0.0),), (1.0,))
    assert world.kl(np.array([[0.5, 0.5]])) == np.inf
    assert world.kl(np.array([[1.0, 0.0]])) == 0


def test_tilt_by_hand():
    """exp(2 log 3 / 2) = 3 lifts 1/4 to 3/4 against 3/4; equal scores change nothing."""
    scores_XV = np.array([[2 * math.log(3), 0.0], [7.0, 7.0]])
    np.testing.assert_allclose(WORLD.tilted(scores_XV, 2.0), [[0.5, 0.5], [0.5, 0.5]], rtol=1e-14)
    np.testing.assert_allclose(WORLD.tilted(scores_XV, np.inf), WORLD.reference_XV, rtol=1e-14)


def test_the_tilt_is_the_best_trade_of_score_for_kl():
    """Its E[scores] - t KL is t log Z, and no random policy, near or far, has more."""
    world, generator = random_world()
    scores_XV, temperature = generator.standard_normal((3, 5)), 0.4

    def trade(policy_XV):
        expected = (policy_XV * scores_XV).sum(axis=-1) @ world.context_X
        return expected - temperature * world.kl(policy_XV)

    tilted_XV = world.tilted(scores_XV, temperature)
    normaliser_X = (world.reference_XV * np.exp(scores_XV / temperature)).sum(axis=1)
    best = temperature * (np.log(normaliser_X) @ world.context_X)
    assert trade(tilted_XV) == pytest.approx(best, rel=1e-12)
    others_SXV = generator.dirichlet(np.ones(5), (500, 3))
    for share in (1.0, 0.01):
        assert (trade((1 - share) * tilted_XV + share * others_SXV) < best).all()


def test_what_the_reference_never_takes_is_never_taken_even_at_extreme_scores():
    world = Tabular(((0.0, 0.0, 0.0),), ((0.5, 0.5, 0.0),), (1.0,))
    tilted_XV = world.tilted(np.array([[1e4, -1e4, 1e6]]), 1e-3)
    np.testing.assert_array_equal(tilted_XV, [[1.0, 0.0, 0.0]])
    policy_XV = world.best_of_n(np.array([[1.0, 2.0, 3.0]]), 2)
    np.testing.assert_allclose(policy_XV, [[0.25, 0.75, 0.0]], rtol=1e-14)


def test_leading_dimensions_stay():
    """Draws and temperatures at once equal one at a time."""
    world, generator = random_world()
    scores_SXV, temperatures = generator.standard_normal((4, 3, 5)), np.array([0.3, 2.0])
    policy_LSXV = world.tilted(scores_SXV, temperatures[:, None, None, None])
    best_SXV = world.best_of_n(scores_SXV, 3)
    for answer in (world.value, world.kl, world.regret):
        assert answer(policy_LSXV).shape == (2, 4)
        for number, temperature in enumerate(temperatures):
            for draw in range(4):
                one_XV = world.tilted(scores_SXV[draw], temperature)
                assert answer(policy_LSXV)[number, draw] == pytest.approx(answer(one_XV), rel=1e-12)
    for draw in range(4):
        np.testing.assert_allclose(best_SXV[draw], world.best_of_n(scores_SXV[draw], 3), rtol=1e-12)


@pytest.mark.parametrize("scores", [(0.3, -1.0, 2.0, 0.5), (1.0, 0.0, 1.0, 0.0), (2.0,) * 4])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_best_of_n_by_enumeration(scores, n):
    """All 4^n sequences of draws; of equal scores the first drawn is taken."""
    reference = (0.1, 0.4, 0.2, 0.3)
    expected = np.zeros(4)
    for drawn in product(range(4), repeat=n):
        best = max(drawn, key=lambda action: scores[action])
        expected[best] += math.prod(reference[action] for action in drawn)
    world = Tabular((scores,), (reference,), (1.0,))
    policy_XV = world.best_of_n(np.array([scores]), n)
    np.testing.assert_allclose(policy_XV[0], expected, rtol=1e-12)


def test_kl_of_best_of_n_over_many_actions():
    """log n - (n - 1) / n for a continuous score (arXiv 2210.10760). With V equal shares u^n is
    differenced instead of differentiated, which for n << V changes KL by O((n / V)^2): 2e-7."""
    actions, n = 20_000, 8
    world = Tabular(((0.0,) * actions,), ((1 / actions,) * actions,), (1.0,))
    scores_XV = np.random.default_rng(0).permutation(actions)[None].astype(float)
    kl = world.kl(world.best_of_n(scores_XV, n))
    assert kl == pytest.approx(math.log(n) - (n - 1) / n, abs=2e-7)


def test_the_log_is_drawn_from_the_reference():
    """Each context's actions fit its row (chi-square at 0.1%), and so do the users' contexts."""
    world, _ = random_world()
    world = Tabular(world.reward, world.reference, world.contexts, users=300, events=30)
    frame, truth = world.load().frame, world.truth()
    np.testing.assert_array_equal(truth.user_ids, frame["user_id"].unique())
    np.testing.assert_array_equal(truth.item_ids, [1, 2, 3, 4, 5])
    reward_NV = truth.state_UR @ truth.factor_VR.T
    table_XV = torch.from_numpy(world.reward_XV).float()
    context_N = (reward_NV[:, None] == table_XV).all(dim=2).int().argmax(dim=1).numpy()
    users_X = np.bincount(context_N, minlength=3)
    assert chisquare(users_X, 300 * world.context_X).pvalue > 0.001
    context_E = context_N[frame["user_id"].to_numpy() - 1]
    action_E = frame["item_id"].to_numpy() - 1
    for context, count in enumerate(users_X):
        action_V = np.bincount(action_E[context_E == context], minlength=5)
        expected_V = 30 * count * world.reference_XV[context]
        assert chisquare(action_V, expected_V).pvalue > 0.001
    np.testing.assert_array_equal(frame["rating"], world.reward_XV[context_E, action_E])
    np.testing.assert_array_equal(frame["propensity"], world.reference_XV[context_E, action_E])


def test_the_propensities_make_importance_weighting_unbiased():
    """Mean of pi / propensity * rating over 10,000 events: within 4 standard errors over users."""
    world, generator = random_world(seed=1)
    world = Tabular(world.reward, world.reference, world.contexts, users=500, events=20)
    policy_XV = generator.dirichlet(np.ones(5), 3)
    frame = world.load().frame
    context_N, _ = world._draws
    user_E, action_E = frame["user_id"].to_numpy() - 1, frame["item_id"].to_numpy() - 1
    chosen_E = policy_XV[context_N[user_E], action_E]
    weighted_NT = (chosen_E / frame["propensity"] * frame["rating"]).to_numpy().reshape(500, 20)
    mean_N = weighted_NT.mean(axis=1)
    error = mean_N.std(ddof=1) / math.sqrt(500)
    assert abs(mean_N.mean() - world.value(policy_XV)) < 4 * error


def test_what_has_no_share_is_never_drawn():
    world = Tabular(((0.0, 1.0, 2.0),), ((0.5, 0.5, 0.0),), (1.0,), users=100, events=50)
    assert set(world.load().frame["item_id"]) == {1, 2}
    edges_NT = _inverse(np.array([[0.0, 0.5, 0.5, 1.0, 1.0]]), np.array([[0.0, 0.5, 1 - 2**-53]]))
    np.testing.assert_array_equal(edges_NT, [[1, 3, 3]])


def test_shares_that_rounding_leaves_below_1_still_draw_the_last_outcome():
    """And a total of 4 is no other distribution: 0.2 and 0.3 of it are 0.8 and 1.2."""
    last = 1 - 2**-53
    assert _inverse(np.array([[0.5, last]]), np.array([[last]])).tolist() == [[1]]
    assert _inverse(np.array([[1.0, 4.0]]), np.array([[0.2, 0.3]])).tolist() == [[0, 1]]


def test_it_goes_the_way_of_any_dataset(tmp_path):
    corpus = prepare(WORLD, cache=tmp_path)
    assert corpus.num_items == 2
    truth = WORLD.truth().aligned(corpus)
    ids = torch.tensor(corpus.item_ids - 1)
    rewards_NV = truth.rewards(torch.arange(WORLD.users))
    contexts = {tuple(row) for row in rewards_NV[:, ids.argsort()].tolist()}
    assert contexts == {(1.0, 3.0), (5.0, 2.0)}


def test_the_same_world_has_the_same_log_and_can_be_part_of_a_run():
    again = Tabular(WORLD.reward, WORLD.reference, WORLD.contexts)
    assert again.content_hash() == WORLD.content_hash() == digest(WORLD, 64)
    assert again.load().frame.equals(WORLD.load().frame)
    other = Tabular(WORLD.reward, WORLD.reference, WORLD.contexts, seed=1)
    assert other.content_hash() != WORLD.content_hash()
    assert not other.load().frame.equals(WORLD.load().frame)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"contexts": (1.0,)}, r"\[2, 2\] actions and reference of \[2, 2\] for 1 contexts"),
        ({"reward": ((1.0, 3.0), (5.0,))}, r"reward has rows of \[2, 1\]"),
        ({"reward": ((1.0, math.nan), (5.0, 2.0))}, "each reward must be a finite number"),
        ({"contexts": (0.5, 0.6)}, "contexts must be at least 0 and add up to 1"),
        ({"reference": ((0.5, 0.6), (0.5, 0.5))}, "a row of reference must be at least 0"),
        ({"reference": ((1.5, -0.5), (0.5, 0.5))}, "a row of reference must be at least 0"),
        ({"users": 0}, "users=0 must be at least 1"),
        ({"events": 1}, "events=1 at least 2"),
    ],
)
def test_a_wrong_world_is_refused(wrong, sentence):
    fields = {"reward": WORLD.reward, "reference": WORLD.reference, "contexts": WORLD.contexts}
    with pytest.raises(UserError, match=sentence):
        Tabular(**(fields | wrong))


def test_a_temperature_and_a_number_of_draws_must_be_positive():
    for temperature in (0.0, -1.0, np.array([1.0, 0.0])):
        with pytest.raises(UserError, match="temperature="):
            WORLD.tilted(WORLD.reward_XV, temperature)
    with pytest.raises(UserError, match="n=0 must be at least 1"):
        WORLD.best_of_n(WORLD.reward_XV, 0)
