"""A reward model of the user's own that is a table: predictions of users and items, from a file.

Where the table has every user with every item and R <= MAX_RANK tastes explain it, it is a product
of a user's row and an item's, so that every method works with it; otherwise it is looked up.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.data.columns import read_ids, read_numbers
from recsys_posttrain.data.encode import as_text, numbers, some
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.data.read_table import read_tables
from recsys_posttrain.data.table_columns import ALIASES, plain
from recsys_posttrain.data.table_paths import table_hash, table_paths
from recsys_posttrain.fitted import Fitted
from recsys_posttrain.models.reward_model import RewardData, RewardModel
from recsys_posttrain.rewards.own import without_steps
from recsys_posttrain.types import Batch, Corpus

NAMES = {name: ALIASES[name] for name in ("user_id", "item_id")}
NAMES["prediction"] = ("prediction", "predictions", "predicted", "pred", "score", "rating")
MAX_RANK = 256
MOST_PAIRS = 2**26  # of a table that is made a product: 512 MiB in float64
NEAR = 1e-4  # stars: how near a product must come to every prediction


class PredictionsModel(RewardModel):
    """The model of a RewardPredictions."""

    def __init__(self, config: "RewardPredictions") -> None:
        super().__init__()
        self.path, self.content_hash, self.max_length = config.path, config.content_hash, 200
        self.user_ids = np.empty(0, dtype=object)
        self.pair_P = torch.empty(0, dtype=torch.int64)  # user * V + item - 1, ascending
        self.stars_P = torch.empty(0)
        self.product: tuple[Tensor, Tensor] | None = None  # state_UR, factor_VR

    @property
    def sums_exactly(self) -> bool:
        return self.product is not None

    def know(self, corpus: Corpus) -> None:
        """Reads the file. What it covers is said in one line."""
        super().know(corpus)
        self.user_ids = corpus.user_ids
        self.pair_P, self.stars_P, self.product = _table(self.path, self.content_hash, corpus)

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.product is None:
            return super().member_factors(batch)
        state_UR, factor_VR = self.product
        device = batch.mask_BT.device
        return state_UR[batch.user_N.cpu()].to(device)[None], factor_VR.to(device)[None]

    def score(self, batch: Batch, items_NK: Tensor) -> Tensor:
        if self.sums_exactly:
            return super().score(batch, items_NK)
        return self._looked_up(batch.user_N, items_NK)

    def score_last(self, batch: Batch, items_BK: Tensor) -> Tensor:
        return self._looked_up(batch.sequences_B, items_BK)

    def _looked_up(self, users_N: Tensor, items_NK: Tensor) -> Tensor:
        assert self.item_ids is not None
        pair_NK = (users_N[:, None] * len(self.item_ids) + items_NK - 1).cpu()
        place_NK = torch.searchsorted(self.pair_P, pair_NK).clamp(max=len(self.pair_P) - 1)
        missing_NK = self.pair_P[place_NK] != pair_NK
        if missing_NK.any():
            user, item = divmod(int(pair_NK[missing_NK][0]), len(self.item_ids))
            require(
                False,
                f"{self.path} has no prediction for {int(missing_NK.sum()):,} of the "
                f"{missing_NK.numel():,} asked for, such as item {self.item_ids[item]} for user "
                f"{self.user_ids[user]}; add them (policies may show any item to anyone).",
            )
        return self.stars_P[place_NK].to(items_NK.device)


@lru_cache(2)
def _table(
    path: str, content_hash: str, corpus: Corpus
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
    """The pairs of a log, their predictions, and the product where there is one; what is covered
    is said in one line."""
    require(
        table_hash(path) == content_hash, f"{path} has changed since it was given; start again."
    )
    pair_P, stars_P = _joined(path, _read(path), corpus)
    users, items, pairs = len(corpus.user_ids), corpus.num_items, len(pair_P)
    is_full = pairs == users * items
    product = low_rank(stars_P.view(users, items)) if is_full and pairs <= MOST_PAIRS else None
    how = f"looked up, since {users * items - pairs:,} are missing"
    if is_full:
        how = f"looked up, since no product of rank {MAX_RANK} gives them"
    how = how if product is None else "exact over the catalogue"
    note(
        f"{path}: predictions for {pairs:,} of {users * items:,} pairs of the "
        f"{counted(users, 'user')} and {counted(items, 'item')} of {corpus.name}; {how}"
    )
    return pair_P, stars_P, product


def _read(path: str) -> pd.DataFrame:
    def choose(names: list[str]) -> dict[str, int]:
        found = {}
        for wanted, aliases in NAMES.items():
            places = [place for place, name in enumerate(names) if name.strip() == wanted]
            places = places or [place for place, each in enumerate(names) if plain(each) in aliases]
            require(
                len(places) == 1,
                f"{path} has {len(places) or 'no'} column{'s' * (len(places) > 1)} for {wanted} "
                f"(the columns are {', '.join(names)}); give one of each of {', '.join(NAMES)}.",
            )
            found[wanted] = places[0]
        return found

    columns = read_tables(path, table_paths(path), choose)
    prediction_P = read_numbers(columns["prediction"])
    rule = "a prediction must be a finite number"
    columns["prediction"].plain().check(np.isfinite(prediction_P), rule)
    users, items = (read_ids(columns[name]) for name in ("user_id", "item_id"))
    return pd.DataFrame({"user_id": users, "item_id": items, "prediction": prediction_P})


def _joined(path: str, frame: pd.DataFrame, corpus: Corpus) -> tuple[Tensor, Tensor]:
    """The pairs of the log's users and items, in order, and their predictions in stars."""
    number, known = {}, np.ones(len(frame), dtype=bool)
    for name, ids in (("user_id", corpus.user_ids), ("item_id", corpus.item_ids)):
        code_P, written = pd.factorize(frame[name])
        number_W = numbers(ids, np.asarray(written))[1:].numpy()
        number[name] = number_W[code_P]
        known &= number[name] > 0
        if (unknown_W := number_W == 0).any():
            names = some(as_text(np.asarray(written)[unknown_W]))
            what = counted(int(unknown_W.sum()), name.removesuffix("_id"))
            note(f"{path}: left out: {what} that {corpus.name} does not have ({names})")
    require(known.any(), f"{path}: none of its pairs is of a user and an item of {corpus.name}.")
    pair_P = (number["user_id"] - 1) * corpus.num_items + number["item_id"] - 1
    pair_P, given_P = pair_P[known], frame["prediction"].to_numpy()[known]
    order_P = np.argsort(pair_P, kind="stable")
    pair_P, given_P = pair_P[order_P], given_P[order_P]
    if (repeated_P := np.diff(pair_P) == 0).any():
        user, item = divmod(int(pair_P[1:][repeated_P][0]), corpus.num_items)
        require(
            False,
            f"{path} has {counted(int(repeated_P.sum()), 'pair')} twice, such as item "
            f"{corpus.item_ids[item]} for user {corpus.user_ids[user]}; keep one prediction of "
            "each.",
        )
    stars_P = np.asarray(corpus.reward_scale.to_stars(given_P), dtype=np.float32)
    return torch.from_numpy(pair_P), torch.from_numpy(stars_P)


