"""What every algorithm must do, whatever its formula.

All algorithms that `recsys_posttrain.algorithms` exports are here, found by themselves, and the
variants of everyone.py. test_broken_algorithms.py hands broken ones to these tests, which must
fail.
"""

import dataclasses
import inspect

import pytest
import torch
from everyone import (
    EXPORTED,
    ITEMS,
    LENGTHS,
    everyone,
    global_random_state,
    gradients,
    heads_asked_to_train_the_policy,
    is_random,
    is_same,
    padded_fields,
    rows,
    run,
)
from torch.nn.functional import pad

from recsys_posttrain.algorithms.base import after_step, reads_rewards
from recsys_posttrain.algorithms.dpo import DPO
from recsys_posttrain.algorithms.pairs import LoggedVersusSampled
from recsys_posttrain.config import describe, digest
from recsys_posttrain.ops.softmax import masked_mean

SEEDS = range(20)  # of the extreme worlds
LONGEST_FILE = 80  # lines
ROUNDING = 1e-6  # of the largest gradient; what is there is above 1e-3 of it


def test_the_exported_algorithms_are_found():
    names = {type(algorithm).__name__ for algorithm in EXPORTED}
    assert {"BC", "RWR", "ExpRSFT", "ASFT", "OfflinePPO", "ExactPPO", "DPO"} <= names
    assert {"IPO", "RobustDPO", "SDPO", "KTO", "Pessimistic"} <= names


@everyone
def test_it_is_a_frozen_value_of_a_short_file_that_can_be_described(algorithm):
    assert dataclasses.is_dataclass(algorithm)
    assert type(algorithm).__dataclass_params__.frozen, "write @dataclass(frozen=True)"
    same = dataclasses.replace(algorithm)
    assert same == algorithm
    assert hash(same) == hash(algorithm)
    assert digest(same) == digest(algorithm)
    assert describe(algorithm)["class"] == type(algorithm).__name__
    lines = len(inspect.getsource(inspect.getmodule(type(algorithm))).splitlines())
    assert lines <= LONGEST_FILE, f"its file has {lines} lines, and {LONGEST_FILE} at most"


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
    reads = not is_same(before, run(algorithm, other, actors))
    assert reads == reads_rewards(algorithm), f"reads_rewards is not {reads}, and should be"


@everyone
def test_the_loss_is_per_position_and_finite(algorithm, small):
    batch = small.batch(LENGTHS, ITEMS)
    output = run(algorithm, batch, small.actors(algorithm, ITEMS))
    shape = batch.action_N.shape
    assert output.loss_N.shape == shape, "one number for each real position, not reduced"
    assert output.loss_N.dtype == torch.float32, "as the policy's weights"
    assert output.loss_N.isfinite().all(), f"the loss is {output.loss_N.tolist()}"
    if (counted_N := output.counted_N) is not None:
        assert counted_N.dtype == torch.bool, "counted_N says whether a position counts"
        assert counted_N.shape == shape, "counted_N has one entry for each real position"
        assert counted_N.any(), "no position counts"


@everyone
def test_metrics_are_finite_scalars_without_a_gradient(algorithm, small):
    output = run(algorithm, small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS))
    of_training = output.metrics.keys() & {"kl", "entropy", "reward/proxy"}
    assert not of_training, f"{of_training} are logged by training, as exact values: rename them"
    for name, value in output.metrics.items():
        assert value.shape == (), f"the metric {name} is not one number: {value}"
        assert value.isfinite(), f"the metric {name} is {value}"
        assert not value.requires_grad, f"the metric {name} has a gradient: detach it"


@everyone
def test_padding_has_no_influence(algorithm, small):
    """Whatever stands there, and two columns more of it: loss, metrics and gradients stay bit for
    bit."""
    batch, actors = small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS)
    wide = {name: pad(each, (0, 2)) for name, each in padded_fields(batch)}
    nonsense = (3, torch.nan, -7, 5, torch.nan, 2**62)
    for name, number in zip(batch._fields, nonsense, strict=False):
        wide[name].masked_fill_(~wide["mask_BT"], number)
    other = batch._replace(**wide)
    before, after = run(algorithm, batch, actors), run(algorithm, other, actors)
    assert is_same(before, after), "the loss depends on padding"
    assert before.metrics == after.metrics, "a metric depends on padding"
    was, now = gradients(algorithm, batch, actors), gradients(algorithm, other, actors)
    for name in was:
        same = was[name] is None or torch.equal(was[name], now[name])
        assert same, f"the gradient in {name} depends on padding"


