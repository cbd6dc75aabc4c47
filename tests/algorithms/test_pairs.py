import math

import torch
from data_factory import doubles

from recsys_posttrain.algorithms.pairs import LoggedVersusSampled, SampledPairs
from recsys_posttrain.eligibility import Excluded


def pairs_of_many_draws(tabular, scores, catalogue, candidates, width):
    """Pairs in 400 positions of one even context, so that every item is drawn often."""
    zeros = torch.zeros(1, catalogue)
    actors = tabular.actors(zeros, zeros, scores)
    batch = tabular.batch([[1] * 400], [[1] * 400], [[0.0] * 400])
    return SampledPairs(candidates, width)(batch, actors)


def test_sampled_pairs_by_hand(tabular):
    """Two members say (1, 2, 5) and (3, 4, 9): means 2, 3, 7. Item 3 is above item 1 by 4 and 6, so
    by 5 +- 1, item 2 above item 1 by 1 in both, though their intervals [1, 3] and [2, 4] overlap,
    and item 3 above item 2 by 4 +- 1. With two candidates drawn evenly, a pair of different items
    has probability 2/3; at width 4.5 those of items 2 and 3 fall out, a third of them."""
    scores = doubles([[1.0, 2.0, 5.0]], [[3.0, 4.0, 9.0]])
    for width, share, kept in (
        (0.0, 2 / 3, {(2, 1), (3, 1), (3, 2)}),
        (4.5, 4 / 9, {(2, 1), (3, 1)}),
        (6.0, 2 / 9, {(2, 1)}),
    ):
        pairs = pairs_of_many_draws(tabular, scores, 3, 2, width)
        both_N2 = torch.stack([pairs.chosen_N, pairs.rejected_N], dim=1)
        assert {tuple(pair) for pair in both_N2[pairs.kept_N].tolist()} == kept
        deviation = math.sqrt(share * (1 - share) / 400)
        assert abs(pairs.kept_N.double().mean().item() - share) < 4 * deviation

    of_many = pairs_of_many_draws(tabular, scores, 3, 60, 4.5)
    assert set(of_many.chosen_N.tolist()) == {3}
    assert set(of_many.rejected_N.tolist()) == {1}
    assert of_many.kept_N.all()
    # 5 +- 1 at width 5 is not more than 5 deviations.
    assert not pairs_of_many_draws(tabular, scores, 3, 60, 5.0).kept_N.any()


def test_an_item_is_never_paired_with_itself(tabular, monkeypatch):
    """One item alone can be drawn, also where rounding tells its copies apart."""
    reference = doubles([0.0, -1e4])
    actors = tabular.actors(reference, reference, [[3.0, 1.0]])
    batch = tabular.batch([[1] * 3], [[1] * 3], [[9.0] * 3])

    def rounded(_, items_NK):
        return 3 + 1e-7 * torch.arange(items_NK.shape[1]).expand_as(items_NK)

    monkeypatch.setattr(actors.reward, "score", rounded)
    for source in (SampledPairs(width=0.0), LoggedVersusSampled(width=0.0)):
        pairs = source(batch, actors)
        assert pairs.chosen_N.tolist() == pairs.rejected_N.tolist() == [1, 1, 1]
        assert not pairs.kept_N.any()


def test_candidates_come_from_the_reference(tabular):
    """The reference never draws item 3 and the policy only it."""
    reference, policy = doubles([0.0, 0.0, -1e4]), doubles([-1e4, -1e4, 0.0])
    batch = tabular.batch([[1] * 50], [[3] * 50], [[9.0] * 50])
    scores = [[[1.0, 2.0, 3.0]]] * 2  # two members that agree
    actors = tabular.actors(reference, policy, scores, old=policy)
    for source in (SampledPairs(), LoggedVersusSampled()):
        assert 3 not in source(batch, actors).rejected_N
    assert 3 not in SampledPairs()(batch, actors).chosen_N


def test_logged_versus_sampled_by_hand(tabular):
    """Members say (2, 1) and (4, 2): item 2 has the lowest mean of many draws, 1.5 +- 0.5. Logged
    item 1 with reward 3 beats its upper bound 2 at width 1, with reward 2 it does not; at width 4
    the bound is 3.5. The logged item is never paired with itself."""
    scores = doubles([[2.0, 1.0]], [[4.0, 2.0]])
    batch = tabular.batch([[1, 1, 1]], [[1, 1, 2]], [[3.0, 2.0, 5.0]])
    for width, kept in ((1.0, [True, False, False]), (4.0, [False] * 3)):
        source = LoggedVersusSampled(candidates=40, width=width)
        pairs = source(batch, tabular.actors(scores=scores))
        assert pairs.chosen_N.tolist() == [1, 1, 2]
        assert pairs.rejected_N.tolist() == [2, 2, 2]
        assert pairs.kept_N.tolist() == kept


def test_no_item_that_the_user_has_had_is_in_a_pair(tabular):
    """Of four items the best and the worst, 1 and 4, were seen, and the logged item is 2: pairs are
    of items 3 and 2 alone. Without the mask they are of items 1 and 4. At a position where item 2
    alone is left no pair is kept."""
    actors = tabular.actors([[0.0] * 4], [[0.0] * 4], [[[5.0, 2.0, 3.0, 1.0]]] * 2)
    plain = tabular.batch([[1, 1]], [[2, 2]], [[9.0, 9.0]])
    seen = Excluded(torch.tensor([4, 1, 3, 4, 1]), torch.tensor([0, 2, 5]))
    for source, chosen, rejected in (
        (SampledPairs(40), [3, 2], [2, 2]),
        (LoggedVersusSampled(40), [2, 2], [2, 2]),
    ):
        pairs = source(plain._replace(excluded=seen), actors)
        assert pairs.chosen_N.tolist() == chosen
        assert pairs.rejected_N.tolist() == rejected
        assert pairs.kept_N.tolist() == [chosen[0] != rejected[0], False]
        assert source(plain, actors).rejected_N.tolist() == [4, 4]
    assert SampledPairs(40)(plain, actors).chosen_N.tolist() == [1, 1]
