"""A field out of its range is refused by a sentence that names it."""

import math

import pytest

from recsys_posttrain.algorithms import (
    ASFT,
    AWAC,
    CQL,
    CRR,
    DPO,
    GRPO,
    IPO,
    IQL,
    KTO,
    SA2C,
    SDPO,
    SNQN,
    AdaGRPO,
    ExactPPO,
    ExpRSFT,
    OfflinePPO,
    Pessimistic,
    RobustDPO,
    TopKREINFORCE,
)
from recsys_posttrain.algorithms.losers import LoggedVersusLosers, SampledLosers
from recsys_posttrain.algorithms.pairs import LoggedVersusSampled, SampledPairs
from recsys_posttrain.algorithms.q_learning import QLearning
from recsys_posttrain.algorithms.signals import Mix, ReferenceSoftValue
from recsys_posttrain.errors import UserError

CLIPPED = {"clip": [0.0, 1.0], "kl_coefficient": [-0.1], "refresh_every": [0]}
WRONG = {
    ASFT: {"temperature": [0.0], "weight_cap": [0.0]},
    AdaGRPO: {
        "coefficient": [-0.1],
        "confident": [-0.1, math.nan],
        "separation": [-0.1, 1.1, math.nan],
    },
    AWAC: {"temperature": [0.0, math.nan]},
    CQL: {"alpha": [-0.1], "temperature": [0.0]},
    CRR: {"temperature": [0.0], "weight_cap": [0.0]},
    DPO: {"beta": [0.0], "nll_coefficient": [-1.0]},
    ExactPPO: CLIPPED,
    ExpRSFT: {"temperature": [0.0, -1.0, math.nan], "weight_cap": [0.0, -1.0]},
    GRPO: CLIPPED | {"samples": [1]},
    IQL: {"level": [0.0, 1.0, math.nan], "temperature": [0.0], "weight_cap": [0.0]},
    OfflinePPO: CLIPPED | {"samples": [0]},
    TopKREINFORCE: {"items": [0], "weight_cap": [0.0]},
    IPO: {"beta": [0.0, math.nan]},
    KTO: {"beta": [0.0], "good_weight": [0.0], "bad_weight": [-1.0], "samples": [0]},
    Pessimistic: {"penalty": [-0.1, math.nan]},
    RobustDPO: {"beta": [0.0], "flip_probability": [-0.1, 0.5, math.nan]},
    QLearning: {"discount": [-0.1, 1.0, math.nan], "samples": [0], "renew_every": [0]},
    SA2C: {"coefficient": [-0.1], "cloning_steps": [-1], "weight_cap": [0.0]},
    SNQN: {"coefficient": [-0.1, math.nan]},
    SDPO: {"beta": [0.0]},
    SampledLosers: {"candidates": [1], "width": [-1.0]},
    LoggedVersusLosers: {"candidates": [0], "width": [-1.0]},
    SampledPairs: {"candidates": [1], "width": [-1.0]},
    LoggedVersusSampled: {"candidates": [0], "width": [-1.0]},
    Mix: {"share": [-0.1, 1.1, math.nan]},
    ReferenceSoftValue: {"temperature": [0.0, -1.0]},
}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [(kind, name, each) for kind in WRONG for name, wrong in WRONG[kind].items() for each in wrong],
)
def test_a_field_out_of_range_is_refused(kind, field, value):
    with pytest.raises(UserError, match=f"{kind.__name__}: {field}="):
        kind(**{field: value})
