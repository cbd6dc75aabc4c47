"""What methods gain at the same distance from the reference, between the strengths that were run.

A method's points are its strengths, each with the mean KL to the reference and the mean gain over
it, and the reference itself, at KL 0 with gain 0. Between two neighbours the gain is linear in the
root of KL, because to first order a gain grows with it. Outside its points a method has no gain.
Each seed has its own points; bands are over users, whose values and KL are drawn together, and over
seeds.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from recsys_posttrain.basic_statistics import Floats, ratio, resampled_sums
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats.bootstrap import draws_for, draws_of_seeds, interval, p_value
from recsys_posttrain.stats.columns import OPTIONAL_COLUMNS, Column, value_columns
from recsys_posttrain.stats.runs import per_user, runs_of

KLS = (0.01, 0.03, 0.1, 0.3, 1.0)  # nats
KL = Column("KL", "", "kl")
REFERENCE, TILT = "Pretrained", "Tilt"
CONDITION = ["place", "kind", "level"]
FIELDS = (
    *(*CONDITION, "column", "method", "kl", "gain", "low", "high"),
    *("lead", "lead_low", "lead_high", "p_value", "points", "largest_kl"),
)


def columns_at_equal_kl(sources: Sequence[str]) -> tuple[Column, ...]:
    """In a world what one item and what a list is worth, otherwise what policies are judged by."""
    gold = [each for each in OPTIONAL_COLUMNS if each.source in ("reward/gold", "reward/gold@5")]
    known = tuple(column for column in gold if column.source in sources)
    return known or value_columns(sources)[:1]


def equal_kl(
    rows: pd.DataFrame, scale: RewardScale, *, resamples: int = 2_000, seed: int = 0
) -> pd.DataFrame:
    """A row per noise, column, method with several strengths, and KL of `KLS`: `FIELDS`.

    gain: NaN outside the method's points. lead: what is gained more than by the tilt at decode time
    (the method `TILT`) at that KL, where the rows have it. points: the number of strengths.
    largest_kl: the largest KL that every seed reached. resamples: at least so many draws; more
    where so many leads need them. Empty without the reference or without a
    method of several strengths.
    """
    columns = columns_at_equal_kl(list(rows.columns))
    reference = rows[rows["method"] == REFERENCE]
    counts = rows.groupby([*CONDITION, "method"], sort=False)["strength"].transform("nunique")
    several = rows[(counts > 1) & rows["kl"].notna() & (rows["method"] != REFERENCE)]
    found = [
        dict(zip(CONDITION, condition, strict=True)) | cell
        for condition, part in several.groupby(CONDITION, sort=False)
        if len(reference)
        for cell in _of_condition(
            part, reference, columns, scale, resamples, np.random.default_rng(seed)
        )
    ]
    return pd.DataFrame(found, columns=FIELDS)


def interpolated(x_XP: Floats, y_XP: Floats, at_X: ArrayLike) -> Floats:
    """Of each row the y at its x, linear between the two neighbours by x: [X], any number of
    leading axes. NaN outside the row's points."""
    at_X = np.asarray(at_X, dtype=np.float64)
    order_XP = np.argsort(x_XP, axis=-1)
    x_XP, y_XP = (np.take_along_axis(each, order_XP, -1) for each in (x_XP, y_XP))
    last = x_XP.shape[-1] - 1
    right_X1 = np.minimum((x_XP <= at_X[..., None]).sum(-1, keepdims=True), last)
    left_X1 = np.maximum(right_X1 - 1, 0)
    (x_left, x_right), (y_left, y_right) = (
        [np.take_along_axis(each, side, -1)[..., 0] for side in (left_X1, right_X1)]
        for each in (x_XP, y_XP)
    )
    share_X = np.nan_to_num(ratio(at_X - x_left, x_right - x_left), nan=1.0)
    inside_X = (x_XP[..., 0] <= at_X) & (at_X <= x_XP[..., -1])
    return np.where(inside_X, y_left + share_X * (y_right - y_left), np.nan)


