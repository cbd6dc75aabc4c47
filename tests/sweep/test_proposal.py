"""The next setting is a function of finished trials and a seed."""

import math

import pytest
from optuna.trial import TrialState, create_trial

from recsys_posttrain.sweep.proposal import RANDOM_TRIALS, distributions, propose
from recsys_posttrain.sweep.space import Between, OneOf

SPACE = {"a.x": Between(1e-3, 1.0, log=True), "a.y": OneOf(("u", "v"))}


def trial(x, y, value, state=TrialState.COMPLETE):
    return create_trial(
        state=state,
        value=value,
        params={"a.x": x, "a.y": y},
        distributions=distributions(SPACE),
    )


def history(count):
    """Best at x = 0.1 and y = u."""
    found = []
    for seed in range(count):
        setting = propose(SPACE, (), seed)
        distance = abs(math.log10(setting["a.x"]) + 1) + (setting["a.y"] == "v")
        found.append(trial(setting["a.x"], setting["a.y"], -distance))
    return found


def test_same_history_and_seed_same_setting():
    past = history(12)
    assert propose(SPACE, past, 2**40 + 5) == propose(SPACE, past, 2**40 + 5)
    assert propose(SPACE, past, 1) != propose(SPACE, past, 2)
    worst_is_best = [trial(*each.params.values(), -each.value) for each in past]
    assert propose(SPACE, past, 1) != propose(SPACE, worst_is_best, 1)


def test_the_first_trials_do_not_look_back():
    few = history(RANDOM_TRIALS - 1)
    assert propose(SPACE, few, 7) == propose(SPACE, (), 7)
    setting = propose(SPACE, (), 7)
    assert 1e-3 <= setting["a.x"] <= 1.0
    assert setting["a.y"] in ("u", "v")


def test_later_ones_gather_where_it_was_good():
    """Of 40 proposals after 20 trials more have the good option than the half of random ones: 29
    or more of 40 happen by chance with probability .003."""
    past = history(20)
    good = [propose(SPACE, past, seed)["a.y"] == "u" for seed in range(100, 140)]
    assert sum(good) >= 29


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.RUNNING])
def test_trials_without_a_value_do_no_harm(state):
    past = [*history(6), trial(0.5, "v", None, state), create_trial(state=TrialState.FAIL)]
    assert propose(SPACE, past, 3).keys() == SPACE.keys()
