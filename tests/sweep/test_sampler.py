"""The next setting is a function of known trials and a seed."""

import math

import pytest
from optuna.trial import TrialState, create_trial

from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep.sampler import RANDOM_TRIALS, TPE, Grid
from recsys_posttrain.sweep.space import Between, OneOf, distributions

SPACE = {"a.x": Between(1e-3, 1.0, log=True), "a.y": OneOf(("u", "v"))}


def propose(past, seed):
    return TPE().propose(SPACE, 0, past, seed)


def trial(x, y, value, state=TrialState.COMPLETE):
    return create_trial(
        state=state, value=value, params={"a.x": x, "a.y": y}, distributions=distributions(SPACE)
    )


def history(count):
    """Best at x = 0.1 and y = u."""
    found = []
    for seed in range(count):
        setting = propose((), seed)
        distance = abs(math.log10(setting["a.x"]) + 1) + (setting["a.y"] == "v")
        found.append(trial(setting["a.x"], setting["a.y"], -distance))
    return found


def test_same_history_and_seed_same_setting():
    past = history(12)
    assert propose(past, 2**40 + 5) == propose(past, 2**40 + 5)
    assert propose(past, 1) != propose(past, 2)
    worst_is_best = [trial(*each.params.values(), -each.value) for each in past]
    assert propose(past, 1) != propose(worst_is_best, 1)


def test_the_first_trials_do_not_look_back():
    few = history(RANDOM_TRIALS - 1)
    assert propose(few, 7) == propose((), 7)
    setting = propose((), 7)
    assert 1e-3 <= setting["a.x"] <= 1.0
    assert setting["a.y"] in ("u", "v")


def test_later_ones_gather_where_it_was_good():
    """Of 40 proposals after 20 trials more have the good option than the half of random ones: 29
    or more of 40 happen by chance with probability .003."""
    past = history(20)
    good = [propose(past, seed)["a.y"] == "u" for seed in range(100, 140)]
    assert sum(good) >= 29


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.RUNNING])
def test_trials_without_a_value_do_no_harm(state):
    past = [*history(6), trial(0.5, "v", None, state), create_trial(state=TrialState.FAIL)]
    assert propose(past, 3).keys() == SPACE.keys()


GRID = {"a.x": OneOf((0.5, 1.0, 2.0)), "a.y": OneOf(("u", None))}


@pytest.mark.parametrize(("history", "seed"), [((), 0), ([trial(0.5, "v", 1.0)], 7)])
def test_a_grid_tries_every_combination_once_in_its_order(history, seed):
    """Whatever is known and whatever the seed, so that any number of workers tries the same."""
    count = Grid().budget(GRID, 1)
    tried = [Grid().propose(GRID, number, history, seed) for number in range(count)]
    assert [" ".join(each[name] for name in ("a.x", "a.y")) for each in tried] == [
        *("0.5 u", "0.5 None", "1.0 u", "1.0 None", "2.0 u", "2.0 None")
    ]


def test_a_grid_has_values_and_no_ranges_and_one_trial_where_nothing_is_searched():
    assert Grid().budget({}, 20) == 1
    assert Grid().propose({}, 0, (), 0) == {}
    Grid().check({"BC": {}, "ASFT": GRID})
    with pytest.raises(UserError, match=r"^search space of ASFT: 'a.x' is Between.*: give OneOf"):
        Grid().check({"ASFT": SPACE})


def test_the_words_for_a_caption():
    every = "every combination of the searched values (BC 1, ASFT 6)"
    assert Grid().described({"BC": {}, "ASFT": GRID}, 20) == every
    one = "1 trial of TPE over 2 fields for each method under each noise"
    assert TPE().described({"ASFT": SPACE}, 1) == one
