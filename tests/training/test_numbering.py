"""Policies and reward models that meet the same events under other item numbers."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys_posttrain.algorithms import ASFT
from recsys_posttrain.data import LeaveOneOut, RatingsFile
from recsys_posttrain.data.never_shown import with_never_shown
from recsys_posttrain.data.prepare import corpus_of
from recsys_posttrain.data.repeats import rule_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.evaluation.true_value import true_value
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.noise import NoisyLog
from recsys_posttrain.rewards.renumbered import Renumbered, in_numbering
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.pretrain import pretrain
from recsys_posttrain.worlds.base import Truth

SHORT = Training(epochs=1, batch_size=16)


@pytest.fixture(scope="module")
def named(tiny):
    """`tiny` with a policy and a reward model that know the ids of their items."""
    tiny = copy.deepcopy(tiny)
    tiny.policy.item_ids = tiny.data.corpus.item_ids
    assert tiny.reward.item_ids.tolist() == tiny.data.corpus.item_ids.tolist()
    return tiny


@pytest.fixture(scope="module")
def other(tiny, small_ratings_csv):
    """The same events, users in the same order, items numbered in another."""
    corpus, count = tiny.data.corpus, tiny.data.corpus.num_items
    order_V = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    number_V1 = torch.cat([torch.zeros(1, dtype=torch.int64), order_V.argsort() + 1])
    log = replace(corpus.sequences, items_E=number_V1[corpus.sequences.items_E])
    found = LeaveOneOut().split(
        replace(corpus, sequences=log, item_ids=corpus.item_ids[order_V.numpy()])
    )
    assert (found.corpus.item_ids != corpus.item_ids).any()
    return found


COLUMNS = ["user_id", "item_id", "rank", "reward/proxy@10", "reward/judge@10", "kl", "entropy"]


def test_an_evaluation_is_the_same_number_for_number(named, other, capsys):
    """The policy, its reference, the reward model and the judge: each trained on either."""
    reference = FrozenPolicy(copy.deepcopy(named.policy))
    for parameter in reference.parameters():
        parameter.mul_(1.1)
    wanted = evaluate(
        named.policy, named.data, named.reward, reference, judge=named.reward
    ).per_user
    assert capsys.readouterr().err == ""
    found = evaluate(named.policy, other, named.reward, reference, judge=named.reward).per_user
    for column in COLUMNS:
        assert found[column].tolist() == wanted[column].tolist(), column
    assert np.stack(found["top10"]).tolist() == np.stack(wanted["top10"]).tolist()
    assert "items are matched with the policy's by id; nothing is left out" in (
        capsys.readouterr().err
    )
    # A policy of the other numbering, with a reference and a reward model of this one.
    trained, _ = pretrain(other, named.backbone, SHORT)
    same = renumbered_policy(trained, named.data.corpus.item_ids)
    one = evaluate(trained, other, named.reward, named.policy).per_user
    two = evaluate(same, named.data, named.reward, named.policy).per_user
    assert one["rank"].tolist() == two["rank"].tolist()
    for column in ("reward/proxy@10", "kl", "entropy"):
        np.testing.assert_allclose(one[column], two[column], rtol=1e-4, atol=1e-5)
    assert one["kl"].mean() > 1e-3


def renumbered_policy(policy, item_ids):
    """The same policy with the rows of its table in another order, by hand."""
    found = copy.deepcopy(policy)
    place = {item: n for n, item in enumerate(policy.item_ids.tolist(), start=1)}
    rows = torch.tensor([0, *(place[item] for item in item_ids.tolist())])
    with torch.no_grad():
        found.backbone.item_embedding.weight.copy_(policy.backbone.item_embedding.weight[rows])
    found.item_ids = item_ids
    return found


def test_post_training_ends_in_the_same_weights_and_keeps_the_ids(named, other):
    one, _ = posttrain(named.policy, named.data, ASFT(), named.reward, SHORT)
    two, _ = posttrain(named.policy, other, ASFT(), named.reward, SHORT)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    assert two.item_ids.tolist() == named.policy.item_ids.tolist()
    with pytest.raises(UserError, match=r"the noisy log was built from small, which numbers its"):
        posttrain(named.policy, other, ASFT(), named.reward, SHORT, log=NoisyLog(other.train))


def test_pretraining_notes_the_ids(named):
    trained, _ = pretrain(named.data, named.backbone, SHORT)
    assert trained.item_ids is named.data.corpus.item_ids


def test_a_reward_model_in_another_numbering_says_the_same_of_every_batch(
    named, other, monkeypatch
):
    ids = named.data.corpus.item_ids.tolist()
    mask, same_mask = (
        rule_of(with_never_shown(each.corpus, (ids[3], ids[8]))) for each in (other, named.data)
    )
    stream = SHORT.batches(other.train, 10, 0, rule=mask)
    model = in_numbering(named.reward, other.corpus.item_ids)
    assert isinstance(model, Renumbered)
    assert in_numbering(model, other.corpus.item_ids) is model
    same = SHORT.batches(named.data.train, 10, 0, rule=same_mask)
    asked, factors = [], named.reward.member_factors
    monkeypatch.setattr(
        named.reward, "member_factors", lambda batch: asked.append(batch) or factors(batch)
    )
    place = {item: n for n, item in enumerate(other.corpus.item_ids.tolist())}
    order_V = torch.tensor([place[item] for item in named.data.corpus.item_ids.tolist()])
    for batch, ours in zip(stream, same, strict=True):
        model.clear_cache()
        named.reward.clear_cache()
        assert torch.equal(
            model.score(batch, batch.action_N[:, None]),
            named.reward.score(ours, ours.action_N[:, None]),
        )
        items_E, _, everywhere_M, but_N, *_ = asked[-2].excluded
        assert torch.equal(items_E, ours.excluded.items_E)
        assert everywhere_M.sort().values.tolist() == [4, 9]
        assert torch.equal(but_N, ours.action_N)
        theirs = model.score_all(batch)[..., order_V]
        torch.testing.assert_close(theirs, named.reward.score_all(ours))


def test_what_cannot_be_matched_is_refused(named, other, small_ratings_csv):
    few = copy.copy(named.reward)
    few.item_ids = named.reward.item_ids[:-1]
    with pytest.raises(UserError, match=r"the reward model does not know 1 of the policy's 40 it"):
        evaluate(named.policy, other, few)
    reference = FrozenPolicy(copy.deepcopy(named.policy))
    reference.item_ids = np.array([*named.policy.item_ids[:-1].tolist(), "other"], dtype=object)
    with pytest.raises(UserError, match=r"40 items and the reference 40, not the same ones"):
        evaluate(named.policy, named.data, reference=reference)
    truth = Truth(
        torch.ones(60, 1),
        torch.ones(40, 1),
        other.corpus.user_ids,
        other.corpus.item_ids,
    )
    with pytest.raises(UserError, match=r"numbers its items otherwise than the truth"):
        true_value(named.policy, truth, other.test)
    by_hand = copy.copy(named.policy)
    by_hand.item_ids = None
    fewer = corpus_of(RatingsFile(str(small_ratings_csv)).load(), 30)
    with pytest.raises(UserError, match=r"the policy knows 40 items and small has \d+"):
        evaluate(by_hand, LeaveOneOut().split(fewer))