def low_rank(stars_UV: Tensor) -> tuple[Tensor, Tensor] | None:
    """A state of each user and a factor of each item, whose products are the predictions; None
    where no such pair of at most MAX_RANK columns is NEAR all of them."""
    users, items = stars_UV.shape
    if items <= MAX_RANK:
        return stars_UV, torch.eye(items)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        q = min(MAX_RANK, users)
        left_UR, size_R, factor_VR = torch.svd_lowrank(stars_UV.double(), q, niter=4)
    kept = int((size_R > 1e-7 * size_R[0]).sum())
    state_UR = (left_UR * size_R)[:, :kept].float()
    factor_VR = factor_VR[:, :kept].float()
    for state_CR, stars_CV in zip(state_UR.split(1024), stars_UV.split(1024), strict=True):
        if ((state_CR @ factor_VR.T - stars_CV).abs() > NEAR).any():
            return None
    return state_UR, factor_VR


@dataclass(frozen=True)
class RewardPredictions:
    """A .csv, .tsv (.gz) or .parquet of user_id, item_id and prediction, in the log's own unit, as
    a reward model. It learns nothing here, and predicts the same whatever a user did before.

    path: of the file; a study knows it by its content.
    held_out: half of this share of users judges it, beside baselines that learn from the others.
    """

    path: str = field(compare=False)
    held_out: float = 0.2
    content_hash: str = field(default="", init=False)
    learns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "content_hash", table_hash(self.path))
        require(
            0 < self.held_out < 1,
            f"RewardPredictions: held_out={self.held_out} must be a share between 0 and 1.",
        )

    def build(self, num_items: int) -> PredictionsModel:
        return PredictionsModel(self)

    def train(
        self, data: RewardData, seed: int, folder: Path | None = None, device: str = "cpu"
    ) -> tuple[PredictionsModel, Fitted]:
        return self.build(data.num_items), without_steps(folder)
