"""What a log's rewards mean: how training counts them, and which are liked.

Training, temperatures and noise count in stars; all that is printed or saved is in the log's own
unit. A log of 1..5 stars is read as it is. Any other rating scale (few levels, evenly apart) is
read in a straight line, its lowest level as 1 star and its highest as 5. Everything else (seconds,
clicks, signed signals) is divided by its standard deviation, so that one star is as large a part of
it as of MovieLens 1M, and counts from its lowest reward.
"""

import math
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError

STARS_PER_DEVIATION = 1.1171  # the standard deviation of MovieLens 1M's ratings
# The quantiles that are 4, 5 and 2 stars in MovieLens 1M.
LIKED, TOP, DISLIKED = 0.5, 0.8, 0.15
MOST_LEVELS = 21
NEAR = 1e-3  # of a step: rounding of a value that was computed

Floats = NDArray[Any]


@dataclass(frozen=True)
class Thresholds:
    """Where a reward counts as liked, top and disliked, and which is worth nothing: a value in the
    log's own unit or a quantile of its rewards such as `80%`; None: what the log's scale says."""

    liked: float | str | None = None
    top: float | str | None = None
    disliked: float | str | None = None
    zero: float | str | None = None

    def __post_init__(self) -> None:
        for name, value in self.given.items():
            require(
                _share(value) is not None or _is_number(value),
                f"{name}={value!r} is no reward; give a number, or a quantile of the log's rewards "
                "from 0% to 100%, such as 80%.",
            )

    @property
    def given(self) -> dict[str, float | str]:
        """Those that are not the scale's."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def options(self) -> list[str]:
        """How a command line gives them."""
        flags = {"zero": "--reward-zero"}
        # 3 rather than 3.0, as a person writes it.
        return [
            f"{flags.get(name, f'--{name}')}={str(value).removesuffix('.0')}"
            for name, value in self.given.items()
        ]


@dataclass(frozen=True)
class RewardScale:
    """stars = (reward - zero) / unit; by default the stars are the rewards.

    liked, top (both: or more), disliked (or less): in the log's unit. zero: the reward that is
    worth nothing. step: between the levels of a rating scale whose first is `lowest`; 0: any value.
    missing: why there are no rewards to learn from; empty where there are.
    """

    liked: float = 4.0
    top: float = 5.0
    disliked: float = 2.0
    zero: float = 0.0
    unit: float = 1.0
    lowest: float = 0.0
    step: float = 0.0
    missing: str = ""

    @property
    def is_stars(self) -> bool:
        """Whether rewards are read as they are."""
        return self.zero == 0 and self.unit == 1

    @property
    def liked_stars(self) -> float:
        return float(self.to_stars(np.asarray(self.liked)))

    @property
    def map(self) -> dict[str, Any]:
        """What decides the rewards that training reads, for the keys of stages."""
        return {name: getattr(self, name) for name in ("zero", "unit", "lowest", "step", "missing")}

    def to_stars(self, reward: Floats) -> Floats:
        """float32. Levels of a rating scale are met exactly, whatever rounding they went through:
        logs that differ in their unit alone are the same to the last bit."""
        if self.is_stars:
            return reward
        reward = np.asarray(reward, dtype=np.float64)
        if self.step:
            place = (reward - self.lowest) / self.step
            level = np.round(place)
            exact = self.lowest + level * self.step
            reward = np.where(np.abs(place - level) < NEAR, exact, reward)
        return np.asarray((reward - self.zero) / self.unit, dtype=np.float32)

    def from_stars(self, stars: Any) -> Any:
        """Stars, of any type that can be calculated with, in the log's unit."""
        return stars if self.is_stars else self.zero + self.unit * stars

    def shown(self, reward: float) -> str:
        """A reward, or a star, as text, without what rounding adds."""
        return f"{round(reward, 4 - math.floor(math.log10(self.unit))) + 0.0:g}"

    def line(self, reward_E: Floats) -> str:
        """One line that says how the rewards of a log, in its own unit, are understood."""
        if self.missing:
            return f"rewards: none to learn from, {self.missing}"
        shown = self.shown
        ends_2 = np.array([reward_E.min(), reward_E.max()])
        span = " to ".join(map(shown, ends_2))
        if self.is_stars:
            span += " stars"
        else:
            span += f" in steps of {shown(self.step)}" if self.step else ""
            span += ", counted as {:.3g} to {:.3g} stars".format(*self.to_stars(ends_2))
        top = shown(self.top) + ("" if shown(self.top) == shown(ends_2[1]) else " or more")
        shares = [reward_E >= self.liked, reward_E >= self.top, reward_E <= self.disliked]
        liked_share, top_share, disliked_share = (f"{each.mean():.0%}" for each in shares)
        return (
            f"rewards: {span}; liked: {shown(self.liked)} or more ({liked_share} of events), "
            f"top: {top} ({top_share}), disliked: {shown(self.disliked)} or less "
            f"({disliked_share}), zero {shown(self.zero)}; temperatures count in stars of "
            f"{shown(self.unit)} ({self.unit / reward_E.std():.2f} standard deviations)"
        )


