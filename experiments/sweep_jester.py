"""`sweep_noise.py` in a world, where what policies are truly worth is known:

    recsys-posttrain sweep experiments/sweep_jester.py --workers 2

The models and the split are those of `make study` (noise_vs_quality.py). The truth enters the
table; no setting is chosen by it.
"""

from dataclasses import replace

from noise_vs_quality import base_of
from sweep_noise import SWEEP as NOISE_SWEEP

from recsys_posttrain.worlds.jester import Jester

SWEEP = replace(NOISE_SWEEP, base=base_of(Jester()))
