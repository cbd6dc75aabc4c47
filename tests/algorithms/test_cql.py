import math

import numpy as np
import torch
from data_factory import doubles
from scipy.special import logsumexp

from recsys_posttrain.algorithms import BC, CQL

LOGITS = doubles([1.0, 3.0]).log()  # pi = (1/4, 3/4)


def gradient(algorithm, batch, actors):
    actors.clear_cache()
    actors.zero_grad()
    algorithm.loss(batch, actors).loss_N.sum().backward()
    return actors.policy.backbone.logits.grad.clone()


def test_loss_and_gradient_by_hand(tabular):
    """alpha 1/2, tau 2, a = 2, r = 5; the log's mean is 3 and the head is new, so b = 3 and
    Q = 2 log 3 + 3, off by e = 2 log 3 - 2. Loss log(4/3) + e^2; gradient (1/4, 3/4 - 1) from the
    first term, and 2 tau e in the logged logit; 30 * 2 e in the bias, that times the state in the
    head's weights."""
    algorithm = CQL(alpha=0.5, temperature=2.0)
    actors = tabular.actors(policy=LOGITS, algorithm=algorithm)
    output = algorithm.loss(tabular.batch([[1]], [[2]], [[5.0]]), actors)
    output.loss_N.sum().backward()
    error = 2 * math.log(3) - 2
    torch.testing.assert_close(output.loss_N.item(), math.log(4 / 3) + error**2)
    expected = doubles([0.25, -0.25 + 4 * error])
    torch.testing.assert_close(actors.policy.backbone.logits.grad, expected)
    torch.testing.assert_close(actors.heads["bias"].bias.grad, doubles(60 * error))
    torch.testing.assert_close(actors.heads["bias"].weight.grad, 60 * error * LOGITS)
    metrics = {name: each.item() for name, each in output.metrics.items()}
    torch.testing.assert_close(metrics["q/logged"], 2 * math.log(3) + 3)
    torch.testing.assert_close(metrics["q/error"], error**2)
    torch.testing.assert_close(metrics["q/conservative"], math.log(4 / 3))


def test_whole_loss_against_a_numpy_oracle_in_the_papers_form(tabular):
    """alpha (tau logsumexp(Q / tau) - Q(a)) + (Q(a) - r)^2 with the table of all Q, b included."""
    algorithm = CQL(alpha=0.7, temperature=0.4)
    batch, actors = tabular.random(algorithm)
    with torch.no_grad():
        for parameter in actors.heads.parameters():
            parameter += torch.linspace(-0.1, 0.2, parameter.numel()).view_as(parameter)
    logits = actors.policy.backbone.logits.detach().numpy()
    head = actors.heads["bias"]
    bias = 3 + 30 * (logits @ head.weight.detach().numpy()[0] + head.bias.detach().numpy())
    q = 0.4 * logits + bias[:, None]
    expected = []
    for x, a, r in zip(
        batch.real(batch.history_BT) - 1, batch.action_N - 1, batch.reward_N, strict=True
    ):
        conservative = 0.4 * logsumexp(q[x] / 0.4) - q[x, a]
        expected.append(0.7 * conservative + (q[x, a] - r.item()) ** 2)
    found = algorithm.loss(batch, actors).loss_N.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_a_large_alpha_is_cloning(tabular):
    algorithm = CQL(alpha=1e9, temperature=2.0)
    batch, actors = tabular.random(algorithm)
    found = gradient(algorithm, batch, actors) / 2e9
    torch.testing.assert_close(found, gradient(BC(), batch, actors), rtol=0, atol=1e-7)


def test_without_the_conservative_term_other_items_are_left_alone(tabular):
    algorithm = CQL(alpha=0.0)
    batch, actors = tabular.random(algorithm)
    found = gradient(algorithm, batch, actors)
    logged = torch.zeros_like(found, dtype=torch.bool)
    logged[batch.real(batch.history_BT) - 1, batch.action_N - 1] = True
    assert found[logged].all()
    assert not found[~logged].any()


def test_a_small_tau_is_cloning_that_is_stronger_where_the_reward_is_above_b(tabular):
    """pi - [v = a] (1 + (2 / alpha) (r - b)), b = 3, alpha = 4, r = 5: (1/4, 3/4 - 2)."""
    algorithm = CQL(alpha=4.0, temperature=1e-9)
    actors = tabular.actors(policy=LOGITS, algorithm=algorithm)
    found = gradient(algorithm, tabular.batch([[1]], [[2]], [[5.0]]), actors) / 4e-9
    torch.testing.assert_close(found, doubles([0.25, -1.25]))