@everyone
def test_gradients_are_finite_and_reach_all_of_the_policy_and_its_heads_alone(algorithm, small):
    """All but the bias of the keys: softmax is the same whatever is added to all of a query's
    logits, so nothing but rounding reaches it."""
    actors = small.actors(algorithm, ITEMS)
    trained = {name for name, each in actors.named_parameters() if each.requires_grad}
    found = gradients(algorithm, small.batch(LENGTHS, ITEMS), actors)
    largest = max(float(each.abs().max()) for each in found.values() if each is not None)
    for name, gradient in found.items():
        if name not in trained or name.split(".")[0] not in ("policy", "heads"):
            assert gradient is None, f"{name} is frozen, and has a gradient"
            continue
        assert gradient is not None, f"no gradient reaches {name}"
        assert gradient.isfinite().all(), f"the gradient in {name} is not finite"
        parts = {"": gradient}
        if "query_key_value" in name:
            parts = dict(zip(("query", "key", "value"), gradient.chunk(3), strict=True))
        for part, each in parts.items():
            is_0 = float(each.abs().max()) <= ROUNDING * largest
            is_key_bias = part == "key" and name.endswith("bias")
            said = "0" if is_0 else "not 0"
            assert is_0 == is_key_bias, f"the gradient in {name} {part} is {said}"


@everyone
def test_a_head_trains_the_policy_only_where_it_was_asked_to(algorithm, small):
    actors = small.actors(algorithm, ITEMS)
    asked, reached = heads_asked_to_train_the_policy(algorithm, small.batch(LENGTHS, ITEMS), actors)
    assert reached <= asked, (
        f"the heads {reached - asked} read states with a gradient: read them by "
        "actors.head(name, batch, trains_policy=False), or say True if they are to bend the policy"
    )


@everyone
def test_a_critic_is_a_constant_to_the_policys_loss(algorithm, small):
    """A critic learns from its own error: its gradient must not be made of log pi, which it is
    where an advantage forgot its detach."""
    batch, actors = small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS)
    asked, _ = heads_asked_to_train_the_policy(algorithm, batch, actors)
    output = run(algorithm, batch, actors)
    loss, policy = masked_mean(output.loss_N, output.counted_N), list(actors.policy.parameters())
    for name, parameter in actors.heads.named_parameters():
        if not parameter.requires_grad or name.split(".")[0] in asked:
            continue
        (slope,) = torch.autograd.grad(loss, parameter, create_graph=True)
        if slope.requires_grad:
            mixed = torch.autograd.grad(slope.sum(), policy, retain_graph=True, allow_unused=True)
            assert all(each is None for each in mixed), f"heads.{name} learns from log pi: detach"


@everyone
def test_the_policy_is_not_the_reference(algorithm, small):
    """Exchanging the two changes the loss: in the tests they differ, so nobody mixed them up."""
    batch, actors = small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS)
    before = run(algorithm, batch, actors).loss_N.detach()
    state = actors.policy.state_dict()
    swapped = {name: value.clone() for name, value in actors.reference.state_dict().items()}
    actors.reference.load_state_dict(state)
    actors.policy.load_state_dict(swapped)
    after = run(algorithm, batch, actors).loss_N.detach()
    assert not torch.equal(before, after), "policy and reference exchanged give the same loss"


@everyone
def test_it_draws_from_the_generator_of_the_step_alone(algorithm, small):
    batch, actors = small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS)
    before = global_random_state()
    first, second = (run(algorithm, batch, actors) for _ in range(2))
    assert global_random_state() == before, "it draws from a global generator: actors.generator"
    assert is_same(first, second), "one seed gave two losses"
    if is_random(algorithm, batch, actors):
        other = run(algorithm, batch, actors, seed=8)
        assert not is_same(first, other), "two seeds gave one loss"


