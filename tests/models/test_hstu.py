"""HSTU against its formula in NumPy, one pair of positions at a time, and what its options read."""

import numpy as np
import pytest
import torch

from recsys_posttrain.models.hstu import HSTU, time_buckets
from recsys_posttrain.types import History

ITEMS = 6
CONFIGS = [
    HSTU(dim=6, blocks=2, heads=1, max_length=9),
    HSTU(dim=6, blocks=1, heads=3, max_length=9, history_rewards=True),
    HSTU(dim=6, blocks=2, heads=2, max_length=9, target_time=True),
]


def build(config, items=ITEMS):
    """Double precision, dropout off, and weights large enough for every term to matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = config.build(items).double().eval()
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter += 0.4 * torch.randn_like(parameter)
            backbone.item_embedding.weight[0] = 0
    return backbone


def made_history(batch_size=3, time=7, seed=1, items=ITEMS):
    """Gaps from none to years; the time of the next action is not that of the next event."""
    generator = torch.Generator().manual_seed(seed)

    def gaps():
        return torch.randint(0, 2**20, (batch_size, time), generator=generator) ** 2 // 2**15

    times_BT = 10**9 + gaps().cumsum(dim=1)
    return History(
        torch.randint(1, items + 1, (batch_size, time), generator=generator),
        torch.randint(1, 6, (batch_size, time), generator=generator).double(),
        times_BT,
        times_BT + gaps(),
    )


def silu(x):
    return x / (1 + np.exp(-x))


def normed(x_D, epsilon):
    return (x_D - x_D.mean()) / np.sqrt(((x_D - x_D.mean()) ** 2).mean() + epsilon)


def slow_block(x_TD, weights, heads, now_T, time_T):
    dim = x_TD.shape[1]
    width = dim // heads
    projected_TD = [silu(weights["projection.weight"] @ normed(x_D, 1e-6)) for x_D in x_TD]
    rows = []
    for t in range(len(x_TD)):
        gate_D, query_D = projected_TD[t][:dim], projected_TD[t][dim : 2 * dim]
        sum_D = np.zeros(dim)
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            for s in range(t + 1):
                key_D, value_D = projected_TD[s][2 * dim : 3 * dim], projected_TD[s][3 * dim :]
                seconds = max(int(now_T[t]) - int(time_T[s]), 1)
                bucket = min(int(np.floor(np.log(seconds) / 0.301)), 127)
                bias = weights["position_bias"][t - s] + weights["time_bias"][bucket]
                sum_D[part] += silu(query_D[part] @ key_D[part] + bias) * value_D[part]
        gated_D = normed(sum_D / (t + 1), 1e-6) * gate_D
        rows.append(x_TD[t] + weights["output.weight"] @ gated_D + weights["output.bias"])
    return np.stack(rows)


def slow_states(backbone, config, history, row):
    """[T, D] of one row."""
    state = {name: value.detach().numpy() for name, value in backbone.state_dict().items()}
    items_T, rewards_T, times_T, next_times_T = (field[row].numpy() for field in history)
    x_TD = state["item_embedding.weight"][items_T]
    x_TD = x_TD + state["position_embedding.weight"][: len(items_T)]
    if config.history_rewards:
        first, _, second = backbone.reward_embedding
        inner = torch.nn.functional.gelu(first(torch.tensor(rewards_T)[:, None]))
        x_TD = x_TD + second(inner).detach().numpy()
    now_T = next_times_T if config.target_time else times_T
    for n in range(config.blocks):
        start = f"blocks.{n}."
        weights = {name.removeprefix(start): state[name] for name in state if start in name}
        x_TD = slow_block(x_TD, weights, config.heads, now_T, times_T)
    scale, shift = state["output_norm.weight"], state["output_norm.bias"]
    return np.stack([normed(x_D, 1e-5) * scale + shift for x_D in x_TD])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: repr(config)[:60])
def test_states_are_the_formula(config):
    backbone, history = build(config), made_history()
    found_BTD = backbone(history).detach()
    expected_BTD = [slow_states(backbone, config, history, row) for row in range(3)]
    torch.testing.assert_close(found_BTD, torch.tensor(np.stack(expected_BTD)))


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (-(10**9), 0),
        (0, 0),
        (1, 0),
        (2, 2),  # .693 / .301 = 2.30
        (60, 13),  # 4.094 / .301 = 13.60
        (3600, 27),  # 8.189 / .301 = 27.20
        (86_400, 37),  # 11.367 / .301 = 37.76
        (31_536_000, 57),  # 17.267 / .301 = 57.36
        (2**62, 127),
    ],
)
def test_buckets_of_time_by_hand(seconds, bucket):
    assert time_buckets(torch.tensor([seconds])).tolist() == [bucket]


def changed_at(before, after):
    """The positions whose states differ at all."""
    return (before != after).any(dim=-1)[0].nonzero().flatten().tolist()


@pytest.mark.parametrize("t", range(5))
def test_with_one_block_the_next_action_s_time_reaches_one_state(t):
    """With more blocks it also reaches later states, whose own history has passed it by then."""
    history = made_history(1, 5)
    next_times_BT = history.next_times_BT.clone()
    next_times_BT[0, t] += 10**7
    moved = history._replace(next_times_BT=next_times_BT)
    for blocks, expected in ((1, [t]), (2, list(range(t, 5)))):
        backbone = build(HSTU(dim=6, blocks=blocks, max_length=9, target_time=True))
        assert changed_at(backbone(history), backbone(moved)) == expected
        plain = build(HSTU(dim=6, blocks=blocks, max_length=9))
        assert changed_at(plain(history), plain(moved)) == []


@pytest.mark.parametrize("target_time", [False, True])
def test_only_differences_of_time_count(target_time):
    backbone, history = build(HSTU(dim=6, max_length=9, target_time=target_time)), made_history()
    later = history._replace(
        times_BT=history.times_BT + 12_345, next_times_BT=history.next_times_BT + 12_345
    )
    assert torch.equal(backbone(history), backbone(later))
    times_BT = history.times_BT.clone()
    times_BT[:, 0] -= 10**7
    assert changed_at(backbone(history), backbone(history._replace(times_BT=times_BT))) == [
        *range(0 if target_time else 1, 7)  # for itself, the first event has always just happened
    ]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: repr(config)[:60])
def test_gradients_are_finite_differences(config):
    """Of all parameters: of the two biases too, through the gathers and the mask."""
    backbone, history = build(config, items=2), made_history(2, 4, items=2)
    names = [name for name, _ in backbone.named_parameters()]

    def states(*parameters):
        replaced = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(backbone, replaced, (history,)).sin().sum()

    values = tuple(parameter.detach().requires_grad_() for parameter in backbone.parameters())
    assert torch.autograd.gradcheck(states, values)


@pytest.mark.parametrize("part", ["dropout", "blocks"])
def test_dropout_acts_on_the_input_and_in_the_blocks_while_training(part):
    backbone, history = build(HSTU(dim=6, max_length=9, dropout=0.5)), made_history()
    assert torch.equal(backbone(history), backbone(history))
    getattr(backbone, part).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert not torch.equal(backbone(history), backbone(history))


def test_a_long_row_of_extreme_values_stays_finite_in_float32():
    config = HSTU(dim=8, max_length=200)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = config.build(ITEMS)
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter *= 100
    hidden_BTD = backbone(made_history(2, 200)._replace(rewards_BT=torch.zeros(2, 200)))
    assert hidden_BTD.isfinite().all()
    hidden_BTD.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in backbone.parameters() if p.grad is not None)
