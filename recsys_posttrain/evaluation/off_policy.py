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
    SWITCH-DR      v_hat + 1[w <= tau] w (r - r_hat)   tau = 0: DM; tau = inf: DR

The two self-normalised ones are ratios; their per-target form is the value plus its influence
function, whose mean is the ratio itself and whose spread is that of the ratio to first order. So
intervals and paired tests over targets hold, those that draw whole users too (with w r / mean(w),
whose mean is the same, they would be as wide as those of IPS). Where all rewards shift by c, SNIPS
shifts by c and IPS by c mean(w).

"Unbiased" takes three things: the propensities are those of the log; b can show whatever the policy
shows (overlap); and no target was left out for what was chosen. Items that `prepare` drops because
they are rare break the last: IPS and DR's correction are then divided by the share that is kept,
which mean(w) shows; self-normalised forms are not.

Sources: IPS, Horvitz and Thompson (1952); clipping at sqrt(N), Ionides (2008); SNIPS, Swaminathan
and Joachims (2015); DR, Dudik, Langford and Li, arXiv 1103.4601; SWITCH, Wang, Agarwal and Dudik,
arXiv 1612.01205, its tau here by default the same sqrt(N) rather than tuned.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
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
    f"reward/{name}" for name in ("dm", "ips", "clipped-ips", "snips", "dr", "sndr", "switch-dr")
)
WEIGHT, OVERLAP = "ope/weight", "ope/overlap"  # columns: w, and what `overlap` gives
# Beyond these, the estimates are not to be believed. Of DR's 95% intervals in Jester 94 to 96% held
# the truth where the effective sample was 39% of 7,200 targets or more, 90 to 92% where it was 4 to
# 9%, fewer of 1,000 targets, and no form of the interval that was tried mends it: the largest
# weights are not in the log (docs/off_policy.md). Or one target decides; or a twentieth of what the
# policy does was never seen; or mean(w), whose expectation is the overlap, says that the
# propensities or the targets are not the log's.
LEAST_SAMPLE = 400
LEAST_SAMPLE_SHARE = 0.1
LARGEST_SHARE = 0.05
LEAST_OVERLAP = 0.95
STANDARD_ERRORS = 4.0


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


def switch_dr(
    weight_N: Floats, reward_N: Floats, model_N: Floats, expected_N: Floats, tau: float
) -> Floats:
    """DR where the weight is at most tau, the model alone where it is larger."""
    return dr(np.where(weight_N <= tau, weight_N, 0.0), reward_N, model_N, expected_N)


def effective_sample_size(weight_N: Floats) -> float:
    """(sum w)^2 / sum w^2: N where all weights are equal, 1 where one target has all."""
    return float(ratio(weight_N.sum() ** 2, (weight_N**2).sum()))


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


class Support(NamedTuple):
    """How far off-policy estimates can be believed."""

    targets: int
    sample: float  # effective sample size
    largest: float  # weight
    share: float  # of all weights, that of the largest
    mean: float  # weight: an unbiased estimate of the overlap
    error: float  # standard error of the mean weight
    overlap: float  # `overlap`, mean

    @property
    def line(self) -> str:
        return (
            f"effective sample size {self.sample:,.0f} of {self.targets:,} targets, largest weight "
            f"{self.largest:.3g} ({self.share:.1%} of all), mean weight {self.mean:.3g} ± "
            f"{self.error:.2g}, overlap {self.overlap:.1%}"
        )

    @property
    def reasons(self) -> list["Reason"]:
        """Why the estimates are not to be believed; empty where nothing speaks against it."""
        found = []
        if not self.sample >= LEAST_SAMPLE:
            what = f"the effective sample size is below {LEAST_SAMPLE}"
            found.append(Reason(what, self.sample, f"{self.sample:,.0f}"))
        elif self.sample < LEAST_SAMPLE_SHARE * self.targets:
            what = f"the effective sample size is below {LEAST_SAMPLE_SHARE:.0%} of the targets"
            found.append(Reason(what, self.sample, f"{self.sample:,.0f}"))
        if self.share > LARGEST_SHARE:
            what = f"one target has more than {LARGEST_SHARE:.0%} of all weight"
            found.append(Reason(what, self.share, f"{self.share:.0%}"))
        if self.overlap < LEAST_OVERLAP:
            what = "the log never shows some of what the policy does"
            found.append(Reason(what, 1 - self.overlap, f"{1 - self.overlap:.0%}"))
        if abs(self.mean - 1) > max(STANDARD_ERRORS * self.error, 0.01):
            what = (
                "the mean weight is not 1, so the log's policy cannot show what this one does, "
                "propensities are not those of the log, or targets were left out"
            )
            found.append(Reason(what, self.mean, f"{self.mean:.3g} ± {self.error:.2g}"))
        return found

    @property
    def warning(self) -> str:
        """The reasons in words."""
        return "; ".join(f"{each.what} ({each.shown})" for each in self.reasons)


class Reason(NamedTuple):
    what: str
    number: float
    shown: str


def support(rows: pd.DataFrame) -> Support:
    """Of one policy's rows, with the columns WEIGHT and OVERLAP."""
    weight_N = rows[WEIGHT].to_numpy(np.float64)
    largest = float(weight_N.max())
    error = weight_N.std(ddof=1) / math.sqrt(len(rows)) if len(rows) > 1 else math.inf
    return Support(
        *(len(rows), effective_sample_size(weight_N), largest),
        *(float(ratio(largest, weight_N.sum())), float(weight_N.mean()), float(error)),
        float(rows[OVERLAP].mean()),
    )


def support_sentence(rows: pd.DataFrame) -> str:
    """For a caption: how far the estimates of each method can be believed, at its worst seed; empty
    for rows without propensities. rows: with `method` and `seed`."""
    if WEIGHT not in rows:
        return ""
    found: dict[str, Support] = {}
    for (method, _), group in rows[rows[WEIGHT].notna()].groupby(
        ["method", "seed"], sort=False, observed=True
    ):
        each = support(group)
        worst = found.get(str(method))
        if worst is None or each.sample < worst.sample:
            found[str(method)] = each
    samples = [each.sample for each in found.values()]
    sentence = (
        "Off-policy estimates read the log's propensities; their effective sample size is "
        f"{min(samples):,.0f} to {max(samples):,.0f} of {each.targets:,} targets."
    )
    poor: dict[str, list[tuple[str, Reason]]] = {}
    for name, each in found.items():
        for reason in each.reasons:
            poor.setdefault(reason.what, []).append((name, reason))
    said = [f"{what} ({_whose(those, len(found))})" for what, those in poor.items()]
    return sentence + (f" Not to be believed, because {'; '.join(said)}." if said else "")


def _whose(reasons: list[tuple[str, Reason]], rows: int) -> str:
    """By method what was measured, or the range where it is true of every row."""
    if len(reasons) < rows or rows == 1:
        return ", ".join(f"{name} {each.shown}" for name, each in reasons)
    in_order = sorted((each for _, each in reasons), key=lambda each: each.number)
    return f"every row: {in_order[0].shown} to {in_order[-1].shown}"
