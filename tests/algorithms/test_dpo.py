import math

import numpy as np
import pytest
import torch

from recsys_posttrain.algorithms.dpo import (
    DPO,
    EnsemblePairs,
    LoggedVersusSampled,
    Pairs,
    dpo_loss,
    separated_pair,
)
from recsys_posttrain.errors import UserError


def doubles(*values, grad=False):
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def second_over_first(batch, actors):
    """A pair source for tests: item 2 is preferred to item 1, except in sequence 1."""
    two_BT = torch.full_like(batch.actions_BT, 2)
    kept_BT = batch.mask_BT & (batch.sequences_B == 0)[:, None]
    return Pairs(two_BT, torch.ones_like(two_BT), kept_BT)


def test_loss_by_hand():
    """beta 2: margins 0 and log 3 / 2 give sigmoids 1/2 and 3/4, hence log 2 and log(4/3); the
    derivative in the margin is -beta (1 - sigmoid) = -1 and -1/2."""
    margin = doubles(0.0, math.log(3) / 2, grad=True)
    loss = dpo_loss(margin, beta=2.0)
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), doubles(math.log(2), math.log(4 / 3)))
    torch.testing.assert_close(margin.grad, doubles(-1.0, -0.5))


def test_loss_metrics_and_gradient_by_hand(tabular):
    """pi = (1/4, 3/4), pi_ref = (1/2, 1/2); chosen 2, rejected 1, beta 2.

    lr_w = log(3/2), lr_l = log(1/2), margin log 3, so sigmoid(2 log 3) = 9/10: loss -log 0.9. The
    gradient is -beta (1 - 0.9) on the chosen logit and its opposite on the rejected one (the two
    normalisers cancel): (0.2, -0.2).
    """
    actors = tabular.actors(torch.zeros(1, 2), doubles([1.0, 3.0]).log(), torch.zeros(1, 2))
    output = DPO(beta=2.0, pairs=second_over_first).loss(
        tabular.batch([[1, 0], [1, 0]], [[1, 0], [1, 0]], [[0.0, 0], [0, 0]]), actors
    )
    output.loss_BT[output.mask_BT].sum().backward()
    torch.testing.assert_close(output.loss_BT[0, 0].item(), -math.log(0.9))
    assert output.mask_BT.tolist() == [[True, False], [False, False]]
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([0.2, -0.2]))
    expected = {
        "rewards/chosen": 2 * math.log(1.5),
        "rewards/rejected": 2 * math.log(0.5),
        "rewards/margins": 2 * math.log(3),
        "rewards/accuracies": 1.0,
        "logps/chosen": math.log(0.75),
        "logps/rejected": math.log(0.25),
        "pairs/kept": 0.5,
    }
    assert output.metrics.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(output.metrics[name].item(), value)
        assert not output.metrics[name].requires_grad


def test_accuracy_counts_only_margins_above_zero(tabular):
    """Policy and reference swapped: the margin is -log 3. At equal policies it is 0: not won."""
    logits = doubles([1.0, 3.0]).log()
    batch = tabular.batch([[1]], [[1]], [[0.0]])
    for policy in (torch.zeros(1, 2), logits):
        actors = tabular.actors(logits, policy, torch.zeros(1, 2))
        assert (
            DPO(pairs=second_over_first).loss(batch, actors).metrics["rewards/accuracies"].item()
            == 0
        )


def test_the_nll_term_raises_the_chosen_log_probability(tabular):
    """0.5 * -log(3/4) more loss, and 0.5 (pi_v - [v = 2]) = (0.125, -0.125) more gradient."""
    actors = tabular.actors(torch.zeros(1, 2), doubles([1.0, 3.0]).log(), torch.zeros(1, 2))
    batch = tabular.batch([[1]], [[1]], [[0.0]])
    output = DPO(beta=2.0, pairs=second_over_first, nll_coefficient=0.5).loss(batch, actors)
    output.loss_BT.sum().backward()
    torch.testing.assert_close(output.loss_BT.item(), -math.log(0.9) - 0.5 * math.log(0.75))
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([0.325, -0.325]))


