"""The errors of a judge that errs like the reward model, to a degree.

    e_judge = rho e + sqrt(1 - rho^2) e'

e is the error field of the model and e' another draw of the same kind and level, so that the two
errors have the same spread and correlate by rho: 0 is a judge with errors of its own, 1 one that is
deceived wherever the model is.
"""

import math

import torch
from torch import Tensor

from recsys_posttrain.rewards.noise.base import Field
from recsys_posttrain.types import Batch

CORRELATIONS = (0.0, 0.5, 1.0)  # of the judges that a study can have


def correlated(of_model: Field, of_judge: Field, rho: float) -> Field:
    """rho of_model + sqrt(1 - rho^2) of_judge; at 1 the field of the model itself."""
    if rho == 1:
        return of_model
    own = math.sqrt(1 - rho**2)

    def columns(batch: Batch) -> tuple[Tensor, Tensor]:
        (state_NQ, factor_VQ), (own_NQ, own_VQ) = of_model(batch), of_judge(batch)
        both_NQ = torch.cat([rho * state_NQ, own * own_NQ], dim=1)
        return both_NQ, torch.cat([factor_VQ, own_VQ], dim=1)

    return columns


def judge_column(rho: float) -> str:
    """Of the rows: what this judge says of the ten items shown."""
    return f"reward/judge({rho:g})@10"
