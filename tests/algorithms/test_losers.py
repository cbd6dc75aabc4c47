import math

import torch
from data_factory import doubles

from recsys_posttrain.algorithms.losers import LoggedVersusLosers, SampledLosers
from recsys_posttrain.eligibility import Excluded

# Of two members. Means 2, 3, 7; item 3 is above item 1 by 5 +- 1, item 2 above item 1 by 1 +- 0,
# item 3 above item 2 by 4 +- 1.
SCORES = [[[1.0, 2.0, 5.0]], [[3.0, 4.0, 9.0]]]


def world(tabular, scores, actions, rewards):
    """An even reference, and one context."""
    zeros = torch.zeros(1, len(scores[0][0]))
    return tabular.batch([[1] * len(actions)], [actions], [rewards]), tabular.actors(
        zeros, zeros, scores
    )


def rejected(losers):
    """The items that are, by position."""
    return [
        set(items[is_rejected].tolist())
        for items, is_rejected in zip(losers.items_NK, losers.rejected_NK, strict=True)
    ]


def test_sampled_losers_by_hand(tabular):
    """Of 60 draws item 3 is the best. At width 3 both others are surely below it, at 4.5 item 1
    alone, at 5 none: 5 +- 1 is not more than 5 deviations."""
    batch, actors = world(tabular, SCORES, [1, 1], [9.0, 9.0])
    for width, expected in ((3.0, {1, 2}), (4.5, {1}), (5.0, set())):
        losers = SampledLosers(60, width)(batch, actors)
        assert losers.items_NK.shape == losers.rejected_NK.shape == (2, 60)
        assert losers.items_NK[:, 0].tolist() == [3, 3]
        assert rejected(losers) == [expected] * 2


def test_the_share_of_rejected_draws(tabular):
    """With two draws of three items the pair differs in 2 of 3 positions, and is then kept at width
    0; at 4.5 that of items 2 and 3 falls out."""
    batch, actors = world(tabular, SCORES, [1] * 400, [9.0] * 400)
    for width, share in ((0.0, 2 / 3), (4.5, 4 / 9)):
        rejected_NK = SampledLosers(2, width)(batch, actors).rejected_NK
        assert not rejected_NK[:, 0].any()
        found = rejected_NK[:, 1].double().mean().item()
        assert abs(found - share) < 4 * math.sqrt(share * (1 - share) / 400)


def test_logged_versus_losers_by_hand(tabular):
    """Members say (2, 1, 8) and (4, 2, 8). At width 1 the upper bounds are 4, 2 and 8. Logged item
    1 with reward 3 rejects item 2, with reward 2 nothing; logged item 2 with reward 5 rejects item
    1, but never itself. Without a filter all others are rejected."""
    scores = [[[2.0, 1.0, 8.0]], [[4.0, 2.0, 8.0]]]
    batch, actors = world(tabular, scores, [1, 1, 2], [3.0, 2.0, 5.0])
    for width, expected in (
        (1.0, [{2}, set(), {1}]),
        (4.0, [set(), set(), set()]),
        (None, [{2, 3}, {2, 3}, {1, 3}]),
    ):
        losers = LoggedVersusLosers(60, width)(batch, actors)
        assert losers.items_NK.shape == losers.rejected_NK.shape == (3, 61)
        assert losers.items_NK[:, 0].tolist() == [1, 1, 2]
        assert not losers.rejected_NK[:, 0].any()
        assert rejected(losers) == expected


def test_without_a_filter_no_reward_is_read(tabular, monkeypatch):
    batch, actors = world(tabular, SCORES, [1], [9.0])
    monkeypatch.delattr(type(actors.reward), "member_factors")
    assert rejected(LoggedVersusLosers(60, None)(batch, actors)) == [{2, 3}]


def test_an_item_is_never_rejected_for_itself(tabular, monkeypatch):
    """One item alone can be drawn, also where rounding tells its copies apart."""
    reference = doubles([0.0, -1e4])
    actors = tabular.actors(reference, reference, [[3.0, 1.0]])
    rounded = lambda _, items_NK: 3 + 1e-7 * torch.arange(items_NK.shape[1]).expand_as(items_NK)  # noqa: E731
    monkeypatch.setattr(actors.reward, "score", rounded)
    batch = tabular.batch([[1]], [[1]], [[9.0]])
    for source in (SampledLosers(width=0.0), LoggedVersusLosers(width=0.0)):
        losers = source(batch, actors)
        assert set(losers.items_NK.flatten().tolist()) == {1}
        assert not losers.rejected_NK.any()


def test_draws_come_from_the_reference_and_are_eligible(tabular):
    """The reference never draws item 3, and the policy only it; item 2 is not eligible."""
    reference, policy = doubles([0.0, 0.0, -1e4, 0.0]), doubles([-1e4, -1e4, 0.0, -1e4])
    scores = [[[1.0, 2.0, 3.0, 4.0]]] * 2  # two members that agree
    actors = tabular.actors(reference, policy, scores, old=policy)
    batch = tabular.batch([[1] * 50], [[1] * 50], [[9.0] * 50])
    out = Excluded(torch.tensor([2] * 50), torch.arange(51))
    for source in (SampledLosers(), LoggedVersusLosers(), LoggedVersusLosers(width=None)):
        assert set(source(batch, actors).items_NK.flatten().tolist()) == {1, 2, 4}
        masked = source(batch._replace(excluded=out), actors)
        assert set(masked.items_NK.flatten().tolist()) == {1, 4}