def test_equal_policies_lose_log_2(tabular):
    logits = torch.randn(1, 2, generator=torch.Generator().manual_seed(0))
    actors = tabular.actors(logits, logits, torch.zeros(1, 2))
    loss = DPO(pairs=second_over_first).loss(tabular.batch([[1]], [[1]], [[0.0]]), actors).loss_BT
    torch.testing.assert_close(loss.item(), math.log(2))


def test_separated_pair_by_hand():
    """Intervals [1, 2], [3, 6], [4, 5]: best lower bound 4 (third), lowest upper bound 2 (first),
    4 > 2. Intervals [1, 4], [3, 5]: 3 > 4 fails. Touching intervals [1, 2], [2, 3] do not count."""
    lower = doubles([1.0, 3.0, 4.0], [1.0, 3.0, 0.0], [1.0, 2.0, 0.0])
    upper = doubles([2.0, 6.0, 5.0], [4.0, 5.0, 9.0], [2.0, 3.0, 9.0])
    best, worst, separated = separated_pair(lower, upper)
    assert best.tolist() == [2, 1, 1]
    assert worst.tolist() == [0, 0, 0]
    assert separated.tolist() == [True, False, False]


def draws_of_all_items(tabular, scores, catalogue, candidates, width=1.0):
    """Pairs in 400 positions of one even context, so that every item is drawn often."""
    zeros = torch.zeros(1, catalogue)
    actors = tabular.actors(zeros, zeros, scores)
    batch = tabular.batch([[1] * 400], [[1] * 400], [[0.0] * 400])
    return EnsemblePairs(candidates, width)(batch, actors)


def test_ensemble_pairs_by_hand(tabular):
    """Two members say (1, 2, 5) and (3, 2, 7): means 2, 2, 6 and deviations 1, 0, 1; intervals at
    width 1: [1, 3], [2, 2], [5, 7]. Item 3 beats both others (5 > 3, 5 > 2); items 1 and 2 overlap.
    Of several, the rejected one is item 2 (upper bound 2, item 1 has 3). With two candidates drawn
    evenly, a pair is kept when exactly one is item 3: probability 4/9."""
    scores = doubles([[1.0, 2.0, 5.0]], [[3.0, 2.0, 7.0]])
    pairs = draws_of_all_items(tabular, scores, catalogue=3, candidates=2)
    kept = pairs.kept_BT
    assert set(pairs.chosen_BT[kept].tolist()) == {3}
    assert set(pairs.rejected_BT[kept].tolist()) == {1, 2}
    deviation = math.sqrt(4 / 9 * 5 / 9 / 400)
    assert abs(kept.double().mean().item() - 4 / 9) < 4 * deviation

    of_many = draws_of_all_items(tabular, scores, catalogue=3, candidates=60)
    assert set(of_many.chosen_BT.flatten().tolist()) == {3}
    assert set(of_many.rejected_BT.flatten().tolist()) == {2}
    # At width 3: [-1, 5], [2, 2], [3, 9]. Items 2 and 3 still separate, by 3 > 2.
    assert draws_of_all_items(tabular, scores, 3, 60, width=3.0).kept_BT.all()
    # At width 5: [-3, 7], [2, 2], [1, 11]. Nothing does.
    assert not draws_of_all_items(tabular, scores, 3, 60, width=5.0).kept_BT.any()


def test_candidates_come_from_the_reference(tabular):
    """The reference never draws item 3 and the policy only it."""
    reference, policy = doubles([0.0, 0.0, -1e4]), doubles([-1e4, -1e4, 0.0])
    batch = tabular.batch([[1] * 50], [[3] * 50], [[9.0] * 50])
    actors = tabular.actors(reference, policy, [[1.0, 2.0, 3.0]], old=policy)
    for source in (EnsemblePairs(), LoggedVersusSampled()):
        assert 3 not in source(batch, actors).rejected_BT
    assert 3 not in EnsemblePairs()(batch, actors).chosen_BT


