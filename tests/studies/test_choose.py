"""Which strength is chosen, with doing nothing as a candidate, and where more are tried."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from recsys_posttrain.algorithms import BC
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.subsets import liked
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.studies.choose import (
    NOTHING,
    TRIAL,
    chosen,
    extended,
    few_targets,
)
from recsys_posttrain.studies.rules import OWN
from recsys_posttrain.studies.run import Run

CLEAN, BIASED = ("", "", 0.0), ("model", "ItemBias", 1.0)


def test_the_strength_with_the_best_mean_over_seeds_is_chosen() -> None:
    """Weak: mean .25; strong: .30, although it has the worst seed. Under noise the reverse."""
    rows = [
        [*noise, "PPO", strength, seed, value]
        for noise, values in ((CLEAN, (0.2, 0.3, 0.1, 0.5)), (BIASED, (0.2, 0.3, 0.1, 0.2)))
        for (seed, strength), value in zip(
            [(0, "weak"), (1, "weak"), (0, "strong"), (1, "strong")], values, strict=True
        )
    ]
    found = chosen(pd.DataFrame(rows, columns=[*TRIAL, "seed", OWN]))
    assert found[TRIAL].to_numpy().tolist() == [[*CLEAN, "PPO", "strong"], [*BIASED, "PPO", "weak"]]


@pytest.mark.parametrize(
    ("means", "best", "at_edge"),
    [
        ({"weak": 0.3, "middle": 0.2, "strong": 0.1}, "weak", True),
        ({"weak": 0.2, "middle": 0.3, "strong": 0.1}, "middle", False),
        ({"weak": 0.2, "middle": 0.1, "strong": 0.3}, "strong", True),
        ({NOTHING: 0.4, "weak": 0.3, "middle": 0.2, "strong": 0.1}, NOTHING, False),
        ({NOTHING: 0.1, "only": 0.3}, "only", False),  # no grid, no edge
        ({NOTHING: 0.3, "weak": 0.3, "strong": 0.1}, NOTHING, False),  # as good for nothing
    ],
)
def test_doing_nothing_is_a_candidate_and_an_edge_is_named(
    means: dict[str, float], best: str, at_edge: bool
) -> None:
    rows = [[*CLEAN, "PPO", strength, 0, value] for strength, value in means.items()]
    found = chosen(pd.DataFrame(rows, columns=[*TRIAL, "seed", OWN]))
    assert found[["strength", "at_edge"]].to_numpy().tolist() == [[best, at_edge]]


LADDER = [Run(BC(), strength=name) for name in ("a", "b", "c", "d", "e", "f")]


@pytest.mark.parametrize(
    ("tried", "means", "wanted"),
    [
        ("", {}, "cd"),  # at first those in the middle
        ("cd", {"c": 0.3, "d": 0.2}, "b"),
        ("bcd", {"b": 0.4, "c": 0.3, "d": 0.2}, "a"),
        ("abcd", {"a": 0.5, "b": 0.4, "c": 0.3, "d": 0.2}, ""),  # nothing beyond
        ("bcd", {"b": 0.2, "c": 0.3, "d": 0.2}, ""),  # no longer at the edge
        ("cd", {"c": 0.2, "d": 0.3}, "e"),
        ("cd", {NOTHING: 0.4, "c": 0.2, "d": 0.3}, ""),
        ("cde", {"c": 0.2, "d": 0.3}, ""),  # e was tried, and its training failed
    ],
)
def test_a_grid_is_extended_where_the_best_strength_lies_at_its_edge(
    tried: str, means: dict[str, float], wanted: str
) -> None:
    rows = [[*CLEAN, "BC", strength, 0, value] for strength, value in means.items()]
    validation = pd.DataFrame(rows, columns=[*TRIAL, "seed", OWN])
    built = [run for run in LADDER if run.strength in tried]
    found = extended(LADDER, built, validation, lambda run: run.strength in "cd")
    assert [run.strength for run in found] == list(wanted)


@pytest.mark.parametrize(("rewards", "line"), [([4.0, 5.0, 3.0], ""), ([4.0, 3.0, 3.0], "1 liked")])
def test_fewer_targets_than_candidates_are_said(rewards: list[float], line: str) -> None:
    found = few_targets(_split(rewards), liked, 2)
    assert found.startswith(line)
    assert bool(found) == bool(line)


def test_nothing_is_chosen_on_nothing() -> None:
    with pytest.raises(UserError, match="none of the 2 validation targets of made is liked"):
        few_targets(_split([3.0, 3.5]), liked, 2)


def _split(rewards: list[float]) -> Any:
    corpus = SimpleNamespace(reward_scale=RewardScale(), name="made")
    return SimpleNamespace(
        corpus=corpus, validation=SimpleNamespace(rewards_N=torch.tensor(rewards))
    )
