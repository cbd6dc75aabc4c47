"""The sweep of benchmarks/kills.py: small_sweep.py, with a checkpoint after every step. Its trials
are few enough to be drawn at random, so that several workers find the same."""

from small_sweep import SWEEP as SWEEP

from recsys_posttrain.training import fit

fit.SECONDS_BETWEEN_CHECKPOINTS = 0.0
