"""The Jester world: its log is what its text says, and its truth is the file."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys_posttrain.data import prepare
from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds.base import World, truth_of
from recsys_posttrain.worlds.jester import Jester


@pytest.fixture
def world(small_jester):
    return Jester(users=30, length=12, data_root=str(small_jester.path))


def test_the_log_shows_different_jokes_and_the_persons_own_rating(world, small_jester):
    interactions = world.load()
    frame = interactions.frame
    assert isinstance(world, World)
    assert interactions.name == world.name == "jester"
    assert interactions.content_hash == world.content_hash()
    assert list(frame.columns) == ["user_id", "item_id", "rating", "timestamp", "propensity"]
    people = frame["user_id"].unique()
    assert len(people) == 30
    assert {user - 1 for user in people} < set(small_jester.complete_rows)
    for user, events in frame.groupby("user_id"):
        assert events["item_id"].is_unique
        assert (events["timestamp"].diff().dropna() > 0).all()
        rating_E = small_jester.rating_UV[user - 1, events["item_id"] - 1]
        np.testing.assert_array_equal(events["rating"], 3 + rating_E / 5)
    assert frame["rating"].between(1, 5).all()


def test_propensities_without_noise_are_the_formula(world, small_jester):
    """count ** popularity * exp(preference * reward), over the jokes not shown yet."""
    world = replace(world, popularity=1.5, preference=0.7, noise=0.0)
    frame = world.load().frame
    propensity_E = frame["propensity"].to_numpy()
    others = [row for row in range(65) if row not in small_jester.complete_rows]
    count = [sum(small_jester.rating_UV[row, v] != 99 for row in others) for v in range(100)]
    for user, events in frame.groupby("user_id"):
        reward_V = 3 + small_jester.rating_UV[user - 1] / 5
        weight = np.array(count) ** 1.5 * np.exp(0.7 * reward_V)
        assert 3 <= len(events) <= 12
        for row, joke in zip(events.index, events["item_id"], strict=True):
            assert propensity_E[row] == pytest.approx(weight[joke - 1] / weight.sum(), rel=1e-9)
            weight[joke - 1] = 0


def test_the_last_joke_is_at_a_random_position(world):
    """Lengths 3 to 12, evenly: mean 7.5 and variance 99 / 12 for each of 30 users."""
    length_U = world.load().frame.groupby("user_id").size()
    assert abs(length_U.mean() - 7.5) < 4 * np.sqrt(99 / 12 / 30)
    assert length_U.nunique() > 5
    assert length_U.between(3, 12).all()
    assert (world.load().frame.groupby("user_id")["timestamp"].max() == 60 * length_U).all()
    longest = replace(world, length=100)
    assert longest.load().frame.groupby("user_id").size().between(3, 100).all()


def test_how_long_a_log_is_does_not_depend_on_what_it_shows(world):
    """Other draws with the same seed have the same lengths, so no propensity is conditioned."""
    lengths = [
        replace(world, popularity=popularity).load().frame.groupby("user_id").size()
        for popularity in (0.0, 6.0)
    ]
    assert lengths[0].equals(lengths[1])


def test_everything_follows_from_the_fields_and_not_from_the_place_of_the_file(
    world, small_jester, tmp_path
):
    again = replace(world, data_root=str(tmp_path))
    assert again == world
    assert again.load().frame.equals(world.load().frame)
    changes = {"seed": (0, 1, 2), "users": (29,), "length": (13,), "popularity": (0.5,)}
    changes |= {"preference": (1.0,), "noise": (0.0,)}
    worlds = [replace(world, **{name: v}) for name, values in changes.items() for v in values]
    assert len({each.content_hash() for each in worlds}) == 8


def test_the_truth_of_a_corpus_is_the_file_also_where_jokes_are_dropped(world, small_jester):
    world = replace(world, popularity=6.0)
    corpus = prepare(world, minimum_item_ratings=5)
    assert corpus.num_items < 100
    assert corpus.item_ids.tolist() != sorted(corpus.item_ids.tolist())
    truth = truth_of(world, corpus)
    reward_UV = truth.rewards(torch.arange(30))
    assert reward_UV.shape == (30, corpus.num_items)
    rating_UV = small_jester.rating_UV[np.ix_(corpus.user_ids - 1, corpus.item_ids - 1)]
    np.testing.assert_array_equal(reward_UV, (3 + rating_UV / 5).astype(np.float32))
    sequences = corpus.sequences
    user_E = torch.arange(30).repeat_interleave(sequences.lengths_N)
    logged_E = truth.rewards_of(user_E, sequences.items_E[:, None])[:, 0]
    assert torch.equal(logged_E, sequences.rewards_E)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": 7201}, "users=7201, but 7,200 users rated all 100 jokes; ask for 1 to 7,200"),
        ({"users": 0}, "users=0, but 7,200 users rated all 100 jokes"),
        ({"length": 101}, "length=101 must be from 3"),
        ({"length": 2}, "length=2 must be from 3"),
        ({"noise": -1.0}, "noise=-1.0 must be 0 or more"),
    ],
)
def test_what_cannot_be_asked_for(change, message):
    with pytest.raises(UserError, match=message):
        Jester(**change)


def test_the_real_block(shared_data):
    """The means of all ratings and of each person's best five, as a script of pandas alone gives
    them: rounded to whole stars they would be 3.2234 and 4.6314."""
    reward_UV = Jester(data_root=str(shared_data)).truth().state_UR.double()
    assert reward_UV.shape == (7_200, 100)
    assert float(reward_UV.mean()) == pytest.approx(3.219425, abs=1e-5)
    assert float(reward_UV.topk(5).values.mean()) == pytest.approx(4.527893, abs=1e-5)
    assert float(reward_UV.round().mean()) == pytest.approx(3.2234, abs=1e-4)
