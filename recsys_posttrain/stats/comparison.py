"""The numbers of a comparison table: per method and column a mean, a difference, a test."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_posttrain.basic_statistics import Floats
from recsys_posttrain.errors import UserError, did_you_mean, nearest
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats.aggregates import improvement, iqm_freedom, iqm_over_seeds
from recsys_posttrain.stats.bootstrap import (
    ALPHA,
    FEW_USERS,
    Bootstrap,
    bootstrap,
    draws_for,
    interval,
)
from recsys_posttrain.stats.columns import Column
from recsys_posttrain.stats.pairs import FIELDS, MARGIN, compared_pairs, margin_of
from recsys_posttrain.stats.runs import Runs, per_user, runs_of, undefined_anywhere
from recsys_posttrain.stats.significance import effect_size

PAIRS = 64  # whose draws are in memory at the same time
DECIMALS = 4  # printed; equal at this precision counts as equally good


@dataclass(frozen=True, eq=False)
class Comparison:
    """The statistics of every method in every column of a table.

    cells: one row per method and column, with method, column, mean, low, high; difference,
        difference_low, difference_high (percent of the control when relative), p_value, p_holm
        (over all pairs of the column), effect_size; iqm, iqm_low, iqm_high (interquartile mean over
        seeds); improvement, improvement_low, improvement_high (probability of being better than the
        control for one user; half is no difference); significant, best.
    pairs: one row per column and pair of methods, `stats.pairs.FIELDS`.
    margin: up to which share of the control's value, or of a star, two methods count as equal.
    few: the number of users of the columns over few (stats/bootstrap.py).
    resamples: the number of draws, `draws_for` its pairs.
    single_run: the methods with one seed where others have more.
    undefined: of each column, the number of targets left out because a method has no value there.
    nothing: why columns are empty.
    """

    cells: pd.DataFrame
    pairs: pd.DataFrame
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    single_run: tuple[str, ...]
    undefined: dict[str, int]
    num_users: int
    num_targets: int
    nothing: dict[str, str]
    margin: float
    few: dict[str, int]
    resamples: int

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
    margin: float = MARGIN,
) -> Comparison:
    """All pairs of methods, and all against `control`, on the same users, seeds and bootstrap
    draws. resamples: at least so many; more where that many pairs need them (`draws_for`). margin:
    see `margin_of`."""
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
    cells: list[dict[str, object]] = []
    pairs: list[dict[str, object]] = []
    few = {}
    if sampled:
        values_CMSN, weights_CN = per_user(runs, sampled, scale)
        higher_C = np.array([column.higher_is_better for column in sampled])
        first_P, second_P = np.triu_indices(len(methods), 1)
        statistics = 3 * len(sampled) * len(methods)
        resamples = draws_for(len(first_P), resamples, statistics)
        drawn = _bootstrapped(values_CMSN, weights_CN, higher_C, at, resamples, rng)
        shape = (3, len(sampled), len(methods))
        value_3CM, draws_R3CM = (
            drawn.mean_K.reshape(shape),
            drawn.draws_RK.reshape(resamples, *shape),
        )
        for c, column in enumerate(sampled):
            within = margin_of(column, value_3CM[0, c, at], scale, margin)
            differences = _differences(
                drawn, c * len(methods) + first_P, c * len(methods) + second_P
            )
            of_pairs = compared_pairs(column.name, methods, differences, within)
            pairs += of_pairs
            if 0 < (size := int((weights_CN[c] > 0).sum())) < FEW_USERS:
                few[column.name] = size
            found = []
            for m in range(len(methods)):
                mean, iqm, better = zip(value_3CM[:, c, m], draws_R3CM[:, :, c, m].T, strict=True)
                cell = _bounds("mean", *mean) | _bounds("iqm", *iqm)
                if m != at:
                    p = int(np.flatnonzero((first_P == min(m, at)) & (second_P == max(m, at)))[0])
                    both = (np.array([c * len(methods) + each]) for each in (m, at))
                    value_1, draws_R1 = drawn.differences(*both)
                    against = value_3CM[0, c, at], draws_R3CM[:, 0, c, at]
                    cell |= _difference(value_1[0], draws_R1[:, 0], *against, relative)
                    cell |= _bounds("improvement", better[0], better[1].clip(0, 1))
                    cell["effect_size"] = effect_size(
                        values_CMSN[c, m] - values_CMSN[c, at], weights_CN[c]
                    )
                    cell |= {name: of_pairs[p][name] for name in ("p_value", "p_holm")}
                found.append(cell)
            cells += _named(column, methods, found)
    for column in columns:
        if column.of_lists is not None:
            cells += _named(column, methods, _of_lists(runs, column, num_items, at, relative))
    frame = _marked(pd.DataFrame(cells, columns=_FIELDS), columns)
    return Comparison(
        cells=frame,
        pairs=pd.DataFrame(pairs, columns=FIELDS),
        methods=methods,
        seeds=seeds,
        single_run=tuple(m for m in methods if len(seeds) > 1 and len(set(map(id, runs[m]))) == 1),
        undefined={c.name: int(undefined_anywhere(runs, c).sum()) for c in sampled},
        num_users=targets["user_id"].nunique(),
        num_targets=len(targets),
        nothing={each.name: why for each in columns if (why := each.nothing(targets, scale))},
        margin=margin,
        few=few,
        resamples=resamples,
    )


_FIELDS = (
    *("method", "column", "mean", "low", "high"),
    *("difference", "difference_low", "difference_high"),
    *("p_value", "p_holm", "effect_size"),
    *("iqm", "iqm_low", "iqm_high"),
    *("improvement", "improvement_low", "improvement_high"),
)


def _differences(
    drawn: Bootstrap, first_P: NDArray[np.int64], second_P: NDArray[np.int64]
) -> Iterator[tuple[float, Floats]]:
    """Value and draws of each pair, of a few pairs at a time."""
    for start in range(0, len(first_P), PAIRS):
        part = slice(start, start + PAIRS)
        value_P, draws_RP = drawn.differences(first_P[part], second_P[part])
        yield from zip(value_P.tolist(), draws_RP.T, strict=True)


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
    drawn = bootstrap(
        values_CMSN.reshape(-1, *shape[2:]),
        weights_KN=np.repeat(weights_CN, shape[1], axis=0),
        resamples=resamples,
        rng=rng,
    )
    return tuple(runs), drawn.mean_K.reshape(shape[:2]), drawn.draws_RK.reshape(-1, *shape[:2])


def _bootstrapped(
    values_CMSN: Floats,
    weights_CN: Floats,
    higher_C: NDArray[np.bool_],
    at: int,
    resamples: int,
    rng: np.random.Generator,
) -> Bootstrap:
    """Of mean, IQM over seeds and improvement on the control: K = 3 C M statistics."""
    num_methods, num_seeds, num_users = values_CMSN.shape[1:]
    values_KSN = values_CMSN.reshape(-1, num_seeds, num_users)
    control_KSN = np.repeat(values_CMSN[:, at], num_methods, axis=0)
    weights_KN = np.repeat(weights_CN, num_methods, axis=0)
    above_KSN = improvement(values_KSN, control_KSN)
    higher_K11 = np.repeat(higher_C, num_methods)[:, None, None]
    pseudo_3KSN = [
        values_KSN,
        iqm_over_seeds(values_KSN, weights_KN),
        np.where(higher_K11, above_KSN, 1 - above_KSN),
    ]
    freedom_3 = [num_seeds - 1, iqm_freedom(num_seeds), num_seeds - 1]
    return bootstrap(
        np.concatenate(pseudo_3KSN),
        weights_KN=np.tile(weights_KN, (3, 1)),
        freedom_K=np.repeat(freedom_3, len(values_KSN)),
        resamples=resamples,
        rng=rng,
    )


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
