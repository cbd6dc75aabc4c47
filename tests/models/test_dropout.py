import pytest
import torch

from recsys_posttrain.models.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5])
def test_the_share_that_is_dropped_and_the_scale_of_the_rest(rate):
    """The share of zeros is within 5 standard deviations of the rate, over 999,999 elements (no
    multiple of 4); what stays is divided by 1 - rate, up to the rounding of the rate to 2^-16."""
    torch.manual_seed(0)
    dropped = Dropout(rate)(torch.ones(333_333, 3))
    share = (dropped == 0).double().mean().item()
    assert abs(share - rate) < 5 * (rate * (1 - rate) / 999_999) ** 0.5
    kept = dropped[dropped != 0]
    assert (kept == kept[0]).all()
    assert kept[0].item() == pytest.approx(1 / (1 - rate), rel=2**-16 / (1 - rate))


def test_neighbours_are_independent():
    """The four elements of one random integer, too: products of centred masks average to 0."""
    torch.manual_seed(0)
    centred = (Dropout(0.5)(torch.ones(100_000, 4)) > 0).double() - 0.5
    covariance = centred.T @ centred / 100_000
    assert (covariance - torch.eye(4) / 4).abs().max() < 5 * 0.25 / 100_000**0.5


def test_the_gradient_goes_where_the_value_went():
    torch.manual_seed(0)
    x = torch.randn(50, 3, requires_grad=True)
    dropped = Dropout(0.3)(x)
    dropped.sum().backward()
    torch.testing.assert_close(dropped.detach(), x.detach() * x.grad)


def test_the_global_seed_decides_and_evaluation_and_rate_0_change_nothing():
    x = torch.randn(20, 3)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(Dropout(0.5)(x))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
