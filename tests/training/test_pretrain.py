"""Pretraining: the loss is cross-entropy over the catalogue, and it learns a known world."""

import json

import numpy as np
import pytest
import torch
from data_factory import made_corpus

from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.repeats import Rule
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.losses import GBCE, FullSoftmax, SampledSoftmax
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.plan import Training
from recsys_posttrain.training.pretrain import pretrain
from recsys_posttrain.types import History


def test_a_new_policy_is_a_function_of_its_seed_and_draws_nothing_from_the_callers(tiny):
    state = torch.get_rng_state()
    first, same, other = (
        new_policy(tiny.backbone, 40, seed).item_embedding_VD for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_the_first_loss_is_the_mean_cross_entropy_of_all_next_items(tiny, tmp_path):
    still = SASRec(dim=8, blocks=1, feed_forward=16, max_length=10, dropout=0.0)
    plan = Training(epochs=1, batch_size=1000, bfloat16=False)
    pretrain(tiny.data, still, plan, 3, tmp_path)
    (line, judged) = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    policy = new_policy(still, 40, seed=3)
    losses = []
    for n in range(len(tiny.data.train)):
        events = slice(*tiny.data.train.offsets_N1[n : n + 2].tolist())
        had = tiny.data.train.items_E[events]
        items = had[-11:]
        if len(items) < 2:
            continue
        nothing = torch.zeros(1, len(items) - 1)
        history = History(items[None, :-1], nothing, nothing.long(), nothing.long())
        hidden_TD = policy.backbone(history)[0]
        logits_TV = (hidden_TD @ policy.backbone.item_embedding.weight[1:].T).double()
        for t in range(len(items) - 1):  # what the user had before, in the window or earlier
            logits_TV[t, had[: len(had) - len(items) + t + 1] - 1] = -torch.inf
        losses += torch.nn.functional.cross_entropy(
            logits_TV, items[1:] - 1, reduction="none"
        ).tolist()
    assert line == {"step": 1, "loss": pytest.approx(np.mean(losses), rel=1e-5)}
    assert judged.keys() == {"step", "ndcg@10"}


def gradients(tiny, loss):
    """Of the mean loss of one batch, in all weights of a new policy."""
    policy = new_policy(tiny.backbone, 40, seed=0).eval()
    batch = batch_of(tiny.data.train, torch.arange(60), 10, rule=Rule(history=True))
    count_V = torch.bincount(tiny.data.train.items_E, minlength=41)[1:]
    generator = torch.Generator().manual_seed(0)
    loss_N = loss.build(count_V)(policy, batch, generator)
    assert loss_N.shape == batch.action_N.shape
    loss_N.mean().backward()
    return {name: parameter.grad for name, parameter in policy.named_parameters()}


def test_sampling_the_whole_catalogue_is_the_full_softmax(tiny):
    """Both in float32, and summed in another order: 1e-6 is 10 of its roundings of 1."""
    sampled = gradients(tiny, SampledSoftmax(negatives=40, popularity_exponent=0.0))
    for name, exact in gradients(tiny, FullSoftmax()).items():
        torch.testing.assert_close(sampled[name], exact, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("loss", [SampledSoftmax(negatives=3), GBCE(negatives=3)])
def test_sampled_losses_leave_dense_gradients(tiny, loss):
    """AdamW takes no others."""
    for name, gradient in gradients(tiny, loss).items():
        assert not gradient.is_sparse, name
        assert gradient.isfinite().all(), name


def test_the_losses_generator_is_a_function_of_the_step_and_not_dropouts(tiny):
    seeds = []

    class Recorder(FullSoftmax):
        def build(self, count_V):
            assert torch.equal(count_V, torch.bincount(tiny.data.train.items_E, minlength=41)[1:])
            likelihood = super().build(count_V)

            def objective(policy, batch, generator):
                seeds.append(generator.initial_seed())
                assert generator.initial_seed() != torch.initial_seed()
                return likelihood(policy, batch, generator)

            return objective

    plan = Training(steps=3, batch_size=16)
    for seed in (0, 0, 1):
        pretrain(tiny.data, tiny.backbone, plan, seed, loss=Recorder())
    assert seeds[:3] == seeds[3:6]
    assert len(set(seeds)) == 6


def test_dropout_is_on(tiny):
    """Otherwise two different rates would train the same weights."""
    weights = []
    for dropout in (0.1, 0.6):
        backbone = SASRec(dim=8, blocks=1, feed_forward=16, max_length=10, dropout=dropout)
        policy, _ = pretrain(tiny.data, backbone, Training(epochs=1, batch_size=16))
        assert not policy.training
        weights.append(policy.item_embedding_VD)
    assert not torch.equal(*weights)


def test_it_learns_which_item_follows_which():
    """Everybody walks round the catalogue from somewhere: after v comes v + 1."""
    items, users = 20, 60
    lengths = [5 + n % 7 for n in range(users)]  # so that no test position is new to the model
    walks = [[(7 * n + t) % items + 1 for t in range(length)] for n, length in enumerate(lengths)]
    corpus = made_corpus(lengths, walks, item_ids=np.arange(items))
    data = LeaveOneOut().split(corpus)
    backbone = SASRec(dim=16, blocks=1, feed_forward=16, max_length=10, dropout=0.0)
    plan = Training(epochs=40, batch_size=16, learning_rate=0.02, warmup_steps=1, patience=10)
    untrained = evaluate(new_policy(backbone, items, 0), data).mean("hr@1")
    policy, _ = pretrain(data, backbone, plan)
    assert untrained < 0.4
    assert evaluate(policy, data).mean("hr@1") >= 0.95
    batch = batch_of(data.train, torch.arange(users), 10)
    assert policy.log_prob(batch).exp().mean() > 0.2  # 1 in 20 by chance


@pytest.mark.parametrize(("least", "apart"), [(1, 4), (4, 4), (5, 8), (9, 12)])
def test_validations_follow_epochs_and_are_some_steps_apart(tiny, tmp_path, least, apart):
    """60 users in batches of 16 are 4 steps an epoch; 6 epochs are 24 steps."""
    plan = Training(epochs=6, batch_size=16, patience=9, validation_steps=least)
    pretrain(tiny.data, tiny.backbone, plan, 0, tmp_path)
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    judged = [line["step"] for line in lines if "ndcg@10" in line]
    assert judged == list(range(apart, 25, apart))
