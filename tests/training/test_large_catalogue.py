"""Post-training where a sample stands for the catalogue: which step has which, and what follows."""

from copy import deepcopy
from dataclasses import dataclass, field, replace

import pytest
import torch

from recsys_posttrain.algorithms import BC, ExactPPO, OfflinePPO
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.plan import Training
from recsys_posttrain.studies.record import sums_text
from recsys_posttrain.training.posttrain import posttrain

PLAN = Training(epochs=2, batch_size=16, learning_rate=0.02, warmup_steps=3)
LARGE = replace(PLAN, exact_items=5, sampled_items=12)
MANY = replace(LARGE, sampled_items=20_000)  # of 40 items: each stands for itself, nearly


@dataclass(frozen=True)
class Watched:
    """An algorithm that writes down the batches that it was given."""

    inner: object
    batches: list = field(default_factory=list)

    def loss(self, batch, actors):
        self.batches.append(batch)
        return self.inner.loss(batch, actors)


def trained(tiny, algorithm, plan, seed=4):
    policy, _ = posttrain(tiny.policy, tiny.data, algorithm, tiny.reward, plan, seed=seed)
    return policy


def test_every_step_draws_a_sample_of_its_own(tiny):
    watched = [Watched(BC()), Watched(OfflinePPO(samples=2)), Watched(BC())]
    for each, plan in zip(watched, (LARGE, LARGE, PLAN), strict=True):
        trained(tiny, each, plan)
    first, second, exact = ([batch.catalogue_sample for batch in each.batches] for each in watched)
    assert exact == [None] * 8
    items = [sample.items_M.tolist() for sample in first]
    assert len({tuple(each) for each in items}) == 8
    assert [sample.items_M.tolist() for sample in second] == items  # one for all methods
    for sample, batch in zip(first, watched[0].batches, strict=True):
        logged = len(batch.action_N.unique())
        assert 1 <= len(sample.items_M) - logged <= 12
        assert torch.equal(sample.items_M[sample.action_N - 1], batch.action_N)


def test_the_switch_is_the_size_of_the_catalogue(tiny):
    num_items = tiny.data.corpus.num_items
    for exact_items, is_sampled in ((num_items, False), (num_items - 1, True)):
        watched = Watched(BC())
        trained(tiny, watched, replace(LARGE, exact_items=exact_items))
        assert all((b.catalogue_sample is not None) == is_sampled for b in watched.batches)


@pytest.mark.parametrize("algorithm", [BC(), OfflinePPO(samples=2), ExactPPO()])
def test_the_same_seed_gives_the_same_weights_and_many_draws_those_of_exact_sums(tiny, algorithm):
    """The KL between the policies that two ways of summing give, over that to the start."""
    first, second = (trained(tiny, algorithm, LARGE) for _ in range(2))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    if isinstance(algorithm, OfflinePPO):
        return  # its draws differ, as places are drawn in another order than items
    exact, many = (trained(tiny, algorithm, plan) for plan in (PLAN, MANY))

    def kl(policy, reference):
        rows = evaluate(policy, tiny.data, reference=FrozenPolicy(deepcopy(reference))).per_user
        return float(rows["kl"].mean())

    way = kl(exact, tiny.policy)
    assert kl(many, exact) < 0.01 * way
    assert 0.01 * way < kl(first, exact) < way


def test_what_the_reference_remembers_is_not_used_for_sums_over_a_sample(tiny):
    @dataclass(frozen=True)
    class Asks:
        def loss(self, batch, actors):
            reference, reward = actors.reference, actors.reward
            found_N = reference.log_normaliser(batch), reference.expected_reward(batch, reward)
            actors.clear_cache()
            expected_N = (
                Policy.log_normaliser(reference, batch),
                Policy.expected_reward(reference, batch, reward),
            )
            torch.testing.assert_close(found_N, expected_N, rtol=1e-5, atol=1e-5)
            exact = batch._replace(catalogue_sample=None)
            assert (reference.log_normaliser(exact) - found_N[0]).abs().max() > 0.01
            return BC().loss(batch, actors)

    trained(tiny, Asks(), LARGE)


def test_what_is_validated_is_exact(tiny):
    """A policy that does not move has the same validation, whatever stands for the catalogue."""
    still = replace(LARGE, learning_rate=1e-30, epochs=None, steps=4)
    histories = []
    for plan in (still, replace(still, exact_items=10**6)):
        _, fitted = posttrain(tiny.policy, tiny.data, OfflinePPO(), tiny.reward, plan)
        rows = fitted.history
        histories.append(rows[[name for name in rows if name.startswith("validation/")]].dropna())
    assert len(histories[0]) == 4
    assert histories[0].equals(histories[1])


@pytest.mark.parametrize("name", ["exact_items", "sampled_items"])
def test_settings_that_cannot_be_are_refused(name):
    with pytest.raises(UserError, match=f"{name}=0 must be"):
        Training(steps=1, **{name: 0})


def test_the_caption_says_which_sums_were_estimated():
    run = {"trained": True, "posttraining": {"exact_items": 50_000, "sampled_items": 8_192}}
    old = {"trained": True, "posttraining": {}}
    assert sums_text({"num_items": 9, "runs": [{"trained": True}, old]}) == ""
    untrained = {"trained": False, "posttraining": {"exact_items": 1, "sampled_items": 7}}
    assert sums_text({"num_items": 50_000, "runs": [run, old, untrained]}) == ""
    assert sums_text({"num_items": 50_001, "runs": [old, run, untrained]}) == (
        "sums of training over 50,001 items estimated from 8,192 draws in each step, what is "
        "measured exact"
    )
