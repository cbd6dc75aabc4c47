"""Further numeric columns of a log, taken where they are asked for: `signal/NAME` in its frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recsys_posttrain.logged import Signals
    from recsys_posttrain.reward_scale import RewardScale

SIGNAL = "signal/"


def is_signal(column: object) -> bool:
    return str(column).startswith(SIGNAL)


def signals_of(
    values: Mapping[str, NDArray[np.float32]],
) -> tuple[dict[str, RewardScale], Signals | None]:
    """The scale of each `signal/NAME`, by its name, and all in stars; None where there are none."""
    import numpy as np
    import torch

    from recsys_posttrain.logged import Signals
    from recsys_posttrain.reward_scale import scale_of

    scales = {name.removeprefix(SIGNAL): scale_of(each) for name, each in values.items()}
    if not scales:
        return {}, None
    stars = [
        scale.to_stars(each) for scale, each in zip(scales.values(), values.values(), strict=True)
    ]
    return scales, Signals(tuple(scales), torch.from_numpy(np.stack(stars, axis=1)))


def own_unit(signals: Signals, scales: Mapping[str, RewardScale]) -> dict[str, NDArray[np.float64]]:
    """By `signal/NAME`, the values as the log has them."""
    import numpy as np

    return {
        SIGNAL + name: np.asarray(scales[name].from_stars(signals.of(name).double().numpy()))
        for name in signals.names
    }
