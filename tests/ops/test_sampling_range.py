"""Samples and their log pi wherever the logits lie, against NumPy in float64."""

import numpy as np
import pytest
import torch

from recsys_posttrain import ops

ITEMS = 130  # two whole blocks of the sampler and a short one
DRAWS = 20_000
PRODUCTS = {torch.float32: 4e-5, torch.bfloat16: 2**-8}  # tolerance: half a step at 200; at 1


@pytest.mark.parametrize("offset", [-200, -110, -100, -93, -88, -61, -59, 0, 59, 61, 88, 200])
@pytest.mark.parametrize("logits_dtype", PRODUCTS)
def test_the_level_of_the_logits_changes_no_share(offset, logits_dtype):
    """Logits offset + 0, ..., 4: integers below 256, which bfloat16 holds exactly, so the shares
    are those of 0, ..., 4 whatever the offset."""
    extra_V = np.arange(ITEMS) % 5
    share_V = np.exp(extra_V.astype(np.float64))
    share_V /= share_V.sum()

    table_V2 = torch.stack([torch.from_numpy(extra_V).float(), torch.ones(ITEMS)], dim=1)
    items_NK, log_prob_NK = ops.sample_items(
        torch.tensor([[1.0, offset]]),
        table_V2,
        DRAWS,
        torch.Generator().manual_seed(0),
        logits_dtype,
    )

    found_V = np.bincount(items_NK[0].numpy() - 1, minlength=ITEMS) / DRAWS
    deviation_V = np.sqrt(share_V * (1 - share_V) / DRAWS)
    assert (np.abs(found_V - share_V) < 5 * deviation_V).all()
    expected_K = np.log(share_V)[items_NK[0].numpy() - 1]
    error = np.abs(log_prob_NK[0].double().numpy() - expected_K).max()
    assert error < PRODUCTS[logits_dtype]


def test_positions_of_any_level_may_stand_side_by_side():
    """Each of three positions at -93, 0 and 93 has log pi = -log 4 for each of four equal items."""
    hidden_N1 = torch.tensor([[-93.0], [0.0], [93.0]])
    items_NK, log_prob_NK = ops.sample_items(
        hidden_N1, torch.ones(4, 1), 2000, torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(log_prob_NK, torch.full((3, 2000), -np.log(4.0)), rtol=0, atol=2e-5)
    for items_K in items_NK:
        assert set(items_K.tolist()) == {1, 2, 3, 4}
