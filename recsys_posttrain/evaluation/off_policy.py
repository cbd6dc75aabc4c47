"""Off-policy evaluation: what a policy is worth, from a log that another policy b wrote.

A target is a history x, the item a that b chose, and its reward r. What is known of each choice:

    w        pi(a | x) / b(a | x): pi of the policy, exactly, over the items that may be shown; b is
             the propensity that the log states
    r_hat    the reward model's prediction for a
    v_hat    sum over items v of pi(v | x) r_hat(x, v): its expectation under the policy, exactly

Each estimator gives one number per target, and the mean over targets is the estimate:

    DM             v_hat                               no variance of b; as wrong as the model
    IPS            w r                                 unbiased
    clipped IPS    min(w, cap) r                       less variance, biased towards 0
    SNIPS          V + w (r - V) / mean(w)             V = sum(w r) / sum(w); consistent
    DR             v_hat + w (r - r_hat)               unbiased, whatever the model
    SNDR           v_hat + R + w (r - r_hat - R) / mean(w)    R = sum(w (r - r_hat)) / sum(w)
    adjusted DR    mean(y) - beta (mean(w) - 1)        y of DR; the mean of w is known to be 1
    SWITCH-DR      v_hat + 1[w <= tau] w (r - r_hat)   tau = 0: DM; tau = inf: DR

The two self-normalised ones are ratios; their per-target form is the value plus its influence
function, whose mean is the ratio itself and whose spread is that of the ratio to first order. So
intervals and paired tests over targets hold, those that draw whole users too (with w r / mean(w),
whose mean is the same, they would be as wide as those of IPS). Where all rewards shift by c, SNIPS
shifts by c and IPS by c mean(w).

Adjusted DR takes w - 1, whose expectation is 0, as a control variate: beta is the slope of y on w,
so that the estimate is the intercept of a regression at w = 1. Where the log happens to lack the
large weights, DR misses what they would have said and mean(w) shows it. Per target it gives the
jackknife's pseudo-values, N theta - (N - 1) theta without the target, whose spread does not forget
how far one large weight draws the line.

"Unbiased" takes three things: the propensities are those of the log; b can show whatever the policy
shows (overlap); and no target was left out for what was chosen. Items that `prepare` drops because
they are rare break the last: IPS and DR's correction are then divided by the share that is kept,
which mean(w) shows; self-normalised forms are not.

Sources: IPS, Horvitz and Thompson (1952); clipping at sqrt(N), Ionides (2008); SNIPS, Swaminathan
and Joachims (2015); DR, Dudik, Langford and Li, arXiv 1103.4601; SWITCH, Wang, Agarwal and Dudik,
arXiv 1612.01205, its tau here by default the same sqrt(N) rather than tuned; control variates,
Owen and Zhou, Safe and effective importance sampling (2000); pseudo-values, Tukey (1958).
"""

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from recsys_posttrain.basic_statistics import Floats, ratio
from recsys_posttrain.data.notes import note
from recsys_posttrain.data.repeats import removed_for
from recsys_posttrain.evaluation.expectation import expected_unseen
from recsys_posttrain.models.reward_model import RewardModel, score_next
from recsys_posttrain.ops.log_prob import log_prob
from recsys_posttrain.types import Corpus, Targets

ESTIMATORS = tuple(
    f"reward/{name}"
    for name in ("dm", "ips", "clipped-ips", "snips", "dr", "sndr", "adjusted-dr", "switch-dr")
)
ROUNDING = 1e-12  # relative: less is no difference between weights
WEIGHT, OVERLAP = "ope/weight", "ope/overlap"  # columns: w, and what `overlap` gives


def ips(weight_N: Floats, reward_N: Floats) -> Floats:
    """Inverse propensity scoring."""
    return weight_N * reward_N


def clipped_ips(weight_N: Floats, reward_N: Floats, cap: float) -> Floats:
    """IPS with weights of at most `cap`; inf: IPS."""
    return np.minimum(weight_N, cap) * reward_N


def snips(weight_N: Floats, reward_N: Floats) -> Floats:
    """Self-normalised IPS, linearised; NaN where all weights are 0."""
    value = ratio((weight_N * reward_N).sum(), weight_N.sum())
    linear_N: Floats = value + weight_N * ratio(reward_N - value, weight_N.mean())
    return linear_N


def dr(weight_N: Floats, reward_N: Floats, model_N: Floats, expected_N: Floats) -> Floats:
    """Doubly robust. model_N: r_hat; expected_N: v_hat."""
    return expected_N + ips(weight_N, reward_N - model_N)


def self_normalised_dr(
    weight_N: Floats, reward_N: Floats, model_N: Floats, expected_N: Floats
) -> Floats:
    """DR with a self-normalised correction, linearised."""
    return expected_N + snips(weight_N, reward_N - model_N)


