"""The options of all commands on a log (run, sweep, dashboard, advise): one list of them."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from recsys_posttrain import cli_options as options

if TYPE_CHECKING:
    from recsys_posttrain.data.table_file import FileRules
    from recsys_posttrain.reward_scale import Thresholds
    from recsys_posttrain.studies.own_files import OwnFiles


class Given(NamedTuple):
    """What the command line says of the log, of what may be shown, of the policy and of the reward
    model; None: nothing."""

    repeats: options.Repeats = None
    available: options.Available = None
    item_features: options.ItemFeatures = None
    pretrained: options.PretrainedFile = None
    reward_model: options.RewardModelFile = None
    liked: options.Liked = None
    top: options.Top = None
    disliked: options.Disliked = None
    reward_zero: options.Zero = None
    duplicates: options.Duplicates = None
    reward: options.RewardFormula = None
    signals: options.SignalNames = None
    columns: options.ColumnNames = None

    @property
    def changes(self) -> tuple[str, ...]:
        """Of fields of a Setup, as `--set` has them."""
        fields: dict[str, str | Path | None] = {
            "repeats": self.repeats,
            "available": self.available,
            "item_features": self.item_features,
        }
        return tuple(f"{name}={value}" for name, value in fields.items() if value is not None)

    @property
    def thresholds(self) -> "Thresholds":
        return options.thresholds(self.liked, self.top, self.disliked, self.reward_zero)

    @property
    def rules(self) -> "FileRules":
        return options.file_rules(self.duplicates, self.reward, self.signals, self.columns)

    @property
    def own(self) -> "OwnFiles":
        from recsys_posttrain.studies.own_files import OwnFiles

        return OwnFiles(self.reward_model, self.pretrained)


def on_a_log(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these options behind its own. It takes them as its argument `given`."""
    hints = get_type_hints(Given, include_extras=True)

    @wraps(command)
    def with_options(**words: Any) -> None:
        given = Given(**{name: words.pop(name) for name in Given._fields})
        command(**words, given=given)

    own = [each for each in inspect.signature(command).parameters.values() if each.name != "given"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    own += [inspect.Parameter(n, keyword, default=None, annotation=hints[n]) for n in Given._fields]
    with_options.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in own}
    return with_options
