"""Which method for which quality of the reward model and of the log? One log of the three:

    recsys-posttrain run experiments/log_quality.py --full-seeds --set dataset.preference=0
    recsys-posttrain run experiments/log_quality.py --full-seeds
    recsys-posttrain run experiments/log_quality.py --full-seeds --set dataset.preference=2

`preference` says how much the logging policy of Jester follows what people like: 0 not at all, .5
elsewhere, 2 strongly. In each log the ten methods of DESIGN.md meet four reward models: worse by a
bias for each item, by a tenth of its users, as it is, and better by half of the truth. The judge
chooses every strength, under each of them anew. log_quality_map.py draws the map.
"""

from functools import partial

from noise_vs_quality import (
    METHODS,
    REDRAWS_NOISE,
    TRIALS,
    Kind,
    base_of,
    grid,
    next_runs,
)
from whole_field import FIELD

from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.rewards.noise import ItemBias, Starvation, TruthShare
from recsys_posttrain.studies.rules import JUDGE, WORDS
from recsys_posttrain.studies.run import Run
from recsys_posttrain.worlds.jester import Jester

NAMES = ("FilteredBC, length chosen", "IPO", "GRPO(Dr)", "CQL")
TEN = (
    *(method for method in METHODS if method.name != "RWR"),
    *(method for method in FIELD if method.name in NAMES),
)
MODELS: dict[Kind, tuple[float, ...]] = {ItemBias: (0.6,), Starvation: (0.9,), TruthShare: (0.5,)}


def runs_on(dataset: Dataset = Jester()) -> list[Run]:
    return grid(base_of(dataset), TEN, (), MODELS, {}, {})


RUNS = runs_on
CHOSEN_BY = JUDGE
NEXT_RUNS = partial(next_runs, rule=CHOSEN_BY, kinds=(ItemBias, Starvation, TruthShare))
TUNING = TRIALS.format(WORDS[CHOSEN_BY])
SEEDS = (0, 1, 2)
__all__ = ["CHOSEN_BY", "NEXT_RUNS", "REDRAWS_NOISE", "RUNS", "SEEDS", "TUNING"]
