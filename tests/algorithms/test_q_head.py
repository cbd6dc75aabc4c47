import pytest
import torch
from data_factory import doubles
from torch.nn.functional import pad

from recsys_posttrain.algorithms import SNQN
from recsys_posttrain.algorithms.q_head import drawn_items, q_values, renew_target
from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.losses.negatives import Negatives
from recsys_posttrain.training.catalogue import sample_of

LOGITS = doubles([1.0, -2.0])  # of the only context: its state


def with_head(actors, name, weight, bias):
    with torch.no_grad():
        actors.heads[name].weight.copy_(doubles(*weight))
        actors.heads[name].bias.copy_(doubles(*bias))


def test_values_by_hand(tabular):
    """State (1, -2): direction (1 * 3 + 1, -2 * 2 + 0), level 1 * .1 - 2 * .2 + .4 = .1, 30 times.
    Item vectors are unit vectors, so Q = (4, -4) + 3; the target, which is new, says 0."""
    actors = tabular.actors(policy=LOGITS, algorithm=SNQN())
    with_head(actors, "q", [[3.0, 0.0], [0.0, 2.0], [0.1, 0.2]], [1.0, 0.0, 0.4])
    batch = tabular.batch([[1, 1]], [[1, 2]], [[0.0, 4.0]])
    q = q_values("q", batch, actors)
    expected = doubles([7.0, -1.0], [7.0, -1.0])
    torch.testing.assert_close(q.of(torch.tensor([[1, 2], [1, 2]])), expected)
    torch.testing.assert_close(q.of_shared(torch.tensor([1, 2])), expected)
    assert q.best(batch, None).tolist() == [[1], [1]]
    assert not q_values("target", batch, actors).of_shared(torch.tensor([1, 2])).any()


def test_gradients_reach_the_state_and_the_head_alone(tabular):
    """dQ(x, 1) = the first row of the weights and 30 times the last: (3 + 3, 0 + 6)."""
    actors = tabular.actors(policy=LOGITS, algorithm=SNQN())
    with_head(actors, "q", [[3.0, 0.0], [0.0, 2.0], [0.1, 0.2]], [1.0, 0.0, 0.4])
    q = q_values("q", tabular.batch(), actors)
    q.of(torch.tensor([[1]])).sum().backward()
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([6.0, 6.0]))
    slope = doubles([1.0, -2.0], [0.0, 0.0], [30.0, -60.0])
    torch.testing.assert_close(actors.heads["q"].weight.grad, slope)
    torch.testing.assert_close(actors.heads["q"].bias.grad, doubles(1.0, 0.0, 30.0))
    assert actors.policy.backbone.item_embedding.weight.grad is None
    actors.clear_cache()
    frozen = q_values("target", tabular.batch(), actors).of(torch.tensor([[1]]))
    assert not frozen.requires_grad


def test_the_best_item_is_eligible_whatever_the_level(tabular):
    batch, actors = tabular.random(SNQN())
    with torch.no_grad():
        for parameter in actors.heads["q"].parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).sin().view_as(parameter))
    q = q_values("q", batch, actors)
    table_NV = q.of_shared(torch.arange(1, 6)).detach()
    assert q.best(batch, None).squeeze(1).tolist() == (table_NV.argmax(dim=1) + 1).tolist()
    out_N = table_NV.argmax(dim=1) + 1
    without = batch._replace(excluded=Excluded(out_N, torch.arange(6)))
    table_NV[torch.arange(5), out_N - 1] = -torch.inf
    assert q.best(without, None).squeeze(1).tolist() == (table_NV.argmax(dim=1) + 1).tolist()


def test_the_best_item_of_a_sample_is_the_best_that_is_in_it(tabular):
    """Items 2 and 4 were drawn; beside them each position has its logged item, and no other's."""
    batch, actors = tabular.random(SNQN())
    with torch.no_grad():
        for parameter in actors.heads["q"].parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).sin().view_as(parameter))
    drawn = Negatives(torch.tensor([2, 4]), torch.ones(2))
    sampled = batch._replace(catalogue_sample=sample_of(batch, drawn, 5))
    q = q_values("q", sampled, actors)
    table_NV = q.of_shared(torch.arange(1, 6)).detach()
    expected = [
        max({2, 4, own}, key=lambda item, row_V=row_V: row_V[item - 1])
        for row_V, own in zip(table_NV.tolist(), batch.action_N.tolist(), strict=True)
    ]
    assert q.best(sampled, None).squeeze(1).tolist() == expected
    assert len(set(expected)) > 1


def test_the_target_is_renewed_every_few_steps(tabular):
    actors = tabular.actors(algorithm=SNQN())
    with_head(actors, "q", [[3.0, 0.0], [0.0, 2.0], [0.1, 0.2]], [1.0, 0.0, 0.4])
    for step, is_new in ((1, False), (2, False), (3, True)):
        actors.step = step
        renew_target(actors, 3)
        same = [
            torch.equal(each, actors.heads["q"].state_dict()[name])
            for name, each in actors.heads["target"].state_dict().items()
        ]
        assert same == [is_new, is_new]
    assert not any(each.requires_grad for each in actors.heads["target"].parameters())
    with torch.no_grad():
        actors.heads["q"].bias += 1
    assert not torch.equal(actors.heads["q"].bias, actors.heads["target"].bias)


def test_as_many_even_draws_as_items_are_the_catalogue(tabular):
    """What was logged at a position does not count there, nor what is not eligible."""
    batch, actors = tabular.random()
    items_K, counted_NK = drawn_items(batch, actors, 5)
    assert items_K.tolist() == [1, 2, 3, 4, 5]
    expected = items_K != batch.action_N[:, None]
    assert torch.equal(counted_NK, expected)
    length_N = torch.tensor([2, 0, 1, 0, 1])
    excluded = Excluded(torch.tensor([1, 5, 4, 3]), pad(length_N.cumsum(dim=0), (1, 0)))
    expected[[0, 0, 2, 4], [0, 4, 3, 2]] = False
    counted_NK = drawn_items(batch._replace(excluded=excluded), actors, 5)[1]
    assert torch.equal(counted_NK, expected)


def test_draws_are_even_and_the_same_for_all_positions(tabular):
    batch, actors = tabular.random()
    drawn = torch.cat([drawn_items(batch, actors, 3)[0] for _ in range(2000)])
    share_V = torch.bincount(drawn, minlength=6)[1:] / len(drawn)
    assert share_V.tolist() == pytest.approx([0.2] * 5, abs=0.02)


def test_what_is_not_eligible_need_not_have_been_drawn(tabular):
    batch, actors = tabular.random()
    batch = batch._replace(excluded=Excluded(torch.tensor([5] * 5), torch.arange(6)))
    drawn = set()
    for _ in range(40):
        items_K, counted_NK = drawn_items(batch, actors, 1)
        drawn.add(int(items_K))
        is_open_N = (items_K != batch.action_N) & (items_K != 5)
        assert torch.equal(counted_NK[:, 0], is_open_N)
    assert drawn == {1, 2, 3, 4, 5}
