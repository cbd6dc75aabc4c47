"""A guard on purpose: what it measures, that it stops or warns, and what is refused."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys_posttrain.algorithms import BC
from recsys_posttrain.algorithms.actors import Actors, logged_rewards
from recsys_posttrain.errors import UserError
from recsys_posttrain.guard import Guard
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.plan import Training
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.pretrain import pretrain
from recsys_posttrain.training.watch import measure_of

PLAN = Training(steps=12, batch_size=16, learning_rate=0.05, warmup_steps=0)


class Linear(RewardModel):
    """r_hat(x, v) = value_V[v], whatever came before."""

    def __init__(self, value_V):
        super().__init__()
        self.register_buffer("value_V", value_V)
        self.max_length = 10

    def member_factors(self, batch):
        ones_MNR = torch.ones(1, int(batch.mask_BT.sum()), 1)
        return ones_MNR, self.value_V[None, :, None]


class GivenItemsOnly(RewardModel):
    max_length = 10

    def score(self, batch, items_NK):
        return items_NK.float()


def log_probs(policy, data):
    """Of every validation target over the whole catalogue, item by item, in float64."""
    targets, found = data.validation, []
    policy = copy.deepcopy(policy).eval()
    hidden_ND = policy.last_hidden_states(targets.history, targets.times_N).double()
    table_VD = policy.item_embedding_VD.detach().double()
    for row, hidden_D in enumerate(hidden_ND):
        logit_V = (table_VD @ hidden_D).numpy().copy()
        start, end = targets.history.offsets_N1[row : row + 2].tolist()
        logit_V[targets.history.items_E[start:end].numpy() - 1] = -np.inf
        found.append(logit_V - np.log(np.exp(logit_V).sum()))
    return np.array(found)


def kl(policy, reference, data):
    new_NV, old_NV = log_probs(policy, data), log_probs(reference, data)
    with np.errstate(invalid="ignore"):
        term_NV = np.where(np.isfinite(new_NV), np.exp(new_NV) * (new_NV - old_NV), 0.0)
    return term_NV.sum(axis=1).mean()


def trained(tiny, guard, algorithm=None, **plan):
    plan = replace(PLAN, guard=guard, **plan)
    return posttrain(tiny.policy, tiny.data, algorithm or BC(), tiny.reward, plan)


def same(first, second):
    other = second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


def test_it_measures_the_exact_kl_and_the_gap_over_what_may_be_shown(tiny):
    num_items = tiny.data.corpus.num_items
    value_V = torch.linspace(-1, 2, num_items)
    log = logged_rewards(tiny.data.train, num_items)
    actors = Actors(FrozenPolicy(copy.deepcopy(tiny.policy)), Linear(value_V), log)
    moved = new_policy(tiny.backbone, num_items, seed=5)
    actors.policy.load_state_dict(moved.state_dict())
    judge = Linear(value_V.flip(0))
    measure = measure_of(Guard(kl=1.0, gap=1.0), actors, tiny.data.validation, judge)
    found = measure()
    assert found["kl"] == pytest.approx(kl(moved, tiny.policy, tiny.data), rel=1e-4)
    rise_V = (np.exp(log_probs(moved, tiny.data)) - np.exp(log_probs(tiny.policy, tiny.data))).mean(
        axis=0
    )
    gap = rise_V @ (value_V - value_V.flip(0)).double().numpy()
    assert found["gap"] == pytest.approx(gap, rel=1e-3)
    assert abs(gap) > 0.01


def test_it_stops_and_keeps_the_weights_of_the_last_step_within(tiny, capsys):
    bound = 0.2
    policy, fitted = trained(tiny, Guard(kl=bound, every=2))
    assert 0 < fitted.best_step < fitted.steps < PLAN.steps
    assert kl(policy, tiny.policy, tiny.data) <= bound
    # Warm-up and decay aside, fewer steps are the first ones of a longer run.
    at_best, _ = trained(tiny, Guard(), steps=fitted.best_step)
    too_far, _ = trained(tiny, Guard(), steps=fitted.steps)
    assert same(policy, at_best)
    assert kl(too_far, tiny.policy, tiny.data) > bound
    said = capsys.readouterr().err
    assert f"at step {fitted.steps}: stopped, the weights of step {fitted.best_step} stay" in said
    assert f"> {bound}" in fitted.guard


def test_a_bound_that_the_first_measurement_passes_leaves_the_policy_as_it_was(tiny):
    policy, fitted = trained(tiny, Guard(kl=1e-6, every=1), learning_rate=1.0)
    assert (fitted.steps, fitted.best_step) == (1, 0)
    assert same(policy, tiny.policy)


def test_the_last_step_is_measured_too(tiny):
    _, fitted = trained(tiny, Guard(kl=0.01, every=100), steps=7, patience=9, validation_steps=7)
    assert fitted.guard.startswith("kl ")
    assert "at step 7" in fitted.guard


def test_it_warns_once_and_changes_nothing(tiny, capsys):
    policy, fitted = trained(tiny, Guard(kl=0.05, action="warn", every=2))
    free, _ = trained(tiny, Guard())
    assert same(policy, free)
    assert fitted.steps == fitted.best_step == PLAN.steps
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("guard: kl")]) == 1
    assert "training goes on" in fitted.guard


def test_with_a_patience_the_best_of_the_steps_within_stays(tiny):
    policy, fitted = trained(
        tiny, Guard(kl=0.2, every=1), patience=9, validation_steps=1, learning_rate=0.02
    )
    assert fitted.guard.endswith(f"stopped, the weights of step {fitted.best_step} stay")
    assert kl(policy, tiny.policy, tiny.data) <= 0.2
    assert fitted.best_value is not None


def test_a_guard_that_nothing_passes_leaves_no_trace(tiny):
    policy, fitted = trained(tiny, Guard(kl=1e6))
    free, plain = trained(tiny, Guard())
    assert same(policy, free)
    assert fitted == plain
    assert fitted.guard == ""


def test_the_gap_to_a_judge_that_says_the_opposite_stops(tiny):
    num_items = tiny.data.corpus.num_items
    model = Linear(torch.linspace(0, 1, num_items))
    plan = replace(PLAN, guard=Guard(gap=0.05, every=1))

    def run(judge):
        return posttrain(tiny.policy, tiny.data, Up(), model, plan, judge=judge)[1]

    assert "gap" in run(Linear(-model.value_V)).guard
    assert run(Linear(model.value_V)).guard == ""
    for judge in (None, GivenItemsOnly()):
        with pytest.raises(UserError, match=r"guard.gap=0.05: needs a reward model and a judge"):
            run(judge)


class Up(BC):
    """Raises the expected reward."""

    def loss(self, batch, actors):
        value_N = actors.over_catalogue(
            batch, lambda chunk: (chunk.policy_log_prob_CV.exp() * chunk.reward_CV).sum(dim=1)
        )
        return super().loss(batch, actors)._replace(loss_N=-value_N)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kl": 0}, "kl=0 must be above 0"),
        ({"gap": float("nan")}, "gap=nan must be above 0"),
        ({"kl": 1.0, "action": "explode"}, 'must be "stop" or "warn"'),
        ({"kl": 1.0, "every": 0}, "every=0 must be a whole number"),
    ],
)
def test_what_is_no_guard_is_refused(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        Guard(**settings)


def test_pretraining_has_none(tiny):
    plan = replace(PLAN, guard=Guard(kl=1.0))
    with pytest.raises(UserError, match="for post-training alone"):
        pretrain(tiny.data, tiny.backbone, plan)
