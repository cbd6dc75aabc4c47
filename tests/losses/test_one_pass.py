"""The walk in chunks against torch's own gradients of the same loss written out densely."""

import math

import pytest
import torch

from recsys_posttrain.losses import one_pass
from recsys_posttrain.losses.gbce import gbce
from recsys_posttrain.losses.sampled_softmax import sampled_softmax
from recsys_posttrain.ops.logsumexp import LARGEST_CHUNK

POSITIONS, ITEMS, WIDTH, DRAWN = LARGEST_CHUNK + 88, 9, 3, [1, 4, 4, 9]
EXPECTED = [0.5, 1.5, 1.5, 0.2]


def dense_sampled_softmax(target_N, logit_NK, hit_NK):
    corrected_NK = logit_NK - torch.tensor(EXPECTED, dtype=logit_NK.dtype).log()
    others_NK = corrected_NK.masked_fill(hit_NK, -math.inf)
    return torch.cat([target_N[:, None], others_NK], dim=1).logsumexp(dim=1) - target_N


def dense_gbce(target_N, logit_NK, hit_NK):
    rejected_NK = -torch.nn.functional.logsigmoid(-logit_NK)
    accepted_N = -torch.nn.functional.logsigmoid(target_N)
    return (0.3 * accepted_N + (rejected_NK * ~hit_NK).sum(dim=1)) / (len(DRAWN) + 1)


LOSSES = pytest.mark.parametrize(
    ("loss", "dense"),
    [
        (sampled_softmax, dense_sampled_softmax),
        (lambda hidden, drawn, *rest: gbce(hidden, drawn, 0.3, *rest), dense_gbce),
    ],
)


def leaves(dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    shapes = ((POSITIONS, WIDTH), (ITEMS, WIDTH))
    return [
        (scale * torch.randn(*shape, generator=generator, dtype=dtype)).requires_grad_()
        for shape in shapes
    ]


ACTIONS = torch.randint(1, ITEMS + 1, (POSITIONS,), generator=torch.Generator().manual_seed(1))


@LOSSES
@pytest.mark.parametrize("upstream", ["equal", "different"])
def test_value_and_gradient(loss, dense, upstream, candidates_of, monkeypatch):
    """A third of the positions have a hit, some two. Where all gradients that come in are equal,
    the positions are walked once; otherwise twice, with the same result."""
    walks = []
    walk = one_pass._walk
    monkeypatch.setattr(one_pass, "_walk", lambda *inputs: walks.append(0) or walk(*inputs))
    hidden, table = leaves()
    found_N = loss(hidden, candidates_of(table, ACTIONS, DRAWN, EXPECTED))
    logit_NV = hidden @ table.T
    target_N = logit_NV[torch.arange(POSITIONS), ACTIONS - 1]
    hit_NK = ACTIONS[:, None] == torch.tensor(DRAWN)
    expected_N = dense(target_N, logit_NV[:, torch.tensor(DRAWN) - 1], hit_NK)
    torch.testing.assert_close(found_N, expected_N)
    weight_N = torch.full((POSITIONS,), 0.3, dtype=torch.float64)
    if upstream == "different":
        weight_N = torch.arange(POSITIONS, dtype=torch.float64) - 100
    for found, expected in zip(
        torch.autograd.grad((weight_N * found_N).sum(), (hidden, table)),
        torch.autograd.grad((weight_N * expected_N).sum(), (hidden, table)),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)
    assert len(walks) == {"equal": 1, "different": 2}[upstream]


@LOSSES
def test_bfloat16_products(loss, dense, candidates_of):
    """Rounding to 8 bits moves each factor and the logit by at most 2^-9 of itself, so a logit by
    less than 2^-7 sum_d |h_d t_d|, and the share of an exponential by twice that. Results are
    float32, and only float32 states are lowered."""
    hidden, table = leaves(torch.float32, scale=0.5)
    bound = 2 * 2**-7 * float((hidden.abs() @ table.abs().T).max().detach())
    found = []
    for logits_dtype in (None, torch.bfloat16):
        value = loss(hidden, candidates_of(table, ACTIONS, DRAWN, EXPECTED), logits_dtype)
        found.append([value.detach(), *torch.autograd.grad(value.mean(), (hidden, table))])
    for exact, low in zip(*found, strict=True):
        assert low.dtype == torch.float32
        assert not torch.equal(low, exact)
        assert (low - exact).norm() < bound * exact.norm()
    hidden, table = leaves()
    drawn = candidates_of(table, ACTIONS, DRAWN, EXPECTED)
    assert torch.equal(loss(hidden, drawn, torch.bfloat16), loss(hidden, drawn))
