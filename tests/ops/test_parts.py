"""A large catalogue is walked in parts: what is left out, and KL and expectation over the parts."""

import pytest
import torch

from recsys_posttrain import ops
from recsys_posttrain.eligibility import Excluded, leave_out
from recsys_posttrain.ops import softmax
from recsys_posttrain.windows import Windows

ROWS, ITEMS = 6, 11
SEEN = [[], [1, 1, 11], [1, 2, 3, 4, 5], [6, 7], [*range(1, 12)], [2]]  # the fifth: nothing is left
HISTORY = Excluded(
    torch.tensor([item for seen in SEEN for item in seen]),
    torch.tensor([0, *map(len, SEEN)]).cumsum(dim=0),
)
WINDOWS = Windows(torch.tensor([2, 5, 11]), torch.tensor([[0, 5, 9]]), torch.tensor([[4, 6, 20]]))
TIMES = torch.tensor([1, 5, 10, 5, 5, 30])
OWN = torch.tensor([2, 8, 11, 5, 3, 1])
MASKS = {
    "nothing": None,
    "history": HISTORY,
    "mask": HISTORY._replace(everywhere_M=torch.tensor([2, 8, 9])),
    "mask, own stays": HISTORY._replace(everywhere_M=torch.tensor([2, 8, 9]), but_N=OWN),
    "windows": HISTORY._replace(windows=WINDOWS, times_N=TIMES),
    "all": HISTORY._replace(
        everywhere_M=torch.tensor([8, 9]), but_N=OWN, windows=WINDOWS, times_N=TIMES
    ),
}
masks = pytest.mark.parametrize("excluded", MASKS.values(), ids=MASKS)
sizes = pytest.mark.parametrize("size", [1, 2, 3, 5, 10])


@masks
@sizes
def test_parts_leave_out_what_the_whole_leaves_out(excluded, size):
    values_CV = torch.arange(ROWS * ITEMS, dtype=torch.float32).view(ROWS, ITEMS)
    whole = leave_out(values_CV.clone(), excluded, -1.0)
    parts = [
        leave_out(values_CV[:, first : first + size].clone(), excluded, -1.0, first)
        for first in range(0, ITEMS, size)
    ]
    assert torch.equal(torch.cat(parts, dim=1), whole)
    assert excluded is None or (whole == -1).any()


@masks
@sizes
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_sums_over_parts_are_sums_over_the_whole(monkeypatch, excluded, size, scale):
    generator = torch.Generator().manual_seed(size)
    hidden_ND, other_ND, state_NR = (
        torch.randn(ROWS, 3, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    table_VD, other_VD, factor_VR = (
        torch.randn(ITEMS, 3, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    softmaxes = (scale * hidden_ND, table_VD, other_ND, other_VD)

    def both():
        kl_N2 = ops.kl_and_entropy(*softmaxes, excluded=excluded)
        value_N = ops.expected_score(*softmaxes[:2], state_NR, factor_VR, excluded=excluded)
        return torch.cat([kl_N2, value_N[:, None]], dim=1)

    whole = both()
    monkeypatch.setattr(softmax, "PART", size)
    torch.testing.assert_close(both(), whole, rtol=1e-11, atol=1e-11, equal_nan=True)
    # By hand, where something is left.
    log_N2V = [
        leave_out(h @ t.T, excluded).log_softmax(dim=1) for h, t in (softmaxes[:2], softmaxes[2:])
    ]
    share_NV = log_N2V[0].exp()
    terms_NV = torch.where(share_NV > 0, share_NV * (log_N2V[0] - log_N2V[1]), 0)
    is_left_N = ~whole.isnan().any(dim=1)
    torch.testing.assert_close(
        whole[is_left_N, 0], terms_NV.sum(dim=1)[is_left_N], atol=1e-9, rtol=0
    )
    mean_N = (share_NV * (state_NR @ factor_VR.T)).sum(dim=1)
    torch.testing.assert_close(whole[is_left_N, 2], mean_N[is_left_N])
    assert is_left_N.sum() >= ROWS - 1


def test_a_catalogue_is_whole_up_to_a_part(monkeypatch):
    monkeypatch.setattr(softmax, "PART", 4)
    assert softmax._parts(4) == [(slice(0, 4), None)]
    assert softmax._parts(9) == [(slice(0, 4), 0), (slice(4, 8), 4), (slice(8, 12), 8)]
