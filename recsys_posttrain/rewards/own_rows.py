"""Rows of (history, item) as a data frame, and a reward model that is asked about such rows.

Nothing here has the rewards of the whole catalogue: what needs a sum over it is refused, everything
else asks for the items that it has. P rows of a frame.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Batch, Corpus

ROWS = 2**14  # of a frame at a time
FRAME = {
    "user_id": "as in the log",
    "history_items": "ids of the items before, the latest last",
    "history_rewards": "their logged rewards, in the log's own unit",
    "history_times": "when they were logged, in seconds",
    "item_id": "the item whose reward is asked for",
    "time": "of that reward, in seconds",
}
OwnFunction = Callable[[pd.DataFrame], Any]


class RowsModel(RewardModel):
    """Asks `predict`, which a subclass defines, about each (history, item) of a batch once."""

    def __init__(self, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.corpus: Corpus | None = None

    def know(self, corpus: Corpus) -> None:
        super().know(corpus)
        self.corpus = corpus

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """The rewards of the rows, [P], finite, in the log's own unit."""
        raise TypeError(f"{type(self).__name__} does not define predict")

    def score(self, batch: Batch, items_NK: Tensor) -> Tensor:
        row_N, step_N = batch.mask_BT.nonzero(as_tuple=True)
        return self._scored(batch, row_N, step_N, items_NK)

    def score_last(self, batch: Batch, items_BK: Tensor) -> Tensor:
        step_B = batch.mask_BT.sum(dim=1) - 1
        return self._scored(batch, torch.arange(len(step_B)), step_B, items_BK)

    @torch.no_grad()
    def _scored(self, batch: Batch, row_N: Tensor, step_N: Tensor, items_NK: Tensor) -> Tensor:
        """Of items at the action after event step_N of row_N of the batch, [N, K], in stars."""
        corpus, device = self.known, items_NK.device
        size = corpus.num_items + 1
        pair_NK = torch.arange(len(row_N), device=device)[:, None] * size + items_NK
        pair_P, back_NK = pair_NK.unique(return_inverse=True)
        rows, row_N, step_N = Rows(batch.to(torch.device("cpu")), corpus), row_N.cpu(), step_N.cpu()
        found = [
            self.predict(rows.frame(row_N[each // size], step_N[each // size], each % size))
            for each in pair_P.cpu().split(ROWS)
        ]
        stars_P = corpus.reward_scale.to_stars(np.concatenate(found))
        return torch.from_numpy(np.asarray(stars_P, dtype=np.float32)).to(device)[back_NK]

    @property
    def known(self) -> Corpus:
        require(
            self.corpus is not None,
            f"{type(self).__name__} does not know a log yet: give what rp.train_reward returns.",
        )
        assert self.corpus is not None
        return self.corpus


class Rows:
    """A batch, on the CPU, in the ids and the unit of its log."""

    def __init__(self, batch: Batch, corpus: Corpus) -> None:
        self.corpus = corpus
        self.users_B = batch.sequences_B.numpy()
        self.items_BT = corpus.item_ids[(batch.history_BT - 1).clamp(min=0).numpy()]
        rewards_BT = batch.history_rewards_BT.double().numpy()
        self.rewards_BT = corpus.reward_scale.from_stars(rewards_BT)
        self.times_BT = batch.history_times_BT.numpy()
        self.next_times_BT = batch.action_times_BT.numpy()

    def frame(self, row_P: Tensor, step_P: Tensor, item_P: Tensor) -> pd.DataFrame:
        """The columns of FRAME for items at the action after event step_P of row_P."""
        row, step = row_P.numpy(), step_P.numpy()

        def histories(values_BT: np.ndarray) -> np.ndarray:
            found = np.empty(len(row), dtype=object)
            for place, (b, t) in enumerate(zip(row, step, strict=True)):
                found[place] = values_BT[b, : t + 1]
            return found

        return pd.DataFrame(
            {
                "user_id": self.corpus.user_ids[self.users_B[row]],
                "history_items": histories(self.items_BT),
                "history_rewards": histories(self.rewards_BT),
                "history_times": histories(self.times_BT),
                "item_id": self.corpus.item_ids[item_P.numpy() - 1],
                "time": self.next_times_BT[row, step],
            }
        )


def asked(what: str, function: OwnFunction, frame: pd.DataFrame) -> Any:
    """What the user's function gives. Raises: UserError where it raises anything."""
    try:
        return function(frame)
    except UserError:
        raise
    except Exception as error:
        reason = (str(error).strip() or "without a word").splitlines()[0]
        raise UserError(
            f"{what} raised {type(error).__name__} ({reason}) on a frame of {len(frame):,} rows "
            f"with the columns {', '.join(map(str, frame))}; correct it."
        ) from error


def checked(what: str, given: Any, frame: pd.DataFrame) -> np.ndarray:
    """float64 [P]. Raises: UserError for anything but one finite number for each row."""
    try:
        value_P = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{what} gave no numbers but {type(given).__name__}; correct it.") from None
    require(
        value_P.shape == (len(frame),),
        f"{what} gave {value_P.shape} numbers for {len(frame):,} rows; give one for each row.",
    )
    bad_P = ~np.isfinite(value_P)
    if bad_P.any():
        user, item = frame[["user_id", "item_id"]].iloc[int(bad_P.argmax())]
        raise UserError(
            f"{what} gave {value_P[bad_P][0]} for {int(bad_P.sum()):,} of {len(frame):,} rows, as "
            f"for item {item} and user {user}; give a finite number for each."
        )
    return value_P
