"""What every backbone must do. A new one is one more line in CONFIGS."""

import dataclasses

import pytest
import torch

from recsys_posttrain.config import digest
from recsys_posttrain.errors import UserError
from recsys_posttrain.models.backbone import last_hidden_states
from recsys_posttrain.models.hstu import HSTU
from recsys_posttrain.models.policy import packed_hidden_states
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.types import Batch, History

CONFIGS = [
    SASRec(dim=8, blocks=2, heads=2, feed_forward=16, max_length=20),
    SASRec(dim=8, blocks=1, feed_forward=16, max_length=20, history_rewards=True),
    HSTU(dim=8, blocks=2, heads=2, max_length=20),
    HSTU(dim=8, blocks=1, max_length=20, history_rewards=True),
    HSTU(dim=8, blocks=2, max_length=20, target_time=True),
]
ITEMS = 7
everyone = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: repr(config)[:70])


def build(config):
    """Double precision, dropout off, and weights large enough for the state to matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = config.build(ITEMS).double().eval()
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
            backbone.item_embedding.weight[0] = 0
    return backbone


def inputs(batch_size, time, seed=1):
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, ITEMS + 1, (batch_size, time), generator=generator)
    rewards = torch.randint(1, 6, items.shape, generator=generator).double()
    gaps = 2 ** torch.randint(0, 25, (batch_size, time + 1), generator=generator)
    times = 10**9 + gaps.cumsum(dim=1)
    return History(items, rewards, times[:, :-1], times[:, 1:])


@everyone
def test_members(config):
    backbone = build(config)
    assert backbone.dim == config.dim
    assert backbone.max_length == config.max_length
    assert backbone.item_embedding.weight.shape == (ITEMS + 1, config.dim)
    history = inputs(2, config.max_length)
    assert backbone(history).shape == (2, config.max_length, config.dim)


@everyone
def test_it_is_a_frozen_value(config):
    assert hash(dataclasses.replace(config)) == hash(config)
    assert digest(dataclasses.replace(config)) == digest(config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.max_length = 3


@everyone
def test_a_state_sees_events_up_to_its_own_and_no_later_one(config):
    """The gradient of state t in the input embedding: exactly 0 after t, not 0 at and before t."""
    backbone = build(config)
    history = inputs(1, 6)
    embedded = backbone.item_embedding(history.items_BT).detach().requires_grad_()
    backbone.item_embedding.forward = lambda _: embedded
    for t in range(6):
        (gradient,) = torch.autograd.grad(backbone(history)[0, t].square().sum(), embedded)
        seen = gradient[0].abs().sum(dim=-1)
        assert (seen[: t + 1] > 0).all()
        assert (seen[t + 1 :] == 0).all()


@everyone
def test_rewards_of_past_events_are_read_only_where_configured(config):
    backbone = build(config)
    history = inputs(1, 6)
    rewards_BT = history.rewards_BT.requires_grad_()
    hidden_BTD = backbone(history)
    if not config.history_rewards:
        assert torch.autograd.grad(hidden_BTD.sum(), rewards_BT, allow_unused=True) == (None,)
        return
    (gradient,) = torch.autograd.grad(hidden_BTD[0, 3].square().sum(), rewards_BT)
    assert (gradient[0, :4] != 0).all()
    assert (gradient[0, 4:] == 0).all()


@everyone
def test_a_state_reads_no_time_after_its_own_unless_told_the_target_time(config):
    """Whatever later times, and times of next actions, become: earlier states stay bit for bit."""
    backbone = build(config)
    history = inputs(1, 6)
    before = backbone(history)[0]
    for t in range(6):
        times_BT, next_times_BT = history.times_BT.clone(), history.next_times_BT.clone()
        times_BT[0, t] += 3_000_000
        moved = backbone(history._replace(times_BT=times_BT))[0]
        assert torch.equal(moved[:t], before[:t])
        next_times_BT[0, t] += 3_000_000
        moved = backbone(history._replace(next_times_BT=next_times_BT))[0]
        assert torch.equal(moved[:t], before[:t])
        assert torch.equal(moved[t], before[t]) != getattr(config, "target_time", False)


@everyone
def test_right_padding_changes_nothing(config):
    """Neither how much there is of it, nor what stands in it."""
    backbone = build(config)
    history = inputs(2, 5)
    short = backbone(history)
    for filler in (0, 3):
        longer = backbone(
            History(*(torch.nn.functional.pad(field, (0, 4), value=filler) for field in history))
        )
        torch.testing.assert_close(longer[:, :5], short)


@everyone
def test_rows_do_not_mix(config):
    backbone = build(config)
    history = inputs(3, 5)
    together = backbone(history)
    for row in range(3):
        alone = backbone(History(*(field[row : row + 1] for field in history)))
        torch.testing.assert_close(alone[0], together[row])


@everyone
def test_packed_states_equal_the_padded_computation(config):
    """Values and gradients, with more rows than one block holds and lengths from 1 to 9."""
    backbone = build(config)
    history = inputs(37, 9)
    lengths_B = torch.randint(1, 10, (37,), generator=torch.Generator().manual_seed(2))
    mask_BT = torch.arange(9) < lengths_B[:, None]
    history = History(*(field * mask_BT for field in history))
    action = (history.items_BT, history.rewards_BT, history.next_times_BT)
    batch = Batch(*history[:3], *action, mask_BT, torch.arange(37))

    def with_gradients(hidden_ND):
        backbone.zero_grad()
        hidden_ND.sin().sum().backward()
        return hidden_ND.detach(), {
            name: parameter.grad.clone()
            for name, parameter in backbone.named_parameters()
            if parameter.grad is not None
        }

    padded, expected = with_gradients(backbone(history)[mask_BT])
    packed, found = with_gradients(packed_hidden_states(backbone, batch))
    torch.testing.assert_close(packed, padded)
    torch.testing.assert_close(found, expected)


@everyone
def test_a_seed_decides_the_initial_weights_and_padding_is_zero(config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first = config.build(ITEMS)
        torch.manual_seed(3)
        second = config.build(ITEMS)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    assert not first.item_embedding.weight[0].any()


@everyone
def test_last_states_are_those_of_the_whole_sequence(config):
    """With or without a shortcut of its own: rows of lengths 1 to 6, whatever is in the padding."""
    backbone = build(config)
    history = inputs(6, 6)
    length_B = torch.arange(1, 7)
    whole_BTD = backbone(history)
    expected_BD = torch.stack(
        [row[length - 1] for row, length in zip(whole_BTD, length_B, strict=True)]
    )
    torch.testing.assert_close(last_hidden_states(backbone, history, length_B), expected_BD)

    class Plain(torch.nn.Module):
        def forward(self, history):
            return backbone(history)

    found_BD = last_hidden_states(Plain(), history, length_B)
    torch.testing.assert_close(found_BD, expected_BD)


@everyone
def test_impossible_sizes_are_refused_in_one_sentence(config):
    name = type(config).__name__
    for change in ({"heads": 0}, {"dim": 0}, {"blocks": 0}, {"max_length": 0}):
        said = f"{name}: {next(iter(change))}=0 must be a whole number from 1 to "
        with pytest.raises(UserError, match=said):
            dataclasses.replace(config, **change)
    with pytest.raises(UserError, match=f"{name}: dim=8 cannot be split over heads=3"):
        dataclasses.replace(config, heads=3)
    for rate in (-0.1, 1.0):
        with pytest.raises(UserError, match=f"{name}: dropout={rate} must be at least 0 and below"):
            dataclasses.replace(config, dropout=rate)
