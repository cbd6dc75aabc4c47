"""Search spaces: which fields may be searched, and how a setting becomes a run."""

from dataclasses import replace

import pytest

from recsys_posttrain.algorithms import ASFT, BC, DPO
from recsys_posttrain.algorithms.signals import model_reward, observed_reward
from recsys_posttrain.errors import UserError
from recsys_posttrain.studies.run import Run
from recsys_posttrain.sweep.space import Between, OneOf, check_space, described, edges, with_setting

RUN = Run(algorithm=ASFT())


def test_a_setting_sets_the_searched_fields_and_no_other():
    space = {
        "algorithm.temperature": Between(0.1, 2.0),
        "algorithm.reward": OneOf((observed_reward, model_reward)),
        "posttraining.learning_rate": Between(1e-4, 1e-2, log=True),
    }
    check_space(RUN, space)
    setting = {
        "algorithm.temperature": 0.5,
        "algorithm.reward": "model_reward",
        "posttraining.learning_rate": 0.001,
    }
    expected = replace(
        RUN,
        algorithm=ASFT(reward=model_reward, temperature=0.5),
        posttraining=replace(RUN.posttraining, learning_rate=0.001),
    )
    assert with_setting(RUN, space, setting) == expected
    assert described(setting) == "temperature=0.5, reward=model_reward, learning_rate=0.001"


def test_a_nested_field_and_an_option_of_none():
    run = Run(algorithm=DPO())
    space = {"algorithm.pairs.candidates": OneOf((4, 8)), "algorithm.beta": Between(1, 2)}
    check_space(run, space)
    found = with_setting(run, space, {"algorithm.pairs.candidates": "4"})
    assert found.algorithm.pairs.candidates == 4
    assert OneOf((None, 20.0)).value("None", 1.0) is None


def test_a_length_is_a_share_of_the_cap_that_all_methods_have():
    """Of 80 steps; the rate's share is no whole number. A share beyond the cap is refused."""
    run = replace(RUN, posttraining=replace(RUN.posttraining, steps=80, learning_rate=0.01))
    share = Between(0.125, 1.0, log=True, share=True)
    space = {"posttraining.steps": share, "posttraining.learning_rate": share}
    check_space(run, space)
    for part, steps, rate in ((1.0, 80, 0.01), (0.3, 24, 0.003), (0.126, 10, 0.00126)):
        plan = with_setting(run, space, dict.fromkeys(space, part)).posttraining
        assert (plan.steps, plan.learning_rate) == (steps, pytest.approx(rate))
    assert share.value(0.001, 80) == 1, "at least one step"
    with pytest.raises(UserError, match="a share is above 0 and at most 1"):
        Between(0.5, 2.0, share=True)
    no_steps = replace(run, posttraining=replace(run.posttraining, steps=None, epochs=1))
    with pytest.raises(UserError, match=r"'posttraining.steps' is None, not a number"):
        check_space(no_steps, space)


@pytest.mark.parametrize(
    ("dimension", "inside", "at_edge"),
    [
        (Between(0.0, 10.0), (1.0, 5.0, 9.0), (0.2, 9.8)),
        (Between(0.01, 100.0, log=True), (0.05, 1.0, 20.0), (0.011, 90.0)),
        (OneOf((0.5, 1.0, 2.0)), ("1.0",), ("0.5", "2.0")),
        (OneOf((None, 1, 2, 3)), ("None", "2"), ("1", "3")),
        (OneOf(("u", "v")), ("u", "v"), ()),
    ],
)
def test_an_edge_is_the_last_twentieth_of_a_range_or_the_last_of_the_numbers(
    dimension, inside, at_edge
):
    assert [dimension.is_edge(each) for each in (*inside, *at_edge)] == (
        [False] * len(inside) + [True] * len(at_edge)
    )
    found = edges({"a.x": dimension, "a.y": Between(0, 1)}, {"a.x": inside[0], "a.y": 1.0})
    assert found == ["y"]


@pytest.mark.parametrize(
    ("path", "dimension", "sentence"),
    [
        ("algorithm.temprature", Between(1, 2), r"did you mean 'algorithm.temperature'\?"),
        ("temperature", Between(1, 2), r"did you mean 'algorithm.temperature'\?"),
        ("backbone.dropout", Between(0, 1), "give a field of algorithm or of posttraining"),
        ("posttraining.patience", OneOf((1, 2)), "the same early stopping"),
        ("posttraining.steps", OneOf((1, 2)), "the same cap"),
        ("posttraining.warmup_steps", Between(1, 9), r"is 50, not a float: search it with OneOf"),
        ("algorithm.reward", Between(1, 9), "is observed_reward, not a float"),
    ],
)
def test_a_field_that_cannot_be_searched_is_named_with_the_fix(path, dimension, sentence):
    with pytest.raises(UserError, match=sentence):
        check_space(RUN, {path: dimension})


def test_ranges_and_options_that_make_no_sense():
    with pytest.raises(UserError, match=r"low must be below high"):
        Between(2, 1)
    with pytest.raises(UserError, match=r"low must be above 0"):
        Between(0, 1, log=True)
    with pytest.raises(UserError, match=r"OneOf\(1, 1\): give at least 2 options that differ"):
        OneOf((1, 1))


def test_an_infeasible_setting_is_refused_by_the_algorithm():
    with pytest.raises(UserError, match=r"temperature=-1.0 must be above 0"):
        with_setting(
            RUN, {"algorithm.temperature": Between(-1, 1)}, {"algorithm.temperature": -1.0}
        )
    assert BC() == with_setting(Run(BC()), {}, {}).algorithm
