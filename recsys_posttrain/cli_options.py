"""Options that several commands have: what the rewards of a log mean."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recsys_posttrain.reward_scale import Thresholds

Liked = Annotated[
    str | None,
    typer.Option(
        metavar="REWARD",
        help="Liked from here on: a reward in the data's own unit, or a quantile such as 50%.",
    ),
]
Top = Annotated[str | None, typer.Option(metavar="REWARD", help="Top from here on.")]
Disliked = Annotated[str | None, typer.Option(metavar="REWARD", help="Disliked down from here.")]
Zero = Annotated[
    str | None,
    typer.Option("--reward-zero", metavar="REWARD", help="The reward that is worth nothing."),
]


def thresholds(*given: str | None) -> "Thresholds":
    """Of what was given for liked, top, disliked and zero, in this order."""
    from recsys_posttrain.reward_scale import Thresholds

    return Thresholds(*map(_number_or_text, given))


def _number_or_text(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text
