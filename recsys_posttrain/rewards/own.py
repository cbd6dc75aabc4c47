"""A reward model of the user's own: a function of rows of (history, item), or a regressor on them.

    def reward(frame):  # a pandas data frame, one row for each (history, item)
        return 3 + frame["item_id"].map(BONUS)  # one number for each row, in the log's own unit

FRAME of own_rows.py says what the columns are. P rows of a frame, F features.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain.config import require, require_counts
from recsys_posttrain.data.batching import fixed_batches
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import write_text
from recsys_posttrain.fitted import Fitted
from recsys_posttrain.models.reward_model import RewardData
from recsys_posttrain.plan import METRICS
from recsys_posttrain.rewards.own_rows import ROWS, OwnFunction, Rows, RowsModel, asked, checked
from recsys_posttrain.tensors import load_tensors
from recsys_posttrain.types import Batch


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


class FunctionModel(RowsModel):
    def __init__(self, config: "RewardFunction") -> None:
        super().__init__(config.max_length)
        self.function = config.function

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        what = f"the reward function {_name(self.function)}"
        return checked(what, asked(what, self.function, frame), frame)


@dataclass(frozen=True)
class RewardFunction:
    """A function of a data frame (FRAME) as a reward model. It learns nothing here.

    function: for a study, defined with def at the top of the experiment file or of a module.
    max_length: the longest history that it is shown.
    held_out: half of this share of users judges it, beside baselines that learn from the others.
    """

    function: OwnFunction
    max_length: int = 200
    held_out: float = 0.2
    learns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_own(self, self.function)

    def build(self, num_items: int) -> FunctionModel:
        return FunctionModel(self)

    def train(
        self, data: RewardData, seed: int, folder: Path | None = None, device: str = "cpu"
    ) -> tuple[FunctionModel, Fitted]:
        return self.build(data.num_items), without_steps(folder)


def without_steps(folder: Path | None) -> Fitted:
    """Of a model that is not trained by steps."""
    if folder is not None:
        write_text(folder / METRICS, "")
    return Fitted(0, 0, None)


def check_own(config: Any, *functions: Any) -> None:
    name = type(config).__name__
    for each in functions:
        require(callable(each), f"{name}: {each!r} is no function; give one of a data frame.")
    require_counts(name, 1, 2**20, max_length=config.max_length)
    require(
        0 < config.held_out < 1,
        f"{name}: held_out={config.held_out} must be a share between 0 and 1.",
    )


class RegressorModel(RowsModel):
    """Saved are the features and rewards that the regressor was fitted to, as safetensors; where it
    is loaded, it is fitted to them again."""

    features_EF: Tensor
    rewards_E: Tensor
    seed: Tensor

    def __init__(self, config: "RewardRegressor") -> None:
        super().__init__(config.max_length)
        self.config = config
        self.register_buffer("features_EF", torch.zeros(0, 0))
        self.register_buffer("rewards_E", torch.zeros(0))
        self.register_buffer("seed", torch.zeros((), dtype=torch.int64))

    def restore(self, path: Path, fix: str) -> None:
        found = load_tensors(path, fix=fix)
        require(found.keys() == self.state_dict().keys(), f"{path} is of another model: {fix}.")
        self.fit(**found)

    def fit(self, features_EF: Tensor, rewards_E: Tensor, seed: Tensor) -> None:
        self.features_EF, self.rewards_E, self.seed = features_EF, rewards_E, seed
        what = f"the regressor of {_name(self.config.regressor)}"
        self.regressor = asked(what, lambda _: self.config.regressor(), pd.DataFrame())
        get_params = getattr(self.regressor, "get_params", None)
        is_regressor = callable(get_params) and hasattr(self.regressor, "predict")
        require(is_regressor, f"{what} is {self.regressor!r}; return an unfitted regressor.")
        if get_params().get("random_state", 0) is None:  # type: ignore[misc]
            self.regressor.set_params(random_state=int(seed))
        columns = pd.DataFrame(features_EF.numpy())
        asked(what, lambda frame: self.regressor.fit(frame.to_numpy(), rewards_E.numpy()), columns)

    def features(self, frame: pd.DataFrame) -> np.ndarray:
        what = f"the features of {_name(self.config.features)}"
        given = asked(what, self.config.features, frame)
        try:
            features_PF = np.asarray(given, dtype=np.float32)
        except (TypeError, ValueError):
            raise UserError(f"{what} are no numbers; give numeric columns only.") from None
        width = self.features_EF.shape[1] or features_PF.shape[-1]
        require(
            features_PF.shape == (len(frame), width) and width,
            f"{what} have the shape {features_PF.shape} for {len(frame):,} rows; give a row of "
            f"{width or 'some'} numbers for each.",
        )
        return features_PF

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        what, features_PF = f"{type(self.regressor).__name__}", self.features(frame)
        given = asked(what, lambda _: self.regressor.predict(features_PF), frame)
        return checked(what, given, frame)


@dataclass(frozen=True)
class RewardRegressor:
    """A scikit-learn regressor on features of a data frame (FRAME), fitted to the logged rewards.

    regressor: a function without arguments that makes an unfitted one.
    features: of a frame, a row of F numbers for each of its rows.
    """

    regressor: Callable[[], Any]
    features: OwnFunction
    max_length: int = 200
    held_out: float = 0.2

    def __post_init__(self) -> None:
        check_own(self, self.regressor, self.features)

    def build(self, num_items: int) -> RegressorModel:
        return RegressorModel(self)

    def train(
        self, data: RewardData, seed: int, folder: Path | None = None, device: str = "cpu"
    ) -> tuple[RegressorModel, Fitted]:
        """On the latest max_length events of each user, each with what came before it."""
        model = self.build(data.num_items)
        assert data.corpus is not None
        assert data.fit_users_N is not None
        scale, features, rewards = data.corpus.reward_scale, [], []
        for batch in fixed_batches(data.fit, self.max_length, 128):
            named = Batch(*batch._replace(sequences_B=data.fit_users_N[batch.sequences_B]))
            rows = Rows(named, data.corpus)
            for frame in _logged(rows, named):
                features.append(torch.from_numpy(model.features(frame)))
            rewards.append(torch.as_tensor(scale.from_stars(batch.reward_N.double())))
        model.fit(torch.cat(features), torch.cat(rewards).float(), torch.tensor(seed % 2**31))
        return model, without_steps(folder)


def _logged(rows: Rows, batch: Batch) -> Iterator[pd.DataFrame]:
    """The rows of the logged actions."""
    row_N, step_N = batch.mask_BT.nonzero(as_tuple=True)
    parts = (each.split(ROWS) for each in (row_N, step_N, batch.action_N))
    yield from (rows.frame(*part) for part in zip(*parts, strict=True))
