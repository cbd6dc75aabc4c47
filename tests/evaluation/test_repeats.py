"""One rule of what may be shown, in every number of an evaluation, against loops over items."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_posttrain.api import load
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.evaluation.expectation import expected_unseen
from recsys_posttrain.evaluation.rollout import first_of, rollout
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.ranker import SameForAll
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.training.pretrain import validation_ndcg
from recsys_posttrain.untrained import Given, Popularity

INPUTS = Path(__file__).parents[1] / "inputs"
SIZES = dict(dim=8, blocks=1, feed_forward=16, max_length=10)

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(params=["never", "allowed"])
def data(request):
    """5 items, 24 users, of whom 8 chose everything and then one of it again."""
    return load(str(INPUTS / "saw_everything_then_again.csv"), repeats=request.param)


def shown(data, seen):
    """The items that the rule lets a user see."""
    every = range(1, data.corpus.num_items + 1)
    return [item for item in every if data.corpus.repeats == "allowed" or item not in seen]


def histories(targets):
    for start, stop in pairwise(targets.history.offsets_N1.tolist()):
        yield set(targets.history.items_E[start:stop].tolist())


def evaluate_popularity(data, *models, **options):
    return evaluate(Popularity().ranker(Given(data)), data, *models, **options)


def counted(data):
    """How often each item was chosen before the test targets, from item 0."""
    chosen = torch.cat([data.train.items_E, data.validation.items_N])
    return torch.bincount(chosen, minlength=data.corpus.num_items + 1).tolist()


def rank_of(score, target, candidates):
    above = sum(score[item] > score[target] for item in candidates)
    equal = sum(score[item] == score[target] for item in candidates if item != target)
    return 1 + above + equal / 2


def test_rows_lists_and_the_metric_that_selects(data):
    policy = new_policy(SASRec(**SIZES), data.corpus.num_items, seed=3).eval()
    for is_policy in (True, False):
        rows = evaluate(policy, data).per_user if is_policy else evaluate_popularity(data).per_user
        hidden_ND = policy.last_hidden_states(data.test.history, data.test.times_N).clone()
        for n, seen in enumerate(histories(data.test)):
            values = (
                (policy.item_embedding_VD @ hidden_ND[n]).tolist()
                if is_policy
                else counted(data)[1:]
            )
            score, candidates = dict(enumerate(values, start=1)), shown(data, seen)
            best = sorted(candidates, key=lambda item: -score[item])
            assert rows["rank"][n] == rank_of(score, int(data.test.items_N[n]), candidates)
            assert [item for item in rows["top10"][n].tolist() if item] == best
    assert len(rows) == (16 if data.corpus.repeats == "never" else 24)
    gains = evaluate(policy, data, targets=data.validation).per_user["ndcg@10"]
    assert validation_ndcg(policy, data) == pytest.approx(gains.mean())


def test_expected_rewards_and_rollouts(data):
    generator = torch.Generator().manual_seed(0)
    items, users = data.corpus.num_items, len(data.test.items_N)
    policy = new_policy(SASRec(**SIZES), items, seed=3).eval()
    hidden_ND = policy.last_hidden_states(data.test.history, data.test.times_N).clone()
    reward_NR = torch.randn(users, 2, generator=generator)
    factor_VR = torch.randn(items, 2, generator=generator)
    found_N = expected_unseen(hidden_ND, policy.item_embedding_VD, reward_NR, factor_VR, data.test)
    for n, seen in enumerate(histories(data.test)):
        index = torch.tensor(shown(data, seen)) - 1
        share = (policy.item_embedding_VD[index] @ hidden_ND[n]).detach().double().softmax(0)
        worth = (factor_VR[index] @ reward_NR[n]).double()
        assert float(found_N[n]) == pytest.approx(float(share @ worth), abs=1e-5)

    def item_itself(_, items_N, __):
        return items_N.float().masked_fill(items_N == 0, torch.nan)

    count_V = torch.tensor([5, 4, 3, 2, 1])
    for ranker in (SameForAll(count_V), policy):
        steps_NS = rollout(first_of(ranker, data.test), item_itself, data.test, 6)
        for n, seen in enumerate(histories(data.test)):
            steps = [int(step) for step in steps_NS[n] if not step.isnan()]
            if data.corpus.repeats == "never":
                assert sorted(steps) == sorted(shown(data, seen))
            else:
                assert len(steps) == 6
    if data.corpus.repeats == "allowed":
        popular_NS = rollout(first_of(SameForAll(count_V), data.test), item_itself, data.test, 6)
        assert (popular_NS == 1).all()


def test_two_items_in_turn_are_no_longer_found_by_everybody():
    """Popularity: A and B are equally often in the histories, or the target is the rarer one."""
    data = load(str(INPUTS / "two_items_in_turn.csv"))
    assert data.corpus.repeats == "allowed"
    count = counted(data)
    wanted = [rank_of(count, target, (1, 2)) for target in data.test.items_N.tolist()]
    rows = evaluate_popularity(data).per_user
    assert rows["rank"].tolist() == wanted
    assert rows["ndcg@10"].mean() == pytest.approx(np.mean(1 / np.log2(np.array(wanted) + 1)))
    assert rows["ndcg@10"].mean() < 1
    assert rows["hr@1"].mean() < 1


def test_targets_made_by_hand_that_were_seen_are_refused(data):
    seen = replace(
        data.test, items_N=data.test.history.items_E[data.test.history.offsets_N1[1:] - 1]
    )
    policy = new_policy(SASRec(**SIZES), data.corpus.num_items, seed=3)
    if data.corpus.repeats == "allowed":
        assert len(evaluate(policy, data, targets=seen).per_user) == 24
        return
    for ranker in (Popularity().ranker(Given(data)), policy):
        with pytest.raises(UserError, match=r"16 of 16 targets .* had before, which repeats=\"nev"):
            evaluate(ranker, data, targets=seen)


def test_the_reward_of_an_empty_list_is_undefined_and_not_zero(data, monkeypatch):
    """A list is empty where a user has seen all that the rule lets them see."""
    from recsys_posttrain.evaluation import evaluate as module

    encoder = SASRec(**SIZES, history_rewards=True)
    reward = RewardEnsemble(encoder, members=2, rank=2).build(data.corpus.num_items, 3.0).eval()
    full = evaluate_popularity(data, reward, judge=reward).per_user
    original = module.ranks_and_lists

    def nothing_for_the_first(*arguments):
        rank_N, items_NK, score_NK = original(*arguments)
        items_NK[0] = 0
        return rank_N, items_NK, score_NK

    monkeypatch.setattr(module, "ranks_and_lists", nothing_for_the_first)
    rows = evaluate_popularity(data, reward, judge=reward).per_user
    for column in ("reward/proxy@10", "reward/judge@10"):
        assert np.isnan(rows[column][0])
        assert rows[column][1:].tolist() == full[column][1:].tolist()
