"""The numbers of a comparison table: per method and column a mean, a difference, a test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_posttrain.basic_statistics import Floats
from recsys_posttrain.errors import UserError, did_you_mean, nearest
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats.aggregates import improvement, iqm_freedom, iqm_over_seeds
from recsys_posttrain.stats.bootstrap import bootstrap_means, interval, p_value
from recsys_posttrain.stats.columns import Column
from recsys_posttrain.stats.runs import Runs, per_user, runs_of, undefined_anywhere
from recsys_posttrain.stats.significance import effect_size, holm

ALPHA = 0.05
DECIMALS = 4  # printed; equal at this precision counts as equally good


@dataclass(frozen=True, eq=False)
class Comparison:
    """The statistics of every method in every column of a table.

    cells: one row per method and column, with method, column, mean, low, high; difference,
        difference_low, difference_high (percent of the control when relative), p_value, p_holm,
        effect_size; iqm, iqm_low, iqm_high (interquartile mean over seeds); improvement,
        improvement_low, improvement_high (probability of being better than the control for one
        user; half is no difference); significant, best.
    single_run: the methods with one seed where others have more.
    undefined: of each column, the number of targets left out because a method has no value there.
    nothing: why columns are empty.
    """

    cells: pd.DataFrame
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    single_run: tuple[str, ...]
    undefined: dict[str, int]
    num_users: int
    num_targets: int
    nothing: dict[str, str]

    @property
    def over_seeds(self) -> bool:
        """Whether intervals and tests cover other seeds; impossible with one, then users alone."""
        return len(self.seeds) > 1


def compare(
    rows: pd.DataFrame,
    columns: Sequence[Column],
    *,
    num_items: int,
    control: str,
    relative: bool,
    scale: RewardScale,
    resamples: int,
    rng: np.random.Generator,
) -> Comparison:
    """All methods against `control` on the same users, seeds and bootstrap draws."""
    runs, seeds = runs_of(rows, columns)
    methods = tuple(runs)
    if control not in runs:
        raise UserError(
            f"there is no method {control!r} to compare with"
            f"{did_you_mean(nearest(control, methods, cutoff=0))} (the rows hold "
            f"{', '.join(methods)})"
        )
    at = methods.index(control)
    targets = runs[control][0]
    sampled = [column for column in columns if column.of_lists is None]
    cells = []
    if sampled:
        values_CMSN, weights_CN = per_user(runs, sampled, scale)
        higher_C = np.array([column.higher_is_better for column in sampled])
        value_4CM, draws_4CMR = _bootstrapped(values_CMSN, weights_CN, higher_C, at, resamples, rng)
        for c, column in enumerate(sampled):
            p_M = np.full(len(methods), np.nan)
            found = []
            for m in range(len(methods)):
                mean, difference, iqm, better = zip(
                    value_4CM[:, c, m], draws_4CMR[:, c, m], strict=True
                )
                cell = _bounds("mean", *mean) | _bounds("iqm", *iqm)
                if m != at:
                    against = value_4CM[0, c, at], draws_4CMR[0, c, at]
                    cell |= _difference(*difference, *against, relative)
                    cell |= _bounds("improvement", better[0], better[1].clip(0, 1))
                    cell["effect_size"] = effect_size(
                        values_CMSN[c, m] - values_CMSN[c, at], weights_CN[c]
                    )
                    p_M[m] = cell["p_value"] = p_value(difference[1])
                found.append(cell)
            for cell, adjusted in zip(found, holm(p_M), strict=True):
                cell["p_holm"] = adjusted
            cells += _named(column, methods, found)
    for column in columns:
        if column.of_lists is not None:
            cells += _named(column, methods, _of_lists(runs, column, num_items, at, relative))
    frame = _marked(pd.DataFrame(cells, columns=_FIELDS), columns)
    return Comparison(
        cells=frame,
        methods=methods,
        seeds=seeds,
        single_run=tuple(m for m in methods if len(seeds) > 1 and len(set(map(id, runs[m]))) == 1),
        undefined={c.name: int(undefined_anywhere(runs, c).sum()) for c in sampled},
        num_users=targets["user_id"].nunique(),
        num_targets=len(targets),
        nothing={each.name: why for each in columns if (why := each.nothing(targets, scale))},
    )


_FIELDS = (
    *("method", "column", "mean", "low", "high"),
    *("difference", "difference_low", "difference_high"),
    *("p_value", "p_holm", "effect_size"),
    *("iqm", "iqm_low", "iqm_high"),
    *("improvement", "improvement_low", "improvement_high"),
)


def bootstrap_levels(
    rows: pd.DataFrame,
    columns: Sequence[Column],
    *,
    scale: RewardScale,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[tuple[str, ...], Floats, Floats]:
    """The methods, their mean_CM and their draws_RCM; none of the columns is `of_lists`."""
    runs, _ = runs_of(rows, columns)
    values_CMSN, weights_CN = per_user(runs, columns, scale)
    shape = values_CMSN.shape
    mean_K, draws_RK = bootstrap_means(
        values_CMSN.reshape(-1, *shape[2:]),
        weights_KN=np.repeat(weights_CN, shape[1], axis=0),
        resamples=resamples,
        rng=rng,
    )
    return tuple(runs), mean_K.reshape(shape[:2]), draws_RK.reshape(-1, *shape[:2])


def _bootstrapped(
    values_CMSN: Floats,
    weights_CN: Floats,
    higher_C: NDArray[np.bool_],
    at: int,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Mean, difference to the control, IQM over seeds and improvement on it: [4, C, M], draws."""
    num_columns, num_methods, num_seeds, num_users = values_CMSN.shape
    values_KSN = values_CMSN.reshape(-1, num_seeds, num_users)
    control_KSN = np.repeat(values_CMSN[:, at], num_methods, axis=0)
    weights_KN = np.repeat(weights_CN, num_methods, axis=0)
    above_KSN = improvement(values_KSN, control_KSN)
    higher_K11 = np.repeat(higher_C, num_methods)[:, None, None]
    pseudo_4KSN = [
        values_KSN,
        values_KSN - control_KSN,
        iqm_over_seeds(values_KSN, weights_KN),
        np.where(higher_K11, above_KSN, 1 - above_KSN),
    ]
    freedom_4 = [num_seeds - 1, num_seeds - 1, iqm_freedom(num_seeds), num_seeds - 1]
    value_K, draws_RK = bootstrap_means(
        np.concatenate(pseudo_4KSN),
        weights_KN=np.tile(weights_KN, (4, 1)),
        freedom_K=np.repeat(freedom_4, len(values_KSN)),
        resamples=resamples,
        rng=rng,
    )
    shape = (4, num_columns, num_methods)
    return value_K.reshape(shape), draws_RK.T.reshape(*shape, resamples)


