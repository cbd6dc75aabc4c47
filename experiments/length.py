"""How long and how fast is post-training? Chosen for BC, on validation targets only, for all:

recsys-posttrain sweep experiments/length.py --dataset ml-1m
"""

from recsys_posttrain.algorithms import BC
from recsys_posttrain.studies.run import Run
from recsys_posttrain.sweep.definition import Method, Sweep
from recsys_posttrain.sweep.sampler import Grid
from recsys_posttrain.sweep.space import OneOf, Space

LENGTH: Space = {
    "posttraining.steps": OneOf((100, 200)),
    "posttraining.learning_rate": OneOf((3e-4, 1e-3)),
}

SWEEP = Sweep(
    base=Run(algorithm=BC()),
    methods=(Method(BC(), LENGTH),),
    sampler=Grid(),
    tuning_seeds=(0,),
    seeds=(),
)