@everyone
def test_a_position_does_not_depend_on_what_is_beside_its_row(algorithm, small):
    """A row alone, before others and, where nothing is drawn, after others: the same losses."""
    batch, actors = small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS).double()
    together_N = run(algorithm, batch, actors).loss_N.detach()
    orders = [[0], [0, 1]]  # of draws for all positions at once these get the same
    if not is_random(algorithm, batch, actors):
        orders += [[1], [2], [2, 0, 1]]
    for order in orders:
        expected_N = torch.cat([together_N[batch.user_N == row] for row in order])
        found_N = run(algorithm, rows(batch, order), actors).loss_N.detach()
        message = f"rows {order} of {list(range(len(LENGTHS)))} lose {found_N} by themselves"
        assert torch.allclose(found_N, expected_N, rtol=1e-5, atol=1e-6), message


@everyone
def test_logits_of_items_that_are_not_eligible_have_no_gradient(algorithm, small):
    """The loss of each position, and the mean of all, with output vectors of the policy's own."""
    batch, actors = small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS)
    table = actors.policy.item_embedding_VD.detach().clone().requires_grad_()
    untied = {"item_embedding_VD": property(lambda _: table)}
    actors.policy.__class__ = type("Untied", (type(actors.policy),), untied)
    output = run(algorithm, batch, actors)
    items_E, ends = batch.excluded.items_E, batch.excluded.offsets_N1.tolist()
    moved = False
    for n, loss in enumerate(output.loss_N):
        (slope,) = torch.autograd.grad(loss, table, retain_graph=True)
        out = items_E[ends[n] : ends[n + 1]] - 1
        assert not slope[out].any(), f"position {n} moves items {(out + 1).tolist()}: not eligible"
        moved |= bool(slope.any())
    assert moved, "no position moves any item"
    everywhere = torch.bincount(items_E, minlength=ITEMS + 1)[1:] == len(output.loss_N)
    assert everywhere.any()
    (slope,) = torch.autograd.grad(masked_mean(output.loss_N, output.counted_N), table)
    assert not slope[everywhere].any(), "the mean moves an item that is eligible nowhere"


@everyone
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_extreme_logits_stay_finite_in_float32(algorithm, small, scale):
    for seed in SEEDS:
        batch = small.batch(LENGTHS, ITEMS, seed)
        actors = small.actors(algorithm, ITEMS, seed, scale)
        finite = bool(run(algorithm, batch, actors).loss_N.isfinite().all())
        assert finite, f"the loss is not finite at logits of {scale} and seed {seed}"
        for name, gradient in gradients(algorithm, batch, actors).items():
            finite = gradient is None or bool(gradient.isfinite().all())
            assert finite, f"the gradient in {name} is not finite at {scale} and seed {seed}"


@everyone
def test_one_item_and_one_event_are_enough(algorithm, small):
    batch, actors = small.batch((1,), 1), small.actors(algorithm, 1)
    output = run(algorithm, batch, actors)
    assert output.loss_N.shape == (1,)
    assert output.loss_N.isfinite().all(), "one item, one event: the loss is not finite"
    for name, gradient in gradients(algorithm, batch, actors).items():
        finite = gradient is None or bool(gradient.isfinite().all())
        assert finite, f"one item, one event: the gradient in {name} is not finite"


@everyone
def test_a_step_leaves_the_frozen_models_alone(algorithm, small):
    """after_step may renew pi_old; reference and reward never change."""
    batch, actors = small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS)
    frozen = {
        name: (each, each.clone())
        for name, each in actors.named_parameters()
        if name.startswith(("reference.", "reward."))
    }
    optimizer = torch.optim.AdamW([p for p in actors.parameters() if p.requires_grad])
    for step in range(1, 10):
        gradients(algorithm, batch, actors)
        optimizer.step()
        actors.step = step
        after_step(algorithm, actors)
    for name, (now, before) in frozen.items():
        assert torch.equal(now, before), f"{name} moved"
    assert run(algorithm, batch, actors).loss_N.isfinite().all(), "not finite after 9 steps"


def test_a_batch_without_any_kept_pair_has_no_influence(small):
    """Width 1e6: no interval separates; the mean over nothing is 0, with a gradient of 0."""
    algorithm = DPO(pairs=LoggedVersusSampled(width=1e6))
    batch, actors = small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS)
    output = run(algorithm, batch, actors)
    assert not output.counted_N.any()
    assert masked_mean(output.loss_N, output.counted_N).item() == 0
    found = gradients(algorithm, batch, actors)
    assert not any(gradient.any() for gradient in found.values() if gradient is not None)
