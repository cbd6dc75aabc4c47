"""The true reward as a reward model: the right user's, in training batches and in evaluation."""

import numpy as np
import pytest
import torch
from data_factory import made_corpus

from recsys_posttrain.algorithms import BC
from recsys_posttrain.algorithms.actors import Actors, logged_rewards
from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.evaluation.true_value import true_value
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.reward_model import score_next
from recsys_posttrain.plan import Training
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.worlds.base import Truth
from recsys_posttrain.worlds.true_reward import TrueReward

ITEMS = 12
LENGTHS = [1, 7, 2, 5, 4, 7]  # users 0 and 2 are in no target


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    items = [(generator.permutation(ITEMS)[:length] + 1).tolist() for length in LENGTHS]
    return LeaveOneOut().split(made_corpus(LENGTHS, items=items, item_ids=np.arange(ITEMS)))


@pytest.fixture
def truth(data):
    generator = torch.Generator().manual_seed(1)
    return Truth(
        torch.randn(len(LENGTHS), 3, generator=generator),
        torch.randn(ITEMS, 3, generator=generator),
        data.corpus.user_ids,
        data.corpus.item_ids,
    )


@pytest.fixture
def policy():
    return new_policy(SASRec(dim=8, blocks=1, feed_forward=16, max_length=4), ITEMS, seed=2)


def slow_reward(truth, user, item):
    state, factor = truth.state_UR[user].tolist(), truth.factor_VR[item - 1].tolist()
    return sum(s * f for s, f in zip(state, factor, strict=True))


def test_a_training_row_has_the_rewards_of_its_user(data, truth):
    model = TrueReward(truth, max_length=4)
    batch = batch_of(data.train, torch.tensor([3, 1, 5]), 4)
    score_NV = model.score_all(batch)
    rows = batch.sequences_B.tolist()
    assert rows == [1, 5, 3], "longest first"
    for n, (b, _) in enumerate(batch.mask_BT.nonzero().tolist()):
        expected = [slow_reward(truth, rows[b], item) for item in range(1, ITEMS + 1)]
        np.testing.assert_allclose(score_NV[n], expected, atol=1e-6)


def test_the_next_action_is_scored_for_the_user_of_the_target(data, truth):
    targets = data.test
    assert targets.users_N.tolist() == [1, 3, 4, 5]
    items_NK = torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]])
    given = targets.history, items_NK, targets.times_N, targets.users_N
    found_NK = score_next(TrueReward(truth, 4), *given)
    for n, user in enumerate([1, 3, 4, 5]):
        expected = [slow_reward(truth, user, int(item)) for item in items_NK[n]]
        np.testing.assert_allclose(found_NK[n], expected, atol=1e-6)


@pytest.mark.parametrize("which", ["test", "validation"])
def test_its_proxy_is_the_gold_reward(which, data, truth, policy):
    """A reward model that is right predicts for the ten shown items what they are worth."""
    targets = getattr(data, which)
    proxy = evaluate(policy, data, TrueReward(truth, 4), targets=targets).per_user
    gold = true_value(policy, truth, targets)
    np.testing.assert_allclose(proxy["reward/proxy@10"], gold["reward/gold@10"], atol=1e-6)


def test_the_value_of_the_reference_is_exact(data, truth, policy):
    log = logged_rewards(data.train, ITEMS)
    actors = Actors(FrozenPolicy(policy), TrueReward(truth, 4), log).eval()
    batch = batch_of(data.train, torch.tensor([1, 3]), 4)
    found_N = actors.reference_value(batch)
    hidden_ND = actors.reference.hidden_states(batch).detach().double()
    pi_NV = (hidden_ND @ policy.item_embedding_VD.detach().double().T).softmax(dim=1)
    users = [row for row, mask_T in enumerate(batch.mask_BT) for _ in range(int(mask_T.sum()))]
    for n, row in enumerate(users):
        user = int(batch.sequences_B[row])
        reward_V = [slow_reward(truth, user, item) for item in range(1, ITEMS + 1)]
        assert float(found_N[n]) == pytest.approx(pi_NV[n].numpy() @ reward_V, abs=1e-5)


def test_posttraining_takes_it_like_any_reward_model(data, truth, policy):
    training = Training(steps=2, batch_size=2)
    better, fitted = posttrain(policy, data, BC(), TrueReward(truth, 4), training, 0)
    assert fitted.steps == 2
    assert len(better.item_embedding_VD) == ITEMS
