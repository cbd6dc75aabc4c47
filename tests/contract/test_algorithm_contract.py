"""What every algorithm must do, whatever its formula.

All algorithms that `recsys_posttrain.algorithms` exports are here, found by themselves; the list
below adds settings that take another path through the code.
"""

import dataclasses

import pytest
import torch

from recsys_posttrain import algorithms
from recsys_posttrain.algorithms import signals
from recsys_posttrain.algorithms.base import after_step, reads_rewards
from recsys_posttrain.algorithms.dpo import DPO, LoggedVersusSampled
from recsys_posttrain.config import describe, digest
from recsys_posttrain.ops.softmax import masked_mean

ITEMS, LENGTHS = 9, (6, 4, 1)
EXPORTED = [
    kind() for kind in vars(algorithms).values() if isinstance(kind, type) and hasattr(kind, "loss")
]
VARIANTS = [
    *(
        algorithms.ASFT(reward=reward, baseline=baseline)
        for reward, baseline in (
            (signals.observed_reward, signals.user_mean),
            (signals.model_reward, signals.item_mean),
            (signals.Mix(0.5), signals.reference_value),
            (signals.model_reward, signals.ReferenceSoftValue(0.5)),
            (signals.observed_reward, signals.no_baseline),
        )
    ),
    algorithms.OfflinePPO(baseline=signals.learned_value),
    algorithms.DPO(pairs=LoggedVersusSampled(), nll_coefficient=0.1),
]


def name_of(algorithm):
    settings = [
        getattr(value, "__name__", type(value).__name__)
        for value in vars(algorithm).values()
        if callable(value)
    ]
    return "-".join([type(algorithm).__name__, *settings])


everyone = pytest.mark.parametrize("algorithm", EXPORTED + VARIANTS, ids=name_of)


def run(algorithm, batch, actors, seed=7):
    actors.forget()
    actors.generator.manual_seed(seed)
    return algorithm.loss(batch, actors)


def counted(output, batch):
    return batch.mask_BT if output.mask_BT is None else output.mask_BT


def gradients(algorithm, batch, actors):
    """Of the reduced loss, for every trained parameter; None where there is none."""
    actors.zero_grad()
    output = run(algorithm, batch, actors)
    masked_mean(output.loss_BT, counted(output, batch)).backward()
    return {
        name: None if parameter.grad is None else parameter.grad.clone()
        for name, parameter in actors.named_parameters()
    }


def is_random(algorithm, batch, actors):
    """An algorithm that draws moves the generator."""
    run(algorithm, batch, actors)
    moved = actors.generator.get_state()
    actors.generator.manual_seed(7)
    return not torch.equal(moved, actors.generator.get_state())


def rows(batch, index):
    """Some rows of a batch, as a batch of its own, without columns that are all padding."""
    mask_BT = batch.mask_BT[index]
    longest = int(mask_BT.sum(dim=1).max())
    return batch._replace(
        **{
            name: value[index][:, :longest]
            for name, value in batch._asdict().items()
            if name.endswith("_BT")
        },
        sequences_B=batch.sequences_B[index],
    )


def test_the_exported_algorithms_are_found():
    names = {type(algorithm).__name__ for algorithm in EXPORTED}
    assert {"BC", "RWR", "ExpRSFT", "ASFT", "OfflinePPO", "ExactPPO", "DPO"} <= names


@everyone
def test_it_is_a_frozen_value_that_can_be_described(algorithm):
    assert dataclasses.is_dataclass(algorithm)
    assert type(algorithm).__dataclass_params__.frozen
    same = dataclasses.replace(algorithm)
    assert same == algorithm
    assert hash(same) == hash(algorithm)
    assert digest(same) == digest(algorithm)
    assert describe(algorithm)["class"] == type(algorithm).__name__


@everyone
def test_one_that_reads_no_rewards_says_so_and_means_it(algorithm, small):
    """Other rewards, logged, in the history and predicted: the same loss, or it reads them."""
    batch, actors = small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS)
    before = run(algorithm, batch, actors)
    other = batch._replace(
        rewards_BT=(7 - 2 * batch.rewards_BT) * batch.mask_BT,
        history_rewards_BT=(7 - 2 * batch.history_rewards_BT) * batch.mask_BT,
    )
    with torch.no_grad():
        actors.reward.factor.mul_(-3)
    after = run(algorithm, other, actors)
    is_same = torch.equal(before.loss_BT, after.loss_BT)
    is_same &= torch.equal(counted(before, batch), counted(after, other))
    assert is_same != reads_rewards(algorithm)


@everyone
def test_the_loss_is_per_position_and_finite(algorithm, small):
    batch = small.batch(LENGTHS, ITEMS)
    output = run(algorithm, batch, small.actors(algorithm, ITEMS))
    assert output.loss_BT.shape == batch.mask_BT.shape
    assert output.loss_BT.dtype == torch.float32
    assert output.loss_BT.isfinite().all()
    mask_BT = counted(output, batch)
    assert mask_BT.dtype == torch.bool
    assert mask_BT.shape == batch.mask_BT.shape
    assert not (mask_BT & ~batch.mask_BT).any()
    assert mask_BT.any()


@everyone
def test_metrics_are_finite_scalars_without_a_gradient(algorithm, small):
    output = run(algorithm, small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS))
    for name, value in output.metrics.items():
        assert value.shape == (), name
        assert value.isfinite(), name
        assert not value.requires_grad, name


