"""A reward model and a pretrained policy of the user's own, in files that a command line names."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from recsys_posttrain.config import require
from recsys_posttrain.data.table_paths import SUFFIXES, is_table
from recsys_posttrain.models.reward_model import RewardConfig
from recsys_posttrain.rewards.own_predictions import RewardPredictions
from recsys_posttrain.studies.experiment import experiment_module
from recsys_posttrain.studies.run import Run

REWARD_MODEL, PRETRAINED = "REWARD_MODEL", "PRETRAINED"


class OwnFiles(NamedTuple):
    """reward_model: a table of predictions, or a Python file that defines REWARD_MODEL. pretrained:
    a Python file that defines the function PRETRAINED. None: as the experiment file has it."""

    reward_model: str | None = None
    pretrained: str | None = None

    @property
    def options(self) -> list[str]:
        """How a command line gives them, word by word."""
        given = {"--reward-model": self.reward_model, "--pretrained": self.pretrained}
        return [word for name, file in given.items() if file for word in (name, file)]

    def changed(self, runs: Sequence[Run]) -> list[Run]:
        """The runs with these. Python files are executed: whoever wrote them can do what you can.

        Raises: UserError where a file is no such file, or cannot be read.
        """
        parts: dict[str, Any] = {}
        if self.reward_model is not None:
            parts["reward"] = _reward_model(self.reward_model)
        if self.pretrained is not None:
            parts["pretrained"] = _defined(self.pretrained, "pretrained", PRETRAINED)
            require(
                callable(parts["pretrained"]) and not isinstance(parts["pretrained"], type),
                f"{self.pretrained}: {PRETRAINED}={parts['pretrained']!r} must be a function that "
                "gives a policy, such as rp.policy_of(item_embedding, encoder, item_ids).",
            )
        return (
            [replace(run, setup=replace(run.setup, **parts)) for run in runs]
            if parts
            else list(runs)
        )


def _reward_model(file: str) -> RewardConfig:
    if is_table(file):
        return RewardPredictions(file)
    require(
        file.endswith(".py"),
        f"--reward-model {file}: give a table of predictions ({', '.join(SUFFIXES)}) or a Python "
        f"file that defines {REWARD_MODEL}; nothing pickled is loaded.",
    )
    found: RewardConfig = _defined(file, "reward_model", REWARD_MODEL)
    is_config = all(callable(getattr(found, name, None)) for name in ("train", "build"))
    require(
        is_config and not isinstance(found, type),
        f"{file}: {REWARD_MODEL}={found!r} has no train and build; give rp.RewardFunction(...), "
        "rp.RewardRegressor(...) or another such value, with its brackets.",
    )
    return found


def _defined(file: str, option: str, name: str) -> Any:
    path = Path(file)
    require(path.is_file(), f"--{option.replace('_', '-')} {file}: there is no such file.")
    module = experiment_module(path, option)
    require(hasattr(module, name), f"{file} does not define {name}.")
    return getattr(module, name)
