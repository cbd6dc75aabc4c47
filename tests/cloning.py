"""Whether a loss has the gradient of behaviour cloning."""

import torch

from recsys_posttrain.algorithms import BC


def assert_clones(algorithm, batch, actors):
    """In a tabular policy; the heads' own gradient is left aside."""
    slopes = []
    for each in (algorithm, BC()):
        actors.clear_cache()
        actors.zero_grad()
        each.loss(batch, actors).loss_N.sum().backward()
        slopes.append(actors.policy.backbone.logits.grad.clone())
    torch.testing.assert_close(*slopes)
