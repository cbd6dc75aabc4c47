"""What an algorithm is: a frozen dataclass that is its hyper-parameters, with one method."""

from typing import Protocol

from torch import nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.types import Batch, LossOutput


class Algorithm(Protocol):
    """`loss` is required. The training module reduces, steps and logs; an algorithm never does.

    Two class attributes say what it is. `reads_rewards: ClassVar[bool] = False`: it reads neither
    logged rewards nor the reward model, and is run on logs without rewards too. `beats_cloning:
    ClassVar[bool] = False`: it reads rewards, and yet does not promise to be better than BC where
    they are right (tests/algorithms/test_toy_world.py holds all others to that).
    """

    def loss(self, batch: Batch, actors: Actors) -> LossOutput: ...


def heads_of(algorithm: Algorithm, dim: int, num_items: int) -> dict[str, nn.Module]:
    """The layers of its own that an algorithm builds in an optional method of these two sizes: of
    the policy's states and of the catalogue. One that needs no training has requires_grad off."""
    heads = getattr(algorithm, "heads", None)
    return heads(dim, num_items) if heads is not None else {}


def reads_rewards(algorithm: Algorithm) -> bool:
    return bool(getattr(algorithm, "reads_rewards", True))


def beats_cloning(algorithm: Algorithm) -> bool:
    return bool(getattr(algorithm, "beats_cloning", reads_rewards(algorithm)))


def after_step(algorithm: Algorithm, actors: Actors) -> None:
    """Calls the optional method `after_step(actors)`, once the optimiser has stepped."""
    hook = getattr(algorithm, "after_step", None)
    if hook is not None:
        hook(actors)
