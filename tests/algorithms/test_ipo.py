import numpy as np
import torch
from data_factory import doubles

from recsys_posttrain.algorithms.dpo import DPO
from recsys_posttrain.algorithms.ipo import IPO, ipo_loss
from recsys_posttrain.algorithms.pairs import SampledPairs


def test_loss_by_hand():
    """beta 2 asks for margins of 1/4: margins 0, 1/4 and 1 lose 1/16, 0 and 9/16; the derivative is
    twice the distance, -1/2, 0 and 3/2. beta 1/2 asks for margins of 1."""
    margin = doubles(0.0, 0.25, 1.0, grad=True)
    loss = ipo_loss(margin, beta=2.0)
    loss.sum().backward()
    assert loss.tolist() == [1 / 16, 0, 9 / 16]
    assert margin.grad.tolist() == [-0.5, 0, 1.5]
    assert ipo_loss(margin, beta=0.5).tolist() == [1, 9 / 16, 0]


def test_the_gradient_is_the_closed_form_at_random_margins():
    """2 (h - 1 / (2 beta)) = 2 h - 1 / beta, to 1e-9; and the loss of NumPy."""
    generator = np.random.default_rng(0)
    for beta in (0.1, 1.0, 30.0):
        values = generator.normal(size=200) * 5
        margin = torch.tensor(values, requires_grad=True)
        loss = ipo_loss(margin, beta)
        loss.sum().backward()
        np.testing.assert_allclose(margin.grad.numpy(), 2 * values - 1 / beta, atol=1e-9, rtol=0)
        expected = np.square(values - 0.5 / beta)
        np.testing.assert_allclose(loss.detach().numpy(), expected, atol=1e-9, rtol=1e-12)


def test_at_the_reference_it_points_where_dpo_does(tabular):
    """The gradient is 1 / beta on the margin, that of DPO beta' / 2: here 4 and 2."""
    grads = []
    for algorithm in (IPO(beta=0.25), DPO(beta=4.0)):
        batch, actors = tabular.random(members=3)
        with torch.no_grad():
            actors.policy.backbone.logits.copy_(actors.reference.backbone.logits)
        actors.generator.manual_seed(1)
        algorithm.loss(batch, actors).loss_N.sum().backward()
        grads.append(actors.policy.backbone.logits.grad)
    assert grads[0].abs().max() > 1
    torch.testing.assert_close(grads[0], 2 * grads[1])


def test_whole_loss_against_a_numpy_oracle(tabular):
    """Samples are replayed from the seed; pairs and loss are recomputed in loops."""
    batch, actors = tabular.random(members=3)
    actors.generator.manual_seed(3)
    output = IPO(beta=0.4, pairs=SampledPairs(4, width=2.0)).loss(batch, actors)
    items_NK = actors.reference.sample(batch, 4, torch.Generator().manual_seed(3))[0].numpy()
    policy, _, reference, scores = tabular.tables(actors)
    ratio = np.log(policy / reference)
    margins = []
    for n, (b, t) in enumerate(batch.mask_BT.nonzero().tolist()):
        x, drawn = int(batch.history_BT[b, t]) - 1, items_NK[n] - 1
        winner, loser = (drawn[pick(scores[x, drawn])] for pick in (np.argmax, np.argmin))
        margin = ratio[x, winner] - ratio[x, loser]
        assert abs(output.loss_N[n].item() - (margin - 1 / 0.8) ** 2) < 1e-9
        margins += [margin] * bool(output.counted_N[n])
    assert 0 < len(margins) < len(items_NK)
    assert abs(output.metrics["rewards/margins"].item() - 0.4 * np.mean(margins)) < 1e-9
