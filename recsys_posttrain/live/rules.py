"""What an event shows in each of its stages: at which place of the list the live title stands."""

from dataclasses import dataclass
from pathlib import Path

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import read_json
from recsys_posttrain.live.state import require_name

_EXAMPLE = '{"event": "final", "live_title": "1193", "stages": {"before": null, "live": 1}}'


@dataclass(frozen=True)
class EventRules:
    """The stages of one event, in the order in which they are expected.

    live_title: the data set's id of the item.
    stages: by name, the place of the live title from 1, or None: it is not in the list, whatever
        the policy thinks of it.
    Errors: UserError for names and places that cannot be.
    """

    event: str
    live_title: str
    stages: dict[str, int | None]

    def __post_init__(self) -> None:
        require(
            isinstance(self.live_title, str) and self.live_title,
            f"live_title is {self.live_title!r}: give the item's id as text",
        )
        require(
            isinstance(self.stages, dict) and self.stages,
            f"stages is {self.stages!r}: give one stage or more, each with a place or null",
        )
        require_name(self.event, "the event")
        for name, place in self.stages.items():
            require_name(name, "a stage")
            require(
                place is None or (type(place) is int and place >= 1),
                f"stage {name!r} places the live title at {place!r}: give 1 or more, or null",
            )

    @classmethod
    def read(cls, path: Path) -> "EventRules":
        """The rules in a JSON file. Errors: UserError, which names the file and shows one."""
        value = read_json(path, fix=f"give a file such as {_EXAMPLE}")
        names = set(cls.__dataclass_fields__)
        require(
            isinstance(value, dict) and set(value) == names,
            f"{path} does not hold exactly {', '.join(sorted(names))}: write it as {_EXAMPLE}",
        )
        try:
            return cls(**value)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    def check_places(self, k: int) -> None:
        """UserError where a stage places the live title beyond the list's end."""
        for name, place in self.stages.items():
            require(
                (place or 0) <= k,
                f"stage {name!r} places the live title at {place}, beyond the {k} items of a list: "
                f"give a place of at most {k}, or a larger --k",
            )
