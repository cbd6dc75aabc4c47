"""What an algorithm is: a frozen dataclass that is its hyper-parameters, with one method."""

from typing import Protocol

from torch import nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.types import Batch, LossOutput


class Algorithm(Protocol):
    """`loss` is required. The training module reduces, steps and logs; an algorithm never does.

    One that reads neither logged rewards nor the reward model says so with a class attribute,
    `reads_rewards: ClassVar[bool] = False`, and is then run on logs without rewards too.
    """

    def loss(self, batch: Batch, actors: Actors) -> LossOutput: ...


def heads_of(algorithm: Algorithm, dim: int) -> dict[str, nn.Module]:
    """The trained layers an algorithm asks for with an optional method `heads(dim)`."""
    heads = getattr(algorithm, "heads", None)
    return heads(dim) if heads is not None else {}


def reads_rewards(algorithm: Algorithm) -> bool:
    return bool(getattr(algorithm, "reads_rewards", True))


def after_step(algorithm: Algorithm, actors: Actors) -> None:
    """Calls the optional method `after_step(actors)`, once the optimiser has stepped."""
    hook = getattr(algorithm, "after_step", None)
    if hook is not None:
        hook(actors)
