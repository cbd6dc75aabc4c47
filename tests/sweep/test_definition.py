"""A sweep is refused where it would not be fair; its cells are the ones that noise can change."""

import importlib
from dataclasses import replace

import pytest

from recsys_posttrain.algorithms import ASFT, BC, ExpRSFT
from recsys_posttrain.errors import UserError
from recsys_posttrain.rewards.noise import Flips, ItemBias, RewardNoise
from recsys_posttrain.studies.run import Run
from recsys_posttrain.sweep.definition import Method, Sweep, noise_name
from recsys_posttrain.sweep.sampler import Grid
from recsys_posttrain.sweep.space import Between
from recsys_posttrain.training.posttrain import POSTTRAINING

ONE = {"algorithm.temperature": Between(0.5, 2.0)}
FIELDS = ("learning_rate", "weight_decay", "ema_decay")
THREE = {f"posttraining.{name}": Between(0.1, 0.5) for name in FIELDS}
METHODS = (Method(ExpRSFT(), ONE), Method(ASFT(), ONE, asks_model=True))
SWEEP = Sweep(Run(BC()), METHODS)


def test_a_method_that_does_not_ask_the_model_has_no_cell_where_only_the_model_errs():
    noise = (
        RewardNoise(),
        RewardNoise(model=ItemBias(0.5)),
        RewardNoise(log=Flips(0.2)),
        RewardNoise(model=ItemBias(0.5), log=Flips(0.2, resampled=True)),
    )
    assert [cell.label for cell in replace(SWEEP, noise=noise).cells] == [
        "ExpRSFT",
        "ExpRSFT, Flips 0.2 in the log",
        "ExpRSFT, ItemBias 0.5, Flips 0.2 in the log resampled",
        "ASFT",
        "ASFT, ItemBias 0.5",
        "ASFT, Flips 0.2 in the log",
        "ASFT, ItemBias 0.5, Flips 0.2 in the log resampled",
    ]
    assert noise_name(RewardNoise(model=ItemBias(0.0))) == ""


def test_a_run_of_a_cell_has_its_setting_its_seed_and_noise_of_its_own():
    noisy = replace(SWEEP, noise=(RewardNoise(model=ItemBias(0.5)),))
    (cell,) = noisy.cells
    run = cell.run({"algorithm.temperature": 0.7}, 3)
    assert run.algorithm == ASFT(temperature=0.7)
    noise = RewardNoise(model=ItemBias(0.5), seed=3)
    assert (run.seed, run.noise, run.label) == (3, noise, "ASFT, ItemBias 0.5")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"trials": 0}, "trials=0 tunes nothing; give at least 1 per cell"),
        ({"seeds": (0, 100)}, "seed 100 is in seeds and in tuning_seeds"),
        ({"seeds": ()}, r"seeds=\(\) must be a tuple of one or more whole numbers"),
        ({"seeds": (0, 0)}, r"seeds=\(0, 0\) must be .* each there once"),
        ({"tuning_seeds": (-1,)}, r"tuning_seeds=\(-1,\) must be .* whole numbers from 0"),
        ({"methods": ()}, "methods is empty"),
        (
            {"methods": (METHODS[0], Method(BC(), THREE))},
            r"equally many fields, at least one, and these search 1 \(ExpRSFT\), 3 \(BC\)",
        ),
        ({"methods": (Method(BC(), {}),)}, r"at least one, and these search 0 \(BC\)"),
        ({"sampler": Grid()}, r"search space of ExpRSFT: 'algorithm.temperature' is Between"),
        ({"sampler": Grid(), "seeds": (0, 0)}, r"seeds=\(0, 0\) must be .* each there once"),
        ({"methods": METHODS[:1] * 2}, "two cells are called 'ExpRSFT'"),
        (
            {"methods": (Method(ExpRSFT(), {"algorithm.temprature": Between(0.5, 2.0)}),)},
            "search space of ExpRSFT: .*; did you mean 'algorithm.temperature'",
        ),
    ],
)
def test_what_is_refused(changed, sentence):
    with pytest.raises(UserError, match=sentence):
        replace(SWEEP, **changed)


def tried(file):
    """Of each trial of a grid in experiments/ its run, by label."""
    sweep = importlib.import_module(file).SWEEP
    assert (sweep.tuning_seeds, sweep.seeds) == ((0,), ())
    return [
        (cell.label, cell.run(sweep.sampler.propose(cell.method.space, number, (), 0), 0))
        for cell in sweep.cells
        for number in range(cell.trials)
    ]


def test_the_lengths_and_rates_that_were_tried():
    """A sweep of one method may search what is common to all methods."""
    assert tried("length") == [
        ("BC", replace(Run(BC()), name="BC", posttraining=plan))
        for plan in (
            replace(POSTTRAINING, steps=steps, learning_rate=rate)
            for steps in (100, 200)
            for rate in (3e-4, 1e-3)
        )
    ]
