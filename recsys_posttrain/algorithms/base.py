"""The contract of an algorithm: a frozen dataclass of its hyper-parameters, with one method."""

from typing import Protocol

from torch import nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.types import Batch, LossOutput


class Algorithm(Protocol):
    """One way to post-train a policy. The training module reduces, steps and logs.

    Optional members, each read by a function below:
    heads(dim, num_items) -> dict[str, nn.Module]: layers of its own on the policy's hidden states.
    after_step(actors) -> None: called once the optimiser has stepped.
    reads_rewards: ClassVar[bool] = True: False for a method that reads neither logged rewards nor
        the reward model; it also runs on logs without rewards.
    beats_cloning: ClassVar[bool] = reads_rewards: False for a method that does not promise to be
        better than BC under correct rewards (tests/algorithms/test_toy_world.py tests the others).
    family: ClassVar[str] = "": a name for methods that are alike, whose rows tables keep together.
    """

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        """The loss of each real position, [N], not reduced, and metrics to log."""
        ...


def heads_of(algorithm: Algorithm, dim: int, num_items: int) -> dict[str, nn.Module]:
    """An algorithm's own layers; one that is not to be trained has requires_grad off.

    dim: width of the policy's hidden states.
    num_items: size of the catalogue.
    """
    heads = getattr(algorithm, "heads", None)
    return heads(dim, num_items) if heads is not None else {}


def reads_rewards(algorithm: object) -> bool:
    """Whether a method, with training or without, needs logged rewards or the reward model: a part
    of it, as ShownPairs, may take their place."""
    parts = (getattr(algorithm, name, None) for name in ("pairs", "negatives"))
    default = all(getattr(part, "reads_rewards", True) for part in parts)
    return bool(getattr(algorithm, "reads_rewards", default))


def beats_cloning(algorithm: Algorithm) -> bool:
    """Whether the algorithm promises to be better than BC where rewards are correct."""
    return bool(getattr(algorithm, "beats_cloning", reads_rewards(algorithm)))


def family_of(algorithm: object) -> str:
    """The name of the methods that it belongs to, for tables; empty where it names none."""
    return str(getattr(algorithm, "family", ""))


def after_step(algorithm: Algorithm, actors: Actors) -> None:
    """Calls the algorithm's `after_step`, if it has one."""
    hook = getattr(algorithm, "after_step", None)
    if hook is not None:
        hook(actors)
