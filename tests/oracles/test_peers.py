"""Our losses against those of public packages, on the same random float64 numbers.

peers.json is what ask_peers.py had from the versions that it names; they are not installed here.
"""

import json
from pathlib import Path

import pytest
import torch
from data_factory import doubles
from oracles.inputs import inputs

from recsys_posttrain.algorithms.awac import row_softmax
from recsys_posttrain.algorithms.clipped import clipped_loss
from recsys_posttrain.algorithms.cql import q_value
from recsys_posttrain.algorithms.dpo import dpo_loss
from recsys_posttrain.algorithms.ipo import ipo_loss
from recsys_posttrain.algorithms.kto import kto_loss
from recsys_posttrain.algorithms.robust_dpo import robust_loss
from recsys_posttrain.algorithms.surrogates import forward_kl, ppo_surrogate
from recsys_posttrain.algorithms.weights import expectile_error, exponential_weight, value_error
from recsys_posttrain.evaluation.off_policy import estimates

PEERS = json.loads((Path(__file__).parent / "peers.json").read_text())


@pytest.fixture
def given():
    return {name: torch.from_numpy(values) for name, values in inputs().items()}


def assert_same(name, free, loss):
    """Loss and gradient in `free`, row by row, to 1e-9."""
    expected = {key: torch.tensor(value, dtype=torch.float64) for key, value in PEERS[name].items()}
    (gradient,) = torch.autograd.grad(loss.sum(), free)
    torch.testing.assert_close(loss.detach(), expected["loss"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, expected["gradient"], rtol=1e-9, atol=1e-9)


def assert_same_weight(name, weight):
    expected = torch.tensor(PEERS[name], dtype=torch.float64)
    torch.testing.assert_close(weight, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "loss_of"),
    [
        ("trl/sigmoid", lambda margin: dpo_loss(margin, 0.7)),
        ("trl/ipo", lambda margin: ipo_loss(margin, 0.7)),
        ("trl/robust", lambda margin: robust_loss(margin, 0.7, 0.1, unbiased=True)),
        # Of one pair, which needs no sorting, this is cDPO.
        ("trl/aot_unpaired", lambda margin: robust_loss(margin, 0.7, 0.1, unbiased=False)),
    ],
)
def test_losses_of_pairs(given, name, loss_of):
    chosen = given["policy_chosen"].requires_grad_()
    ratio = chosen - given["reference_chosen"]
    assert_same(
        name, chosen, loss_of(ratio - given["policy_rejected"] + given["reference_rejected"])
    )


def test_kto(given):
    chosen = given["policy_chosen"].requires_grad_()
    good, bad = doubles(1.3), doubles(0.6)
    weight = torch.where(given["is_good"], good, bad)
    point = given["kl"].clamp(min=0)
    ratio = chosen - given["reference_chosen"]
    assert_same("trl/kto", chosen, weight * kto_loss(ratio, point, given["is_good"], 0.7))


def test_grpo(given):
    chosen = given["policy_chosen"].requires_grad_()
    loss = ppo_surrogate(chosen, given["old_chosen"], given["advantage"], 0.2)
    assert_same("trl/grpo without kl", chosen, loss)
    penalty = 0.4 * forward_kl(chosen, given["reference_chosen"])
    loss = ppo_surrogate(chosen, given["old_chosen"], given["advantage"], 0.2)
    assert_same("trl/grpo", chosen, loss + penalty)


def test_the_clipped_surrogate_of_ppo(given):
    """The same function of a ratio: at samples of pi_old, (rho, 1)."""
    chosen = given["policy_chosen"].requires_grad_()
    ratio = (chosen - given["old_chosen"]).exp()
    loss = clipped_loss(ratio, torch.ones_like(ratio), given["advantage"], 0.2)
    assert_same("trl/grpo without kl", chosen, loss)


def test_the_conservative_term_is_a_negative_log_likelihood(given):
    q_RV = given["q_RV"].requires_grad_()
    nll = torch.nn.functional.cross_entropy(q_RV, given["action"], reduction="none")
    assert_same("d3rlpy/conservative", q_RV, nll)


def test_cql_without_a_next_state(given):
    """Temperature 1, and a bias of .3, which the conservative term does not see."""
    q_RV = given["q_RV"].requires_grad_()
    nll = torch.nn.functional.cross_entropy(q_RV, given["action"], reduction="none")
    logit = q_RV.gather(1, given["action"][:, None]).squeeze(1) - 0.3
    error = value_error(q_value(logit, doubles(0.3), 1.0), given["reward"])
    assert_same("torchrl/cql", q_RV, 0.8 * nll + error)


def test_the_expectile_of_iql(given):
    value = given["value"].requires_grad_()
    assert_same("torchrl/expectile", value, expectile_error(value, given["q"], 0.7))


def test_weights_of_iql_and_crr(given):
    weight, _ = exponential_weight(given["q"] - given["value"], 0.5, 20.0)
    assert_same_weight("d3rlpy/iql weight", weight)
    weight, _ = exponential_weight(given["advantage"], 0.5, 20.0)
    assert_same_weight("d3rlpy/crr weight", weight)
    assert_same_weight("d3rlpy/crr filter", (given["advantage"] > 0).double())


def test_weights_of_awac(given):
    """All rows as the positions of one user."""
    position = torch.arange(len(given["advantage"]))
    assert_same_weight("d3rlpy/awac weight", row_softmax(given["advantage"] / 0.5, position))


@pytest.mark.parametrize("name", ["dm", "ips", "snips", "dr", "sndr", "switch-dr"])
def test_off_policy_estimates(given, name):
    """The last has the cap that is ours by default, sqrt(rows)."""
    action_R1 = given["action"][:, None]
    model_R = given["q_RV"].gather(1, action_R1)[:, 0]
    expected_R = (given["policy_RV"] * given["q_RV"]).sum(dim=1)
    weight_R = (given["policy_chosen"] - given["reference_chosen"]).exp()
    found = estimates(weight_R, given["reward"], model_R, expected_R)[f"reward/{name}"]
    assert found.mean() == pytest.approx(PEERS[f"obp/{name}"], rel=1e-9)


def test_inputs_reach_both_branches(given):
    """Otherwise the agreement would say nothing of a clip, a cap or a clamp."""
    ratio = (given["policy_chosen"] - given["old_chosen"]).exp()
    assert ((ratio > 1.2) & (given["advantage"] > 0)).any()
    assert ((ratio < 0.8) & (given["advantage"] < 0)).any()
    assert ((given["q"] - given["value"]) / 0.5 > torch.tensor(20.0).log()).any()
    assert (given["policy_chosen"] - given["reference_chosen"]).exp().max() > len(ratio) ** 0.5
    assert (given["kl"] < 0).any()
    assert (given["kl"] > 0).any()
    assert 0 < given["is_good"].sum() < len(given["is_good"])