@everyone
def test_padding_has_no_influence(algorithm, small):
    """Whatever stands in the padded entries: loss, metrics and gradients stay bit for bit."""
    batch = small.batch(LENGTHS, ITEMS)
    actors = small.actors(algorithm, ITEMS)
    padding_BT = ~batch.mask_BT
    other = batch._replace(
        history_BT=batch.history_BT.masked_fill(padding_BT, 3),
        actions_BT=batch.actions_BT.masked_fill(padding_BT, 5),
        rewards_BT=batch.rewards_BT.masked_fill(padding_BT, torch.nan),
        history_rewards_BT=batch.history_rewards_BT.masked_fill(padding_BT, torch.nan),
        history_times_BT=batch.history_times_BT.masked_fill(padding_BT, -7),
        action_times_BT=batch.action_times_BT.masked_fill(padding_BT, 2**62),
    )
    before, after = run(algorithm, batch, actors), run(algorithm, other, actors)
    assert torch.equal(before.loss_BT[batch.mask_BT], after.loss_BT[batch.mask_BT])
    assert torch.equal(counted(before, batch), counted(after, other))
    assert before.metrics == after.metrics
    was, now = gradients(algorithm, batch, actors), gradients(algorithm, other, actors)
    assert all(was[name] is None or torch.equal(was[name], now[name]) for name in was)


@everyone
def test_gradients_are_finite_and_reach_the_policy_and_heads_alone(algorithm, small):
    actors = small.actors(algorithm, ITEMS)
    for name, gradient in gradients(algorithm, small.batch(LENGTHS, ITEMS), actors).items():
        if name.split(".")[0] in ("policy", "heads"):
            assert gradient is not None, name
            assert gradient.isfinite().all(), name
            assert gradient.any() or "key" in name, name
        else:
            assert gradient is None, name


@everyone
def test_the_policy_is_not_the_reference(algorithm, small):
    """Exchanging the two changes the loss: in the tests they differ, so nobody mixed them up."""
    batch = small.batch(LENGTHS, ITEMS)
    actors = small.actors(algorithm, ITEMS)
    before = run(algorithm, batch, actors).loss_BT.detach()
    state = actors.policy.state_dict()
    swapped = {name: value.clone() for name, value in actors.reference.state_dict().items()}
    actors.reference.load_state_dict(state)
    actors.policy.load_state_dict(swapped)
    after = run(algorithm, batch, actors).loss_BT.detach()
    assert not torch.equal(before, after)


@everyone
def test_the_same_seed_gives_the_same_loss(algorithm, small):
    batch = small.batch(LENGTHS, ITEMS)
    actors = small.actors(algorithm, ITEMS)
    before = torch.get_rng_state()
    first, second = (run(algorithm, batch, actors).loss_BT for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    if is_random(algorithm, batch, actors):
        assert not torch.equal(first, run(algorithm, batch, actors, seed=8).loss_BT)


@everyone
def test_a_row_does_not_depend_on_its_neighbours(algorithm, small):
    """Alone, in a batch, in another order: the same loss (where nothing is drawn)."""
    batch = small.batch(LENGTHS, ITEMS)
    actors = small.actors(algorithm, ITEMS)
    if is_random(algorithm, batch, actors):
        pytest.skip("draws are made for the whole batch at once")
    together = run(algorithm, batch, actors).loss_BT
    for row, length in enumerate(LENGTHS):
        alone = run(algorithm, rows(batch, [row]), actors).loss_BT
        torch.testing.assert_close(alone[0, :length], together[row, :length])
    order = [2, 0, 1]
    permuted = run(algorithm, rows(batch, order), actors).loss_BT
    mask_BT = batch.mask_BT[order]
    torch.testing.assert_close(permuted[mask_BT], together[order][mask_BT])


@everyone
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_extreme_logits_stay_finite_in_float32(algorithm, small, scale):
    batch = small.batch(LENGTHS, ITEMS)
    actors = small.actors(algorithm, ITEMS, scale=scale)
    assert run(algorithm, batch, actors).loss_BT.isfinite().all()
    for name, gradient in gradients(algorithm, batch, actors).items():
        assert gradient is None or gradient.isfinite().all(), name


@everyone
def test_one_item_and_one_event_are_enough(algorithm, small):
    batch = small.batch((1,), 1)
    actors = small.actors(algorithm, 1)
    output = run(algorithm, batch, actors)
    assert output.loss_BT.shape == (1, 1)
    assert output.loss_BT.isfinite().all()
    found = gradients(algorithm, batch, actors).values()
    assert all(gradient is None or gradient.isfinite().all() for gradient in found)


@everyone
def test_a_step_leaves_the_frozen_models_alone(algorithm, small):
    """after_step may renew pi_old; reference and reward never change."""
    batch = small.batch(LENGTHS, ITEMS)
    actors = small.actors(algorithm, ITEMS)
    still = [*actors.reference.parameters(), *actors.reward.parameters()]
    before = [parameter.clone() for parameter in still]
    optimizer = torch.optim.AdamW([p for p in actors.parameters() if p.requires_grad])
    for step in range(1, 10):
        optimizer.zero_grad()
        output = run(algorithm, batch, actors)
        masked_mean(output.loss_BT, counted(output, batch)).backward()
        optimizer.step()
        actors.step = step
        after_step(algorithm, actors)
    assert all(torch.equal(was, now) for was, now in zip(before, still, strict=True))
    assert run(algorithm, batch, actors).loss_BT.isfinite().all()


def test_a_batch_without_any_kept_pair_has_no_influence(small):
    """Width 1e6: no interval separates; the mean over nothing is 0, with a gradient of 0."""
    algorithm = DPO(pairs=LoggedVersusSampled(width=1e6))
    batch = small.batch(LENGTHS, ITEMS)
    actors = small.actors(algorithm, ITEMS)
    output = run(algorithm, batch, actors)
    assert not output.mask_BT.any()
    assert masked_mean(output.loss_BT, output.mask_BT).item() == 0
    found = gradients(algorithm, batch, actors)
    assert not any(gradient.any() for gradient in found.values() if gradient is not None)
