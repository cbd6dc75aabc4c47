"""The study of benchmarks/kills.py: small_study.py, with a checkpoint after every step."""

from small_study import RUNS as RUNS

from recsys_posttrain.training import fit

fit.SECONDS_BETWEEN_CHECKPOINTS = 0.0
