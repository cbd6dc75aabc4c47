"""Headroom against loops over users and items, and the sentence of a world without."""

import numpy as np
import pandas as pd
import pytest
import torch
from data_factory import made_corpus

from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.evaluation.headroom import headroom, headroom_lines, share_of_people
from recsys_posttrain.worlds.base import Truth

USERS, ITEMS = 12, 9


@pytest.fixture(scope="module")
def data():
    """12 users with 3 to 8 of 9 items each: of some, fewer than five are left to show."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(3, 9, USERS)
    items = np.concatenate([1 + generator.permutation(ITEMS)[:length] for length in lengths])
    corpus = made_corpus(
        lengths.tolist(),
        items=items.tolist(),
        rewards=np.ones(len(items)).tolist(),
        user_ids=np.arange(USERS),
        item_ids=np.arange(ITEMS),
    )
    return LeaveOneOut(minimum_item_ratings=1).split(corpus)


def truth_of(reward_UV):
    state_UR = torch.from_numpy(reward_UV).float()
    return Truth(state_UR, torch.eye(ITEMS), np.arange(USERS), np.arange(ITEMS))


def test_by_enumeration(data):
    """Means over users of means over what each may still be shown."""
    reward_UV = np.random.default_rng(1).uniform(1, 5, (USERS, ITEMS))
    sequences = data.corpus.sequences
    last_U = sequences.offsets_N1[1:].numpy() - 1
    first_U = sequences.offsets_N1[:-1].numpy()
    items_E = sequences.items_E.numpy() - 1
    count_V = np.zeros(ITEMS)
    for event, item in enumerate(items_E):
        count_V[item] += event not in last_U
    had_UV = np.zeros((USERS, ITEMS), dtype=bool)
    for user in range(USERS):
        had_UV[user, items_E[first_U[user] : last_U[user]]] = True
    mean_V = np.where(had_UV, 0, reward_UV).sum(axis=0) / (~had_UV).sum(axis=0).clip(1)
    names = ("uniform", "log", "popularity", "best fixed list", "oracle")
    expected = {name: ([], []) for name in names}
    for user in range(USERS):
        for event in range(first_U[user], last_U[user] - 1):  # the last two are targets
            for values in expected["log"]:
                values.append(reward_UV[user, items_E[event]])
    assert len(expected["log"][0]) == len(data.train.items_E)
    for user in range(USERS):
        had = set(items_E[first_U[user] : last_U[user]])
        left = [item for item in range(ITEMS) if item not in had]
        own = {item: reward_UV[user, item] for item in left}
        orders = {
            "popularity": sorted(left, key=lambda item: (-count_V[item], item)),
            "best fixed list": sorted(left, key=lambda item: -mean_V[item]),
            "oracle": sorted(left, key=lambda item: -reward_UV[user, item]),
        }
        for name, order in orders.items():
            expected[name][0].append(np.mean([own[item] for item in order[:5]]))
            expected[name][1].append(own[order[0]])
        weight = count_V[left] / count_V[left].sum()
        expected["popularity"][1][-1] = weight @ list(own.values())
        for values in expected["uniform"]:
            values.append(np.mean(list(own.values())))
    found = headroom(truth_of(reward_UV), data)
    assert list(found.index) == list(expected)
    for name, (of_list, of_one) in expected.items():
        assert found.loc[name, "list"] == pytest.approx(np.mean(of_list), abs=1e-6)
        assert found.loc[name, "one"] == pytest.approx(np.mean(of_one), abs=1e-6)


def values_of(popularity, best, oracle):
    rows = ["uniform", "popularity", "best fixed list", "oracle"]
    return pd.DataFrame({"list": [2.0, popularity, best, oracle], "one": 3.0}, index=rows)


@pytest.mark.parametrize(("best", "share", "lines"), [(4.0, 0.5, 1), (4.01, 0.495, 2)])
def test_a_world_without_headroom_says_so(best, share, lines):
    """(5 - 4) / (5 - 3) is just enough."""
    values = values_of(3.0, best, 5.0)
    assert share_of_people(values) == pytest.approx(share)
    said = headroom_lines("mine", values)
    assert len(said) == lines
    assert "uniform 2.000 (3.000), popularity 3.000 (3.000)" in said[0]
    assert all(line.startswith("mine has no headroom: ") for line in said[1:])


def test_where_all_items_are_equal_there_is_no_headroom(data):
    values = headroom(truth_of(np.full((USERS, ITEMS), 3.0)), data)
    assert (values.to_numpy() == 3).all()
    assert "mine has no headroom" in headroom_lines("mine", values)[1]
    assert "there is nothing to gain" in headroom_lines("mine", values)[1]