def _of_condition(
    rows: pd.DataFrame,
    reference: pd.DataFrame,
    columns: Sequence[Column],
    scale: RewardScale,
    resamples: int,
    rng: np.random.Generator,
) -> Iterator[dict[str, object]]:
    """All methods of one noise, on the same draws of users."""
    points = rows[["method", "strength"]].drop_duplicates()
    named = rows["method"].astype(str) + "\0" + rows["strength"].astype(str)
    together = pd.concat([reference.assign(method=""), rows.assign(method=named)])
    runs, _ = runs_of(together, [KL, *columns])
    values_CMSN, weights_CN = per_user(runs, [KL, *columns], scale)
    place = {name: number for number, name in enumerate(runs)}
    tests = len(KLS) * points["method"].nunique()
    resamples = draws_for(tests, resamples, values_CMSN[..., 0].size)
    observed_CMS, drawn_RCMS = _means(values_CMSN, weights_CN, resamples, rng)
    seeds_rng = int(rng.integers(2**32))
    users = int((weights_CN[0] > 0).sum())
    for c, column in enumerate(columns, start=1):
        at_kl: dict[str, tuple[Floats, Floats]] = {}
        reach = {}
        for method, of_method in points.groupby("method", sort=False):
            at_P = [place[f"{method}\0{strength}"] for strength in of_method["strength"]]
            seen_SA = _gains(observed_CMS, c, at_P, False)
            reach[method] = float(observed_CMS[0, at_P].max(0).min())
            at_kl[str(method)] = seen_SA, _gains(drawn_RCMS, c, at_P, True)
        for method, (seen_SA, drawn_RSA) in at_kl.items():
            draw = np.random.default_rng(seeds_rng)
            gain_A, draws_RA = draws_of_seeds(seen_SA, drawn_RSA, users, draw)
            lead_A, leads_RA = np.full(len(KLS), np.nan), np.full((1, len(KLS)), np.nan)
            if TILT in at_kl and method != TILT:
                tilt_SA, tilt_RSA = at_kl[TILT]
                draw = np.random.default_rng(seeds_rng)
                lead_A, leads_RA = draws_of_seeds(
                    seen_SA - tilt_SA, drawn_RSA - tilt_RSA, users, draw
                )
            for a, kl in enumerate(KLS):
                gain, lead = (
                    interval(gain_A[a], draws_RA[:, a]),
                    interval(lead_A[a], leads_RA[:, a]),
                )
                yield {
                    "column": column.name,
                    "method": method,
                    "kl": kl,
                    "gain": gain.value,
                    "low": gain.low,
                    "high": gain.high,
                    "lead": lead.value,
                    "lead_low": lead.low,
                    "lead_high": lead.high,
                    "p_value": p_value(leads_RA[:, a]),
                    "points": int((points["method"] == method).sum()),
                    "largest_kl": reach[method],
                }


def _means(
    values_CMSN: Floats, weights_CN: Floats, resamples: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Means over users, [C, M, S], and of users drawn with replacement, [R, C, M, S]."""
    shape = values_CMSN.shape[:3]
    weighted_CMSN = weights_CN[:, None, None] * np.nan_to_num(values_CMSN)
    sums_NK = weighted_CMSN.reshape(-1, values_CMSN.shape[3]).T
    sums_RK = resampled_sums(np.concatenate([sums_NK, weights_CN.T], 1), resamples, rng)
    total_RC = sums_RK[:, sums_NK.shape[1] :]
    drawn_RCMS = ratio(
        sums_RK[:, : sums_NK.shape[1]].reshape(-1, *shape), total_RC[:, :, None, None]
    )
    return ratio(weighted_CMSN.sum(3), weights_CN.sum(1)[:, None, None]), drawn_RCMS


def _gains(means_XCMS: Floats, column: int, at_P: list[int], is_drawn: bool) -> Floats:
    """Gains over the reference, method 0, at each KL: [X, S, A]. A draw of users that does not
    reach a KL which the method reaches has the gain of its farthest point."""
    kl_XSP = np.moveaxis(means_XCMS[..., 0, at_P, :], -2, -1).clip(0)
    value_XSP = np.moveaxis(means_XCMS[..., column, at_P, :], -2, -1)
    gain_XSP = value_XSP - means_XCMS[..., column, 0, :, None]
    zero_XS1 = np.zeros((*gain_XSP.shape[:-1], 1))
    root_XSP = np.sqrt(np.concatenate([zero_XS1, kl_XSP], -1))
    gain_XSP = np.concatenate([zero_XS1, gain_XSP], -1)
    farthest_XS = root_XSP.max(-1) if is_drawn else np.full(root_XSP.shape[:-1], np.inf)
    at_AXS = (np.minimum(np.sqrt(kl), farthest_XS) for kl in KLS)
    return np.stack([interpolated(root_XSP, gain_XSP, at_XS) for at_XS in at_AXS], -1)
