"""How good is a reward model for a policy? The correlation with the value of what can be learned.

    corr_n = Corr(p(n, v), r*(n, v)),   v ~ pi_ref(. | n) over the items that may be shown

p is the part of r_hat that a policy can represent to first order: the ridge regression of
r_hat(., v) on the reference's hidden state, with an intercept, for each item v. Since r_hat is
state . factor, one regression of the states serves all items. r* is the true reward of a world,
elsewhere a judge's prediction. To first order a policy gains corr_n sd(r*) sqrt(2 KL) in context n.
So an error counts as far as it can be learned and changes the order: what is independent in each
history averages out in the regression, and what is the same for all items cancels.

The regression is fitted where policies are trained, the correlation measured at targets.

Q = D + 1: the hidden state after a 1.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.basic_statistics import ratio, resampled_sums
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.repeats import removed_for, rule_of
from recsys_posttrain.eligibility import leave_out
from recsys_posttrain.evaluation.ranking import item_slices, score_chunks
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.ops.logsumexp import LARGEST_BUFFER
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Split, Targets

POSITIONS = 2**15  # of the regression: with 64 columns, what they fit by chance is .2% of the noise
SEQUENCES = 64  # at a time
PENALTY = 1e-6  # of the sum of squares of a column: it decides where columns are collinear
TEMPORARIES = 6  # float64 arrays of a chunk at once
FLAT = 1e-12  # a variance below this share of the mean square is rounding
RESAMPLES = 1000


class Projected(NamedTuple):
    """Mean over targets, with a 95% interval over users. targets: those with a correlation; in the
    others fewer than two items may be shown, or r* is the same for all."""

    value: float
    low: float
    high: float
    targets: int


def projected_correlation(
    reward: RewardModel,
    value: tuple[Tensor, Tensor],
    reference: Policy,
    data: Split,
    targets: Targets,
    seed: int = 0,
) -> Projected:
    """value: state_NR at the targets and factor_VR, of r*. seed: of the users of the regression and
    of the interval."""
    weight_QR, factor_VR = projection(reward, reference, data, seed)
    hidden_ND, item_embedding_VD = reference.scores(targets.history, targets.times_N)
    projected_NR = _with_one(hidden_ND) @ weight_QR
    correlation_N = correlation_under(
        (hidden_ND, item_embedding_VD), (projected_NR, factor_VR), value, targets
    ).numpy()
    known_N = ~np.isnan(correlation_N)
    if not known_N.any():
        return Projected(np.nan, np.nan, np.nan, 0)
    user_N = np.unique(targets.users_N.numpy()[known_N], return_inverse=True)[1]
    sums_U2 = np.stack([np.bincount(user_N, correlation_N[known_N]), np.bincount(user_N)], axis=1)
    generator = np.random.default_rng(derived_seed(seed, "projected correlation"))
    drawn_R2 = resampled_sums(sums_U2.astype(float), RESAMPLES, generator)
    low, high = np.percentile(ratio(*drawn_R2.T), [2.5, 97.5])
    mean = float(correlation_N[known_N].mean())
    return Projected(mean, float(low), float(high), int(known_N.sum()))


@torch.no_grad()
def projection(
    reward: RewardModel, reference: Policy, data: Split, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """weight_QR, float64, and factor_VR: [1, h] weight . factor_v is the regression of r_hat(., v)
    on h.

    Over the training positions of users who are drawn evenly, up to POSITIONS. Errors that are
    drawn anew in every step count with their mean, 0.
    """
    reward.resample(None)
    reference.eval()
    generator = torch.Generator().manual_seed(derived_seed(seed, "projection"))
    rows_N = torch.randperm(len(data.train), generator=generator)
    length_N = (data.train.lengths_N[rows_N] - 1).clamp(min=0, max=reference.max_length)
    kept_N = (length_N > 0) & (length_N.cumsum(dim=0) - length_N < POSITIONS)
    device = reference.item_embedding_VD.device
    square_QQ = product_QR = factor_VR = torch.zeros(())
    for rows_B in torch.split(rows_N[kept_N], SEQUENCES):
        batch = batch_of(
            data.train,
            rows_B,
            reference.max_length,
            rule=rule_of(data.corpus),
        ).to(device)
        state_NR, factor_VR = reward.factors(batch)
        row_NQ = _with_one(reference.hidden_states(batch).cpu())
        square_QQ = square_QQ + row_NQ.T @ row_NQ
        product_QR = product_QR + row_NQ.T @ state_NR.double().cpu()
    reward.clear_cache()
    # The intercept is not shrunk: rows and columns of the others are centred on their means.
    count, total_Q = square_QQ[0, 0], square_QQ[0]
    centred_DD = (square_QQ - torch.outer(total_Q, total_Q) / count)[1:, 1:]
    centred_DR = product_QR[1:] - total_Q[1:, None] * product_QR[0] / count
    scale_D = centred_DD.diagonal().clamp(min=FLAT * float(square_QQ.diagonal().max())).sqrt()
    scaled_DD = centred_DD / torch.outer(scale_D, scale_D)
    scaled_DD = scaled_DD + PENALTY * torch.eye(len(scale_D), dtype=torch.float64)
    weight_DR = torch.linalg.solve(scaled_DD, centred_DR / scale_D[:, None]) / scale_D[:, None]
    intercept_1R = (product_QR[:1] - total_Q[None, 1:] @ weight_DR) / count
    return torch.cat([intercept_1R, weight_DR]), factor_VR


@torch.inference_mode()
def correlation_under(
    policy: tuple[Tensor, Tensor],
    first: tuple[Tensor, Tensor],
    second: tuple[Tensor, Tensor],
    targets: Targets,
    chunk: int | None = None,
) -> Tensor:
    """The correlation of two products state_n . factor_v for v ~ softmax(policy) over the items
    that may be shown at target n (data/repeats.py), exactly, [N], float64 on the CPU.

    policy, first, second: state and factor each. 0 where `first` is the same for all items, since
    it says nothing about their order; NaN where `second` is, or fewer than two may be shown.
    """
    # Deviations from the plain mean over items, so that sums of squares keep their digits.
    states = [state_NR.double().cpu() for state_NR, _ in (first, second)]
    means = [factor_VR.double().cpu().mean(dim=0) for _, factor_VR in (first, second)]
    parts, num_items = item_slices(len(policy[1])), len(policy[1])
    found_N = torch.empty(len(policy[0]), dtype=torch.float64)
    step = max(1, LARGEST_BUFFER // (8 * TEMPORARIES * num_items))
    for rows, score_nV, seen in score_chunks(*policy, None, removed_for(targets), chunk):
        leave_out(score_nV, seen)
        for start in range(0, len(score_nV), step):
            pi_nV = score_nV[start : start + step].double().softmax(dim=1).cpu()
            here = slice(rows.start + start, rows.start + start + len(pi_nV))
            moments_n5 = torch.zeros(len(pi_nV), 5, dtype=torch.float64)
            for part in parts:
                x_nS, y_nS = (
                    state_NR[here] @ (factor_VR[part].double().cpu() - mean_R).T
                    for state_NR, (_, factor_VR), mean_R in zip(
                        states, (first, second), means, strict=True
                    )
                )
                pi_nS = pi_nV[:, part]
                x_pi_nS, y_pi_nS = pi_nS * x_nS, pi_nS * y_nS
                pairs = [(pi_nS, x_nS), (pi_nS, y_nS)]
                pairs += [(x_pi_nS, x_nS), (x_pi_nS, y_nS), (y_pi_nS, y_nS)]
                sums = [torch.einsum("ns,ns->n", *pair) for pair in pairs]
                moments_n5 += torch.stack(sums, dim=1)
            found_N[here] = _correlation(moments_n5)
    return found_N


def _correlation(moments_n5: Tensor) -> Tensor:
    x_n, y_n, xx_n, xy_n, yy_n = moments_n5.unbind(dim=1)
    x_var_n, y_var_n = xx_n - x_n * x_n, yy_n - y_n * y_n
    x_var_n = x_var_n.where(x_var_n > FLAT * xx_n, 0.0)
    y_var_n = y_var_n.where(y_var_n > FLAT * yy_n, 0.0)
    correlation_n = (xy_n - x_n * y_n) / (x_var_n * y_var_n).sqrt()
    correlation_n = correlation_n.clamp(min=-1, max=1).where(x_var_n > 0, 0.0)
    return correlation_n.where(y_var_n > 0, torch.nan)


def _with_one(hidden_ND: Tensor) -> Tensor:
    return torch.nn.functional.pad(hidden_ND.double(), (1, 0), value=1.0)