def test_nothing_is_kept_at_padding(tabular):
    actors = tabular.actors(torch.zeros(1, 3), torch.zeros(1, 3), [[1.0, 2.0, 9.0]])
    batch = tabular.batch([[1, 1, 0]], [[3, 3, 3]], [[10.0, 10.0, 10.0]])
    for source in (EnsemblePairs(50), LoggedVersusSampled(50)):
        assert source(batch, actors).kept_BT.tolist() == [[True, True, False]]


def test_logged_versus_sampled_by_hand(tabular):
    """Intervals at width 1: item 1 [1, 3], item 2 [2, 2]. Of many draws item 2 has the lowest upper
    bound, 2. Logged item 1 with reward 3 beats it, with reward 2 it does not; and the logged
    item is never paired with itself."""
    scores = doubles([[1.0, 2.0]], [[3.0, 2.0]])
    actors = tabular.actors(torch.zeros(1, 2), torch.zeros(1, 2), scores)
    batch = tabular.batch([[1, 1, 1]], [[1, 1, 2]], [[3.0, 2.0, 5.0]])
    pairs = LoggedVersusSampled(candidates=40)(batch, actors)
    assert pairs.chosen_BT.tolist() == [[1, 1, 2]]
    assert pairs.rejected_BT.tolist() == [[2, 2, 2]]
    assert pairs.kept_BT.tolist() == [[True, False, False]]
    # At width 0 item 1 is 2 and item 2 is 2 as well; at width 4 item 2 has still 2, item 1 has 6.
    wide = LoggedVersusSampled(candidates=40, width=4.0)(batch, actors)
    assert wide.rejected_BT.tolist() == [[2, 2, 2]]


def test_whole_loss_against_a_numpy_oracle(tabular):
    """Samples are replayed from the seed; intervals, pairs and loss are recomputed in loops."""
    batch, actors = tabular.random(members=3)
    actors.generator.manual_seed(3)
    output = DPO(beta=0.8, pairs=EnsemblePairs(4, width=0.5), nll_coefficient=0.1).loss(
        batch, actors
    )
    items_BTK = actors.reference.sample(batch, 4, torch.Generator().manual_seed(3))[0].numpy()
    policy = actors.policy.backbone.logits.detach().numpy()
    reference = actors.reference.backbone.logits.numpy()
    policy, reference = (
        table - np.log(np.exp(table).sum(axis=1, keepdims=True)) for table in (policy, reference)
    )
    for b, t in batch.mask_BT.nonzero().tolist():
        x = int(batch.history_BT[b, t]) - 1
        drawn = items_BTK[b, t] - 1
        scores = actors.reward.scores.numpy()[:, x, drawn]
        spread = 0.5 * scores.std(axis=0)
        winner = drawn[np.argmax(scores.mean(axis=0) - spread)]
        loser = drawn[np.argmin(scores.mean(axis=0) + spread)]
        separate = (scores.mean(axis=0) - spread).max() > (scores.mean(axis=0) + spread).min()
        assert output.mask_BT[b, t].item() == separate
        ratio = policy[x] - reference[x]
        expected = np.log1p(np.exp(-0.8 * (ratio[winner] - ratio[loser]))) - 0.1 * policy[x, winner]
        torch.testing.assert_close(output.loss_BT[b, t].item(), float(expected))
    assert output.mask_BT.any()


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (DPO, {"beta": 0.0}),
        (DPO, {"nll_coefficient": -1.0}),
        (EnsemblePairs, {"candidates": 1}),
        (EnsemblePairs, {"width": -1.0}),
        (LoggedVersusSampled, {"candidates": 0}),
        (LoggedVersusSampled, {"width": -1.0}),
    ],
)
def test_a_field_out_of_range_is_refused(make, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        make(**wrong)
