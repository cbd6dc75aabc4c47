"""Pairs for DPO, IPO and their like from what a log says was shown: chosen against not chosen.

No reward model is asked. A pair holds no item that the policy may not show (`Batch.excluded`).
"""

from dataclasses import dataclass
from typing import ClassVar

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.pairs import Pairs
from recsys_posttrain.algorithms.shown_items import drawn
from recsys_posttrain.types import Batch


@dataclass(frozen=True)
class ShownPairs:
    """The logged item, and one drawn evenly from those that were shown with it and not chosen."""

    reads_rewards: ClassVar[bool] = False

    def __call__(self, batch: Batch, actors: Actors) -> Pairs:
        rejected_N1, kept_N1 = drawn(batch, actors.generator, 1, "ShownPairs")
        return Pairs(batch.action_N, rejected_N1[:, 0], kept_N1[:, 0])