def _of_lists(
    runs: Runs, column: Column, num_items: int, at: int, relative: bool
) -> list[dict[str, object]]:
    """A property of all lists together: the mean over seeds, without an interval or a test."""
    assert column.of_lists is not None
    mean_M = [
        float(
            np.mean([column.of_lists(np.stack(list(f[column.source])), num_items) for f in frames])
        )
        for frames in runs.values()
    ]
    nothing = np.empty(0)
    cells = []
    for m, mean in enumerate(mean_M):
        cell = _bounds("mean", mean, nothing)
        if m != at:
            cell |= _difference(mean - mean_M[at], nothing, mean_M[at], nothing, relative)
        cells.append(cell)
    return cells


def _bounds(name: str, value: float, draws_R: Floats) -> dict[str, object]:
    """`name`, and its interval: `low` and `high` for the mean, otherwise after the name."""
    found = interval(value, draws_R)
    before = "" if name == "mean" else f"{name}_"
    return {name: found.value, f"{before}low": found.low, f"{before}high": found.high}


def _difference(
    difference: float, differences_R: Floats, control: float, control_R: Floats, relative: bool
) -> dict[str, object]:
    """Minus the control, or the change in percent of it (NaN where the control is 0)."""
    if relative:
        difference = 100 * difference / control if control else np.nan
        percent_R = np.full(len(control_R), np.nan)
        np.divide(100 * differences_R, control_R, out=percent_R, where=control_R != 0)
        differences_R = percent_R
    return _bounds("difference", difference, differences_R)


def _named(
    column: Column, methods: Sequence[str], cells: list[dict[str, object]]
) -> list[dict[str, object]]:
    return [
        {"method": method, "column": column.name, **cell}
        for method, cell in zip(methods, cells, strict=True)
    ]


def _marked(cells: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """Adds significant and best; rows in the order of the columns."""
    cells["significant"] = cells["p_holm"] <= ALPHA
    parts = []
    for column in columns:
        part = cells[cells["column"] == column.name].copy()
        shown = part["mean"].round(DECIMALS)
        best = shown.max() if column.higher_is_better else shown.min()
        part["best"] = (shown == best) & column.bold
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
