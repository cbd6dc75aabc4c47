"""Post-training: one start, one order of data, no dropout, and measurements that are exact."""

import copy
import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from recsys_posttrain.algorithms import ASFT, BC, OfflinePPO
from recsys_posttrain.algorithms.actors import Actors, logged_rewards
from recsys_posttrain.algorithms.base import heads_of
from recsys_posttrain.algorithms.signals import learned_value
from recsys_posttrain.data.batching import BatchStream, batch_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.plan import Training
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.tensors import load_tensors
from recsys_posttrain.training.drift import drift
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.snapshots import snapshot_steps
from recsys_posttrain.types import LossOutput

PLAN = Training(epochs=2, batch_size=16, learning_rate=0.02, warmup_steps=3)


@dataclass(frozen=True)
class Watched:
    """An algorithm that writes down what it was given."""

    inner: object
    batches: list = field(default_factory=list)
    actors: list = field(default_factory=list)

    def heads(self, dim, num_items):
        return heads_of(self.inner, dim, num_items)

    def loss(self, batch, actors):
        self.batches.append(batch)
        self.actors.append((actors.step, actors.policy.training, actors))
        return self.inner.loss(batch, actors)


def test_the_pretrained_policy_stays_as_it_is(tiny):
    policy = copy.deepcopy(tiny.policy).train()
    before = copy.deepcopy(policy.state_dict())
    trained, _ = posttrain(policy, tiny.data, BC(), tiny.reward, PLAN)
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())
    assert policy.training
    assert all(parameter.requires_grad for parameter in policy.parameters())
    assert not any(
        torch.equal(before[n], v) for n, v in trained.state_dict().items() if "norm" in n
    )


def test_a_frozen_policy_can_be_post_trained(tiny):
    frozen = copy.deepcopy(tiny.policy).requires_grad_(False).eval()
    trained, _ = posttrain(frozen, tiny.data, BC(), tiny.reward, PLAN)
    assert not torch.equal(trained.item_embedding_VD, frozen.item_embedding_VD)


def test_every_algorithm_sees_the_same_batches_without_dropout(tiny):
    watched = [Watched(algorithm) for algorithm in (BC(), ASFT(), OfflinePPO(samples=2))]
    for each in watched:
        posttrain(tiny.policy, tiny.data, each, tiny.reward, PLAN, seed=4)
    other_seed = Watched(BC())
    posttrain(tiny.policy, tiny.data, other_seed, tiny.reward, PLAN, seed=5)
    first = [batch.actions_BT.tolist() for batch in watched[0].batches]
    assert len(first) == 8
    for each in watched[1:]:
        assert [batch.actions_BT.tolist() for batch in each.batches] == first
    assert [batch.actions_BT.tolist() for batch in other_seed.batches] != first
    for each in watched:
        assert [step for step, _, _ in each.actors] == list(range(8))
        assert not any(training for _, training, _ in each.actors)


def test_an_algorithm_is_told_from_where_on_a_reward_is_liked(tiny):
    """In stars, whatever the unit of the log: a reward of 5, from -10 in steps of 5, is 3 stars."""
    scale = RewardScale(liked=5.0, zero=-10.0, unit=5.0)
    data = replace(tiny.data, corpus=replace(tiny.data.corpus, reward_scale=scale))
    liked = []

    class Asks(BC):
        def loss(self, batch, actors):
            liked.append(actors.log.liked)
            return super().loss(batch, actors)

    posttrain(tiny.policy, data, Asks(), tiny.reward, PLAN, seed=4)
    assert set(liked) == {3.0}


def test_the_models_around_the_policy_stay_and_the_head_learns(tiny):
    watched = Watched(ASFT(baseline=learned_value))
    reward_before = copy.deepcopy(tiny.reward.state_dict())
    trained, _ = posttrain(tiny.policy, tiny.data, watched, tiny.reward, PLAN)
    actors = watched.actors[-1][2]
    for name, value in tiny.policy.state_dict().items():
        assert torch.equal(actors.reference.state_dict()[name], value), name
    for name, value in tiny.reward.state_dict().items():
        assert torch.equal(reward_before[name], value), name
    assert actors.policy is trained
    assert actors.heads["value"].weight.abs().sum() > 0


def test_a_head_that_is_frozen_stays(tiny):
    class Frozen(BC):
        def heads(self, dim, num_items):
            return {"features": torch.nn.Linear(dim, num_items).requires_grad_(False)}

        def loss(self, batch, actors):
            built.append(actors.heads["features"].weight.clone())
            feature_NV = actors.head("features", batch, trains_policy=True)
            loss_N, metrics, _ = super().loss(batch, actors)
            return LossOutput(loss_N + feature_NV.square().mean(dim=1), metrics)

    built = []
    posttrain(tiny.policy, tiny.data, Frozen(), tiny.reward, PLAN)
    assert built[0].shape == (40, 8)
    assert torch.equal(built[0], built[-1])


