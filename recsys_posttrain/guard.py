"""How far post-training may take a policy, and what happens where it goes beyond."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from recsys_posttrain.config import require, require_counts

Action = Literal["stop", "warn"]


@dataclass(frozen=True)
class Guard:
    """Bounds that are measured on held-out contexts while a policy is trained (training/watch.py).

    kl: the largest mean of the exact KL(policy || reference), in nats; None: no bound.
    gap: by how much more the expected reward may have risen in the reward model's opinion than in
        the judge's, in stars; None: no bound.
    action: "stop": training ends, and the weights of the last measurement within the bounds stay;
        "warn": one line on stderr, and training goes on.
    every: steps between two measurements; validations and the last step have one too.
    """

    kl: float | None = None
    gap: float | None = None
    action: Action = "stop"
    every: int = 10

    def __post_init__(self) -> None:
        for name in ("kl", "gap"):
            bound = getattr(self, name)
            require(
                bound is None or 0 < bound < math.inf,
                f"Guard: {name}={bound} must be above 0 and finite, or none.",
            )
        require(
            self.action in get_args(Action),
            f'Guard: action={self.action!r} must be "stop" or "warn".',
        )
        require_counts("Guard", 1, 10**9, every=self.every)

    @property
    def is_set(self) -> bool:
        """Whether there is a bound."""
        return (self.kl, self.gap) != (None, None)
