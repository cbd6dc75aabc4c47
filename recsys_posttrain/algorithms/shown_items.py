"""What a log says was shown and not chosen, as negatives of losses that are over single items.

No item is among them that the policy may not show (`Batch.excluded`), nor the choice itself.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.config import require, require_above_0, require_counts
from recsys_posttrain.data.excluded import is_excluded
from recsys_posttrain.types import Batch


@dataclass(frozen=True)
class ShownItems:
    """Draws from what was shown with each choice, evenly.

    weight: of all that was shown with one choice, where the choice itself counts 1, so that a long
        slate counts as much as a short one. draws: of each slate in a step.
    """

    reads_rewards: ClassVar[bool] = False
    weight: float = 1.0
    draws: int = 4

    def __post_init__(self) -> None:
        require_above_0(self, "weight")
        require_counts("ShownItems", 1, 1024, draws=self.draws)


def beside(
    negatives: ShownItems | None, batch: Batch, generator: torch.Generator, signed_N: Tensor
) -> tuple[Tensor, Tensor]:
    """The logged item and the negatives, [N, 1 + K], and how much each counts: signed_N of the
    logged one, below 0 of the others, 0 of what is none. Without negatives K is 0."""
    items_N1, signed_N1 = batch.action_N[:, None], signed_N[:, None]
    if negatives is None:
        return items_N1, signed_N1
    items_NK, is_kept_NK = drawn(batch, generator, negatives.draws, "ShownItems")
    signed_NK = is_kept_NK.to(signed_N) * (-negatives.weight / negatives.draws)
    return torch.cat([items_N1, items_NK], dim=1), torch.cat([signed_N1, signed_NK], dim=1)


def drawn(
    batch: Batch, generator: torch.Generator, draws: int, owner: str
) -> tuple[Tensor, Tensor]:
    """Items drawn evenly from those shown with each position's choice, [N, K], and which of them
    can serve; where nothing was shown it is the choice itself, which cannot."""
    shown, chosen_N = batch.shown, batch.action_N
    require(
        shown is not None,
        f"{owner}: the log does not say what was shown and not chosen (a column chosen of 0 and 1);"
        " take SampledPairs or LoggedVersusSampled for pairs, or leave it out.",
    )
    assert shown is not None
    count_N1 = shown.counts[:, None]
    uniform_NK = torch.rand(len(count_N1), draws, generator=generator, dtype=torch.float64)
    # At most 1 - 2^-53, so that its product with a count stays below it in float64.
    place_NK = (uniform_NK.to(count_N1.device) * count_N1).long()
    index_NK = (shown.offsets_E1[:-1, None] + place_NK).clamp(max=max(0, len(shown.items_S) - 1))
    items_NK = chosen_N[:, None].expand_as(place_NK)
    if len(shown.items_S):
        items_NK = torch.where(count_N1 > 0, shown.items_S[index_NK], items_NK)
    is_kept_NK = (items_NK != chosen_N[:, None]) & ~is_excluded(batch.excluded, items_NK)
    return items_NK, is_kept_NK


def slate_position(batch: Batch, _actors: Actors) -> Tensor:
    """A signal: where in its slate the logged item stood, [N], as the log has it."""
    found = None if batch.shown is None else batch.shown.positions_E
    require(
        found is not None,
        "slate_position: the log has no column position; name it with --columns position=NAME.",
    )
    assert found is not None
    return found.to(batch.reward_N)
