"""Sums of a loss over the catalogue, where some items are not eligible, against plain NumPy."""

import numpy as np
import torch

from recsys_posttrain.algorithms.signals import ReferenceSoftValue, reference_value
from recsys_posttrain.eligibility import Excluded

# Of the five positions of `tabular.random`, whose actions are 3 2 5, 1 4: none, some, all but one.
SEEN = [[], [1, 1], [1, 2, 3, 4], [3, 5], [2]]


def world(tabular):
    batch, actors = tabular.random()
    ends = torch.tensor([0] + [len(seen) for seen in SEEN]).cumsum(dim=0)
    excluded = Excluded(torch.tensor([item for seen in SEEN for item in seen]), ends)
    contexts = batch.real(batch.history_BT).numpy() - 1
    eligible = [[v for v in range(5) if v + 1 not in seen] for seen in SEEN]
    return batch._replace(excluded=excluded), actors, list(zip(contexts, eligible, strict=True))


def test_the_three_policies_over_the_catalogue(tabular):
    """Over eligible items each is its softmax, elsewhere 0, with a ratio of 1 and pi log pi = 0."""
    batch, actors, rows = world(tabular)
    names = ("policy_log_prob_CV", "old_log_prob_CV", "reference_log_prob_CV")
    found = actors.over_catalogue(
        batch, lambda chunk: torch.stack([getattr(chunk, name) for name in names], dim=1)
    ).detach()
    for table_XV, log_NV in zip(tabular.tables(actors)[:3], found.unbind(dim=1), strict=True):
        for (context, eligible), log_V in zip(rows, log_NV, strict=True):
            share = table_XV[context, eligible] / table_XV[context, eligible].sum()
            np.testing.assert_allclose(log_V[eligible].exp(), share)
            out = np.setdiff1d(np.arange(5), eligible)
            assert not log_V[out].exp().any()
            assert not (log_V * log_V.exp())[out].any()
    out_NV = found.amax(dim=1) < -1e29
    assert out_NV.sum() == 8
    assert torch.equal(found[:, 0][out_NV], found[:, 2][out_NV])


def test_kl_and_its_gradient_over_the_catalogue(tabular):
    """KL(pi || pi_ref), whose gradient in a logit is pi (log pi - log pi_ref - KL), 0 for items
    that are not eligible."""
    batch, actors, rows = world(tabular)

    def kl(chunk):
        log_ratio_CV = chunk.policy_log_prob_CV - chunk.reference_log_prob_CV
        return (chunk.policy_log_prob_CV.exp() * log_ratio_CV).sum(dim=1)

    found_N = actors.over_catalogue(batch, kl)
    policy, _, reference, _ = tabular.tables(actors)
    slope_XV, expected = np.zeros_like(policy), []
    for context, eligible in rows:
        p, q = (t[context, eligible] / t[context, eligible].sum() for t in (policy, reference))
        expected.append(sum(p * np.log(p / q)))
        slope_XV[context, eligible] += p * (np.log(p / q) - expected[-1])
    np.testing.assert_allclose(found_N.detach(), expected)
    found_N.sum().backward()
    np.testing.assert_allclose(actors.policy.backbone.logits.grad, slope_XV, atol=1e-12)


def test_values_of_the_reference(tabular):
    """E[r_hat] and log E[exp(r_hat / t)] t over the eligible items."""
    batch, actors, rows = world(tabular)
    _, _, reference, scores = tabular.tables(actors)
    mean, soft = [], []
    for context, eligible in rows:
        share = reference[context, eligible] / reference[context, eligible].sum()
        mean.append(share @ scores[context, eligible])
        soft.append(0.7 * np.log(share @ np.exp(scores[context, eligible] / 0.7)))
    np.testing.assert_allclose(reference_value(batch, actors), mean)
    np.testing.assert_allclose(ReferenceSoftValue(0.7)(batch, actors), soft)