def adjusted_dr(weight_N: Floats, reward_N: Floats, model_N: Floats, expected_N: Floats) -> Floats:
    """DR less what the distance of the mean weight from 1 explains, as pseudo-values; DR where all
    weights are equal. A target that alone decides the slope counts as on the line."""
    y_N, n = dr(weight_N, reward_N, model_N, expected_N), len(weight_N)
    from_mean_N = weight_N - weight_N.mean()
    squares = (from_mean_N**2).sum()
    if squares <= ROUNDING * (weight_N**2).sum():
        return y_N
    slope = (from_mean_N * y_N).sum() / squares
    value = y_N.mean() - slope * (weight_N.mean() - 1)
    rest_N = y_N - y_N.mean() - slope * from_mean_N
    leverage_N = 1 / n + from_mean_N**2 / squares
    of_target_N = 1 / n - (weight_N.mean() - 1) * from_mean_N / squares
    alone_N = leverage_N > 1 - ROUNDING
    drawn_N = of_target_N * rest_N / np.where(alone_N, np.inf, 1 - leverage_N)
    pseudo_N: Floats = value + (n - 1) * drawn_N
    return pseudo_N


def switch_dr(
    weight_N: Floats, reward_N: Floats, model_N: Floats, expected_N: Floats, tau: float
) -> Floats:
    """DR where the weight is at most tau, the model alone where it is larger."""
    return dr(np.where(weight_N <= tau, weight_N, 0.0), reward_N, model_N, expected_N)


def overlap(pi_NV: Floats, supported_NV: ArrayLike) -> Floats:
    """The share of the policy's mass on items that the log's policy may show, [N].

    supported_NV: bool, or the log's policy itself (where it is above 0); broadcasts.
    """
    return np.asarray(np.where(np.asarray(supported_NV) > 0, pi_NV, 0.0).sum(axis=1))


def estimates(
    weight_N: ArrayLike,
    reward_N: ArrayLike,
    model_N: ArrayLike | None = None,
    expected_N: ArrayLike | None = None,
) -> dict[str, Floats]:
    """All estimators by their column, per target; without a model those that need none."""
    weight_N, reward_N = (np.asarray(each, dtype=np.float64) for each in (weight_N, reward_N))
    cap = math.sqrt(len(weight_N))
    found = {
        "reward/ips": ips(weight_N, reward_N),
        "reward/clipped-ips": clipped_ips(weight_N, reward_N, cap),
        "reward/snips": snips(weight_N, reward_N),
    }
    if model_N is not None:
        model_N, expected_N = (np.asarray(each, dtype=np.float64) for each in (model_N, expected_N))
        known = weight_N, reward_N, model_N, expected_N
        found |= {
            "reward/dm": expected_N,
            "reward/dr": dr(*known),
            "reward/sndr": self_normalised_dr(*known),
            "reward/adjusted-dr": adjusted_dr(*known),
            "reward/switch-dr": switch_dr(*known, cap),
        }
    return found


@torch.no_grad()
def probability_of_target(state_NR: Tensor, factor_VR: Tensor, targets: Targets) -> Tensor:
    """Of each target's item by the softmax of a ranker's scores over what may be shown, [N]."""
    shown_N1, removed = targets.items_N[:, None], removed_for(targets)
    log_pi_N1 = log_prob(state_NR, factor_VR, shown_N1, excluded=removed)
    return log_pi_N1[:, 0].double().exp().cpu()


@torch.no_grad()
def off_policy_columns(
    state_NR: Tensor,
    factor_VR: Tensor,
    targets: Targets,
    corpus: Corpus,
    reward: RewardModel | None,
) -> dict[str, Floats]:
    """`estimates` for a ranker's scores, in the log's unit, with WEIGHT and OVERLAP.

    targets: of this corpus, with propensities.
    """
    assert targets.propensities_N is not None
    scale = corpus.reward_scale
    chosen_N = probability_of_target(state_NR, factor_VR, targets)
    weight_N = (chosen_N / targets.propensities_N).numpy()
    model = None, None
    if reward is not None and not reward.sums_exactly:
        note(
            "the reward model scores given items only, so that off-policy estimates that need its "
            "mean over the catalogue (dm, dr and others) are left out"
        )
    elif reward is not None:
        asked = targets.times_N, targets.users_N
        model_N1 = score_next(reward, targets.history, targets.items_N[:, None], *asked)
        factors = reward.last_factors(targets.history, *asked)
        expected_N = expected_unseen(state_NR, factor_VR, *factors, targets)
        values = model_N1[:, 0].double().cpu().numpy(), expected_N.numpy()
        model = tuple(scale.from_stars(each) for each in values)
    reward_N = scale.from_stars(targets.rewards_N.double().numpy())
    overlap_N = np.ones(len(weight_N))
    logged_V = torch.bincount(corpus.sequences.items_E - 1, minlength=corpus.num_items) > 0
    if not logged_V.all():
        logged = torch.ones(len(weight_N), 1), logged_V[:, None].float()
        overlap_N = expected_unseen(state_NR, factor_VR, *logged, targets).numpy()
    return estimates(weight_N, reward_N, *model) | {WEIGHT: weight_N, OVERLAP: overlap_N}
