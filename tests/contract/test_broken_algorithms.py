"""Algorithms with one mistake each: the contract must not let them pass."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import test_algorithm_contract as contract
import torch
from torch import nn

from recsys_posttrain.algorithms.signals import learned_value
from recsys_posttrain.algorithms.weights import value_error, value_head
from recsys_posttrain.types import LossOutput


def nll(batch, actors):
    return -actors.policy.log_prob(batch)


@dataclass(frozen=True)
class WithCritic:
    def heads(self, dim, num_items):
        return value_head(learned_value, dim)


class AdvantageWithoutDetach(WithCritic):
    def loss(self, batch, actors):
        value_N = learned_value(batch, actors)
        advantage_N = batch.reward_N - value_N
        error_N = value_error(value_N, batch.reward_N)
        return LossOutput(advantage_N * nll(batch, actors) + error_N, {})


class CriticThatBendsThePolicy(WithCritic):
    def loss(self, batch, actors):
        value_N = actors.heads["value"](actors.policy.hidden_states(batch)).squeeze(1)
        return LossOutput(nll(batch, actors) + value_error(value_N, batch.reward_N), {})


@dataclass(frozen=True)
class DrawsGlobally:
    draw: Callable = torch.rand

    def loss(self, batch, actors):
        return LossOutput(nll(batch, actors) * float(self.draw(1)[0]), {})


class DividesByTheBatch:
    def loss(self, batch, actors):
        return LossOutput(nll(batch, actors) / len(batch.action_N), {})


class NormalisesOverTheBatch:
    def loss(self, batch, actors):
        weight_N = batch.reward_N / batch.reward_N.mean()
        return LossOutput(weight_N * nll(batch, actors), {})


class DividesByThePaddedLength:
    def loss(self, batch, actors):
        return LossOutput(nll(batch, actors) / batch.mask_BT.shape[1], {})


class PlainK3:
    """exp(log pi_ref - log pi) of samples of pi_old, as GRPO's paper writes the KL."""

    def loss(self, batch, actors):
        with torch.no_grad():
            items_NK, _ = actors.old.sample(batch, 4, actors.generator)
            reference_NK = actors.reference.log_prob(batch, items_NK)
        log_ratio_NK = reference_NK - actors.policy.log_prob(batch, items_NK)
        return LossOutput((log_ratio_NK.exp() - log_ratio_NK - 1).mean(dim=1), {})


class AsksForAnyItem:
    """Draws from the whole catalogue, seen items among them."""

    def loss(self, batch, actors):
        shape = (len(batch.action_N), 4)
        items_NK = torch.randint(1, contract.ITEMS + 1, shape, generator=actors.generator)
        return LossOutput(-actors.policy.log_prob(batch, items_NK).mean(dim=1), {})


class FirstPositionsAlone:
    """Attention to a single event has no choice: its queries and keys learn nothing."""

    def loss(self, batch, actors):
        return LossOutput(nll(batch, actors), {}, batch.position_N == 0)


class MeanLoss:
    def loss(self, batch, actors):
        return LossOutput(nll(batch, actors).mean(), {})


@dataclass(frozen=True)
class HeadThatIsFrozen:
    """Not broken: random features of the states, which the policy learns through where it says."""

    trains_policy: bool = False

    def heads(self, dim, num_items):
        with torch.random.fork_rng(devices=[]):
            return {"features": nn.Linear(dim, num_items).requires_grad_(False)}

    def loss(self, batch, actors):
        feature_NV = actors.head("features", batch, trains_policy=self.trains_policy)
        return LossOutput(nll(batch, actors) + feature_NV.square().mean(dim=1), {})


@pytest.mark.parametrize(
    ("check", "algorithm", "said"),
    [
        ("a_critic_is_a_constant_to_the_policys_loss", AdvantageWithoutDetach(), "from log pi"),
        ("a_head_trains_the_policy_only_where", CriticThatBendsThePolicy(), "heads {'value'} read"),
        ("it_draws_from_the_generator", DrawsGlobally(), "global generator"),
        ("it_draws_from_the_generator", DrawsGlobally(np.random.rand), "global generator"),
        ("logits_of_items_that_are_not_eligible", AsksForAnyItem(), "not eligible"),
        ("a_position_does_not_depend", DividesByTheBatch(), r"rows \[0\] of \[0, 1, 2\]"),
        ("a_position_does_not_depend", NormalisesOverTheBatch(), r"rows \[0\] of \[0, 1, 2\]"),
        ("padding_has_no_influence", DividesByThePaddedLength(), "depends on padding"),
        ("gradients_are_finite_and_reach", FirstPositionsAlone(), "weight query is 0"),
        ("the_loss_is_per_position", MeanLoss(), "one number for each real position"),
    ],
    ids=lambda each: type(each).__name__ if hasattr(each, "loss") else "",
)
def test_a_broken_algorithm_fails(check, algorithm, said, small):
    (test,) = (each for name, each in vars(contract).items() if name.startswith(f"test_{check}"))
    with pytest.raises(AssertionError, match=said):
        test(algorithm, small)


def test_a_divergence_that_overflows_at_some_seeds_fails(small):
    with pytest.raises(AssertionError, match=r"not finite at .* seed"):
        contract.test_extreme_logits_stay_finite_in_float32(PlainK3(), small, 1e3)


@pytest.mark.parametrize("trains_policy", [False, True])
def test_a_frozen_head_may_or_may_not_train_the_policy(trains_policy, small):
    algorithm = HeadThatIsFrozen(trains_policy)
    contract.test_gradients_are_finite_and_reach_all_of_the_policy_and_its_heads_alone(
        algorithm, small
    )
    contract.test_a_head_trains_the_policy_only_where_it_was_asked_to(algorithm, small)
    contract.test_a_critic_is_a_constant_to_the_policys_loss(algorithm, small)