def test_behaviour_cloning_is_a_plain_loop(tiny):
    """In float64, with torch's own cross-entropy, AdamW and padded dense logits."""
    plan = Training(epochs=2, batch_size=16, learning_rate=0.02, warmup_steps=3, weight_decay=0.05)
    start = copy.deepcopy(tiny.policy).double()
    trained, fitted = posttrain(start, tiny.data, BC(), tiny.reward, plan, seed=2)
    assert fitted.steps == 8

    backbone = copy.deepcopy(start.backbone).eval()
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=0.02, weight_decay=0.05, foreach=False)
    for step, batch in enumerate(BatchStream(tiny.data.train, 10, 16, 2, seed=2)):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1][step]
        hidden_BTD = backbone(batch.history)
        logits_BTV = hidden_BTD @ backbone.item_embedding.weight[1:].T
        for row, user in enumerate(batch.sequences_B.tolist()):
            events = slice(*tiny.data.train.offsets_N1[user : user + 2].tolist())
            items = tiny.data.train.items_E[events]
            window = int(batch.mask_BT[row].sum())
            for t in range(window):  # what the user had before, in the window or earlier
                logits_BTV[row, t, items[: len(items) - window + t] - 1] = -torch.inf
        loss = torch.nn.functional.cross_entropy(
            logits_BTV.flatten(0, 1), batch.actions_BT.flatten() - 1, ignore_index=-1
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in backbone.state_dict().items():
        torch.testing.assert_close(trained.backbone.state_dict()[name], value, msg=name)
    moved = trained.item_embedding_VD - start.item_embedding_VD
    assert moved.abs().max() > 0.05


def test_snapshots_are_the_weights_on_the_way(tiny, tmp_path):
    """Of 8 steps after 8^(1/3) = 2, 8^(2/3) = 4 and 8. The last is the policy itself, the others
    those of a run that ends there: the rate does not fall."""
    assert snapshot_steps(3, 8) == {2, 4, 8}
    assert snapshot_steps(0, 8) == set()
    assert snapshot_steps(9, 2) == {1, 2}
    plan = Training(steps=8, batch_size=16, learning_rate=0.02, snapshots=3)
    trained, _ = posttrain(tiny.policy, tiny.data, BC(), tiny.reward, plan, folder=tmp_path)
    files = sorted(path.name for path in tmp_path.glob("step-*"))
    assert files == [f"step-00000{step}.safetensors" for step in (2, 4, 8)]
    shorter, _ = posttrain(tiny.policy, tiny.data, BC(), tiny.reward, replace(plan, steps=4))
    for name, expected in (("step-000008", trained), ("step-000004", shorter)):
        found = load_tensors(tmp_path / f"{name}.safetensors")
        assert found.keys() == expected.state_dict().keys()
        assert all(torch.equal(found[key], value) for key, value in expected.state_dict().items())


def softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def test_drift_is_the_slow_sum_over_the_catalogue(tiny):
    policy = copy.deepcopy(tiny.policy).double().eval()
    reward, log = copy.deepcopy(tiny.reward).double(), logged_rewards(tiny.data.train, 40)
    actors = Actors(FrozenPolicy(policy), reward, log)
    policy = actors.policy
    with torch.no_grad():  # a copy of the reference
        policy.backbone.item_embedding.weight[1:] *= 4
    rows = torch.arange(9)
    batch = batch_of(tiny.data.train, rows, 10)
    batch = batch._replace(
        history_rewards_BT=batch.history_rewards_BT.double(), rewards_BT=batch.rewards_BT.double()
    )
    positions = len(batch.action_N)
    assert positions < 256, "all of them are measured"

    reward_NV = actors.reward.score_all(batch).numpy()
    sums = np.zeros(3)
    states = [
        model.backbone(batch.history).detach().numpy() for model in (policy, actors.reference)
    ]
    tables = [model.item_embedding_VD.detach().numpy() for model in (policy, actors.reference)]
    for n, (b, t) in enumerate(np.argwhere(batch.mask_BT.numpy())):
        pi, reference = (
            softmax(table @ state[b, t]) for table, state in zip(tables, states, strict=True)
        )
        sums += [
            sum(p * np.log(p / q) for p, q in zip(pi, reference, strict=True)),
            -sum(p * np.log(p) for p in pi),
            sum(p * r for p, r in zip(pi, reward_NV[n], strict=True)),
        ]
    kl, entropy, proxy = sums / positions
    measured = {name: float(value) for name, value in drift(batch, actors).items()}
    expected = {"kl": kl, "entropy": entropy, "reward/proxy": proxy}
    assert measured == pytest.approx(expected, rel=1e-9)
    assert kl > 0.01
    assert entropy < np.log(40) - 0.01


def test_drift_reads_positions_spread_over_the_whole_batch(tiny, monkeypatch):
    """Every third of 9 positions, when it may read 3."""
    monkeypatch.setattr("recsys_posttrain.training.drift.POSITIONS", 3)
    frozen = FrozenPolicy(copy.deepcopy(tiny.policy))
    actors = Actors(frozen, tiny.reward, logged_rewards(tiny.data.train, 40))
    policy = actors.policy
    with torch.no_grad():
        policy.backbone.item_embedding.weight[1:] *= 3
    longest = tiny.data.train.lengths_N.argsort(descending=True)[:1]
    batch = batch_of(tiny.data.train, longest, 9)
    assert len(batch.action_N) == 9

    def pi_of(model, t):
        hidden_TD = model.backbone(batch.history)[0]
        return softmax((hidden_TD[t] @ model.item_embedding_VD.T).detach().numpy().astype(float))

    rows = []
    for t in (0, 3, 6):
        pi_V, reference_V = pi_of(policy, t), pi_of(actors.reference, t)
        kl, entropy = (pi_V * np.log(pi_V / reference_V)).sum(), -(pi_V * np.log(pi_V)).sum()
        rows.append([kl, entropy, pi_V @ tiny.reward.score_all(batch)[t].double().numpy()])
    measured = drift(batch, actors)
    names = ("kl", "entropy", "reward/proxy")
    expected = np.mean(rows, axis=0)
    np.testing.assert_allclose([float(measured[name]) for name in names], expected, rtol=1e-4)


def test_the_log_holds_the_drift_and_the_validation(tiny, tmp_path):
    plan = Training(epochs=3, batch_size=16, learning_rate=0.02)
    trained, _ = posttrain(tiny.policy, tiny.data, ASFT(), tiny.reward, plan, folder=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    by_kind = {True: [], False: []}
    for line in lines:
        by_kind["loss" in line].append(line)
    assert [line["step"] for line in by_kind[True]] == [3, 6, 9, 10, 12]
    assert [line["step"] for line in by_kind[False]] == [3, 6, 9, 12]
    weights = {"weight/mean", "weight/max", "weight/effective_share", "weight/capped"}
    own = {"step", "loss", "advantage/mean", "baseline/r2"} | weights
    measured = {"kl", "entropy", "reward/proxy"}
    assert [set(line) - own for line in by_kind[True]] == [set(), set(), set(), measured, set()]
    names = ["ndcg@10", "reward/proxy@10", "kl", "entropy"]
    for line in by_kind[False]:
        expected = {"step", "validation/ndcg@10 liked", *(f"validation/{name}" for name in names)}
        assert set(line) == expected
    kls = [line["validation/kl"] for line in by_kind[False]]
    assert 0 < kls[0] < kls[-1]
    rows = evaluate(
        trained, tiny.data, tiny.reward, tiny.policy, targets=tiny.data.validation
    ).per_user
    for name in names:
        assert by_kind[False][-1][f"validation/{name}"] == pytest.approx(rows[name].mean())
    by_hand = rows.loc[rows["reward"] >= 4, "ndcg@10"].mean()
    assert by_kind[False][-1]["validation/ndcg@10 liked"] == pytest.approx(by_hand)


def test_the_best_epoch_stays_when_it_is_asked_for(tiny, tmp_path):
    plan = Training(epochs=6, batch_size=16, learning_rate=0.1, warmup_steps=1, patience=2)
    trained, fitted = posttrain(tiny.policy, tiny.data, BC(), tiny.reward, plan, folder=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    judged = {line["step"]: line["validation/ndcg@10"] for line in lines if "loss" not in line}
    assert fitted.best_value == max(judged.values()) == judged[fitted.best_step]
    kept = evaluate(trained, tiny.data, targets=tiny.data.validation).mean("ndcg@10")
    assert kept == pytest.approx(fitted.best_value)


def test_a_policy_of_another_catalogue_is_refused(tiny):
    other = new_policy(SASRec(dim=8, blocks=1, feed_forward=16, max_length=10), 39, 0)
    with pytest.raises(UserError, match="the policy knows 39 items and small has 40"):
        posttrain(other, tiny.data, BC(), tiny.reward, PLAN)


@pytest.mark.parametrize(("least", "steps"), [(1, [2, 4, 6, 8]), (3, [3, 6, 8]), (99, [8])])
def test_validations_are_apart_and_one_follows_the_last_step(least, steps, tiny, tmp_path):
    plan = replace(PLAN, epochs=None, steps=8, validation_steps=least)
    posttrain(tiny.policy, tiny.data, BC(), tiny.reward, plan, folder=tmp_path)
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert [line["step"] for line in lines if "loss" not in line] == steps
