import math

import torch
from data_factory import doubles

from recsys_posttrain.algorithms.pairs import EnsemblePairs, LoggedVersusSampled, separated_pair


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
    kept = pairs.kept_N
    assert set(pairs.chosen_N[kept].tolist()) == {3}
    assert set(pairs.rejected_N[kept].tolist()) == {1, 2}
    deviation = math.sqrt(4 / 9 * 5 / 9 / 400)
    assert abs(kept.double().mean().item() - 4 / 9) < 4 * deviation

    of_many = draws_of_all_items(tabular, scores, catalogue=3, candidates=60)
    assert set(of_many.chosen_N.flatten().tolist()) == {3}
    assert set(of_many.rejected_N.flatten().tolist()) == {2}
    # At width 3: [-1, 5], [2, 2], [3, 9]. Items 2 and 3 still separate, by 3 > 2.
    assert draws_of_all_items(tabular, scores, 3, 60, width=3.0).kept_N.all()
    # At width 5: [-3, 7], [2, 2], [1, 11]. Nothing does.
    assert not draws_of_all_items(tabular, scores, 3, 60, width=5.0).kept_N.any()


def test_candidates_come_from_the_reference(tabular):
    """The reference never draws item 3 and the policy only it."""
    reference, policy = doubles([0.0, 0.0, -1e4]), doubles([-1e4, -1e4, 0.0])
    batch = tabular.batch([[1] * 50], [[3] * 50], [[9.0] * 50])
    actors = tabular.actors(reference, policy, [[1.0, 2.0, 3.0]], old=policy)
    for source in (EnsemblePairs(), LoggedVersusSampled()):
        assert 3 not in source(batch, actors).rejected_N
    assert 3 not in EnsemblePairs()(batch, actors).chosen_N


def test_logged_versus_sampled_by_hand(tabular):
    """Intervals at width 1: item 1 [1, 3], item 2 [2, 2]. Of many draws item 2 has the lowest upper
    bound, 2. Logged item 1 with reward 3 beats it, with reward 2 it does not; and the logged
    item is never paired with itself."""
    scores = doubles([[1.0, 2.0]], [[3.0, 2.0]])
    actors = tabular.actors(scores=scores)
    batch = tabular.batch([[1, 1, 1]], [[1, 1, 2]], [[3.0, 2.0, 5.0]])
    pairs = LoggedVersusSampled(candidates=40)(batch, actors)
    assert pairs.chosen_N.tolist() == [1, 1, 2]
    assert pairs.rejected_N.tolist() == [2, 2, 2]
    assert pairs.kept_N.tolist() == [True, False, False]
    # At width 0 item 1 is 2 and item 2 is 2 as well; at width 4 item 2 has still 2, item 1 has 6.
    wide = LoggedVersusSampled(candidates=40, width=4.0)(batch, actors)
    assert wide.rejected_N.tolist() == [2, 2, 2]