def scale_of(
    reward_E: Floats,
    thresholds: Thresholds = Thresholds(),
    *,
    declared: RewardScale | None = None,
    has_ratings: bool = True,
) -> RewardScale:
    """Of a log with these rewards (float32, as they were read). declared: the data's own scale.

    Raises: UserError for thresholds that leave nothing, contradict one another, or have no rewards.
    """
    level_K, count_K = np.unique(reward_E, return_counts=True)
    missing = "" if has_ratings else "the log has no ratings"
    if has_ratings and len(level_K) == 1:
        missing = f"every reward is {level_K[0]:g}"
    if missing:
        require(
            thresholds == Thresholds(),
            f"{' '.join(thresholds.options)} has no rewards to divide: {missing}; leave it out.",
        )
        return RewardScale(missing=missing)
    if len(level_K) <= MOST_LEVELS:  # as they are written: 0.1 rather than .10000000149
        level_K = np.array([float(str(level)) for level in level_K])
    level_K = level_K.astype(np.float64)
    scale = declared or _of_levels(level_K) or _of_quantiles(level_K, count_K)
    require(
        declared is None or thresholds.zero is None,
        f"zero={thresholds.zero} cannot be chosen: the rewards of this dataset are what they are "
        "in truth; leave it out.",
    )
    given = {name: _value(value, level_K, count_K) for name, value in thresholds.given.items()}
    scale = replace(scale, zero=given.get("zero", scale.zero))

    def threshold(name: str) -> float:
        # Rounded as a reward is, so that one that is equal to it reaches it.
        stars = np.float32(scale.to_stars(np.array(given.get(name, getattr(scale, name)))))
        return float(scale.from_stars(float(stars)))

    scale = replace(
        scale, liked=threshold("liked"), top=threshold("top"), disliked=threshold("disliked")
    )
    _check(scale, given, level_K)
    return scale


def scale_in(record: dict[str, Any]) -> RewardScale:
    """That of a run.json or policy.json; older ones knew no other than stars.

    Errors: UserError where it is damaged.
    """
    described = record.get("reward_scale", {})
    is_scale = isinstance(described, dict) and all(
        isinstance(value, str) if name == "missing" else _is_number(value)
        for name, value in described.items()
    )
    try:
        require(is_scale and described.get("unit", 1) != 0, "")
        return RewardScale(**described)
    except (TypeError, UserError):
        raise UserError(
            f"reward_scale={described!r} is no scale of rewards: restore the file, or delete "
            "it and run the command again that wrote it"
        ) from None


def _of_levels(level_K: Floats) -> RewardScale | None:
    """Of stars and other rating scales; None for rewards that are neither."""
    low, high = float(level_K[0]), float(level_K[-1])
    if (level_K * 2 % 1 == 0).all() and low >= 0.5 and 4 <= high <= 5:
        return RewardScale()
    steps = round((high - low) / float(np.diff(level_K).min()))
    if len(level_K) < 3 or steps >= MOST_LEVELS:
        return None
    step = (high - low) / steps
    place_K = (level_K - low) / step
    if np.abs(place_K - np.round(place_K)).max() > NEAR:
        return None
    unit = (high - low) / 4
    scale = RewardScale(zero=low - unit, unit=unit, lowest=low, step=step)
    level_L = low + step * np.arange(steps + 1)
    stars_L = scale.to_stars(level_L)
    return replace(
        scale,
        liked=float(level_L[stars_L >= 4][0]),
        top=float(level_L[-1]),
        disliked=float(level_L[stars_L <= 2][-1]),
    )


def _of_quantiles(level_K: Floats, count_K: Floats) -> RewardScale:
    """Those who are liked are never all, and the disliked are never liked."""
    liked = float(max(_quantile(LIKED, level_K, count_K), level_K[1]))
    below = float(level_K[np.searchsorted(level_K, liked) - 1])
    mean = np.average(level_K, weights=count_K)
    deviation = math.sqrt(np.average((level_K - mean) ** 2, weights=count_K))
    return RewardScale(
        liked=liked,
        top=max(_quantile(TOP, level_K, count_K), liked),
        disliked=min(_quantile(DISLIKED, level_K, count_K), below),
        zero=float(level_K[0]),
        unit=deviation / STARS_PER_DEVIATION,
    )


def _quantile(share: float, level_K: Floats, count_K: Floats) -> float:
    """The smallest level that has this share of the events at or below it."""
    below_K = count_K.cumsum() / count_K.sum()
    place = int(np.searchsorted(below_K, share - 1e-12))
    return float(level_K[min(place, len(level_K) - 1)])


def _value(given: float | str, level_K: Floats, count_K: Floats) -> float:
    share = _share(given)
    return float(given) if share is None else _quantile(share, level_K, count_K)


def _share(value: object) -> float | None:
    """.8 of the text 80%; None of anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?)%", value) if isinstance(value, str) else None
    share = None if found is None else float(found[1]) / 100
    return share if share is not None and share <= 1 else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _check(scale: RewardScale, given: dict[str, float], level_K: Floats) -> None:
    """Of the thresholds that were given."""
    low, high = level_K[0], level_K[-1]
    for name, value in given.items():
        if name != "zero" and not low <= value <= high:
            raise UserError(
                f"{name}={value:g} is outside of the log's rewards, {low:g} to {high:g}; give one "
                "of those, or a quantile such as 80%."
            )
    if given and not scale.disliked < scale.liked <= scale.top:
        raise UserError(
            f"disliked={scale.disliked:g}, liked={scale.liked:g} and top={scale.top:g} must rise, "
            "the first two not be equal; give the others too."
        )
