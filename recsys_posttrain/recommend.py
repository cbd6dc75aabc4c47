"""Top items from a saved policy, for users of its dataset or for anybody with a history."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recsys_posttrain.config import require
from recsys_posttrain.data import RatingsFile, prepare
from recsys_posttrain.data.split import latest_events
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.ranking import top_items
from recsys_posttrain.files import check_writable, disk_is_explained, replacing
from recsys_posttrain.named import dataset_named
from recsys_posttrain.saved_policy import SavedPolicy, load_policy
from recsys_posttrain.types import Sequences


def recommend(
    policy_folder: Path,
    users: list[str] | None,
    histories: Path | None,
    k: int,
    output: Path | None,
    data_root: str | None = None,
) -> pd.DataFrame:
    """k unseen items for each user: columns user_id, item_id, score, rank (from 1).

    users: ids of the policy's own dataset. histories: a ratings file of other users, with the
    same item ids. The score is the policy's logit, comparable within one user only. Written as
    .csv or .parquet, or printed. Errors: UserError for unknown users, items or file types.
    """
    if output is not None:
        if output.suffix not in (".csv", ".parquet"):
            raise UserError(f"--output {output}: the name must end in .csv or .parquet")
        require(not output.is_dir(), f"--output {output} is a folder: give the name of a file")
        check_writable(output.parent)
    saved = load_policy(policy_folder)
    user_ids, sequences = (
        histories_of_dataset(saved, users, data_root)
        if histories is None
        else _of_file(saved, histories)
    )
    states_ND = saved.policy.last_states(sequences)
    items_NK, score_NK = top_items(
        states_ND, saved.policy.table_VD, k, sequences.items_E, sequences.offsets_N1
    )
    # A user who has seen almost everything gets fewer than k items; item 0 stands for none.
    real_NK = (items_NK > 0).numpy()
    row_R, rank_R = np.nonzero(real_NK)
    frame = pd.DataFrame(
        {
            "user_id": user_ids[row_R],
            "item_id": saved.item_ids[items_NK.numpy()[real_NK] - 1],
            "score": score_NK.numpy()[real_NK],
            "rank": rank_R + 1,
        }
    )
    if output is None:
        print(frame.to_string(index=False))
        return frame
    with disk_is_explained(output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as temporary:
        if output.suffix == ".csv":
            frame.to_csv(temporary, index=False)
        else:
            frame.to_parquet(temporary, index=False)
    return frame


def histories_of_dataset(
    saved: SavedPolicy, users: list[str] | None, data_root: str | None
) -> tuple[np.ndarray, Sequences]:
    """The whole history of the named users (of all, for None)."""
    corpus = prepare(dataset_named(saved.dataset, data_root), saved.minimum_item_ratings)
    raw_E = corpus.reward_scale.from_stars(corpus.sequences.rewards_E.double().numpy())
    sequences = replace(corpus.sequences, rewards_E=as_read(saved, raw_E))
    if users is None:
        return corpus.user_ids, sequences
    require(users, "--users names nobody; give one id or more, separated by commas")
    row_of = {str(user): row for row, user in enumerate(corpus.user_ids.tolist())}
    unknown = [user for user in users if user not in row_of]
    if unknown:
        raise UserError(
            f"--users: {corpus.name} has no user {unknown[0]!r} (it has {len(row_of):,}, for "
            f"example {next(iter(row_of))!r}); give ids as the dataset writes them"
        )
    rows_N = torch.tensor([row_of[user] for user in users], dtype=torch.int64)
    longest = int(sequences.lengths_N.max())
    return corpus.user_ids[rows_N.numpy()], latest_events(sequences, rows_N, longest)


def as_read(saved: SavedPolicy, raw_E: np.ndarray) -> torch.Tensor:
    """Rewards as they are logged, in the stars that the policy was trained on."""
    return torch.from_numpy(saved.reward_scale.to_stars(raw_E.astype(np.float32)))


def _of_file(saved: SavedPolicy, path: Path) -> tuple[np.ndarray, Sequences]:
    """Events of a ratings file in time order; events on items the policy does not know are left
    out, because it has no vector for them."""
    interactions = RatingsFile(str(path), minimum_events=1).load()
    frame = interactions.frame.assign(seconds=interactions.seconds)
    frame = frame.sort_values(["user_id", "timestamp"], kind="stable")
    index_of = {str(item): index + 1 for index, item in enumerate(saved.item_ids.tolist())}
    item_E = frame["item_id"].astype(str).map(index_of)
    frame, item_E = frame[item_E.notna()], item_E[item_E.notna()]
    if frame.empty:
        raise UserError(
            f"{path}: none of its items is known to the policy, which was trained on "
            f"{saved.dataset} with item ids such as {next(iter(index_of))!r}"
        )
    user_E, user_ids = pd.factorize(frame["user_id"])
    count_N = np.bincount(user_E)
    return np.asarray(user_ids), Sequences(
        items_E=torch.tensor(item_E.to_numpy(dtype=np.int64)),
        rewards_E=as_read(saved, frame["rating"].to_numpy()),
        timestamps_E=torch.tensor(frame["seconds"].to_numpy(dtype=np.int64)),
        offsets_N1=torch.tensor(np.concatenate([[0], count_N.cumsum()])),
    )
