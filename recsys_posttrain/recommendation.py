"""Top items from a saved policy, for users of its dataset or for anybody with a history."""

from pathlib import Path

import numpy as np
import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.data import Dataset
from recsys_posttrain.data.encode import some
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.files import check_output, disk_is_explained, write_parquet, write_text
from recsys_posttrain.histories import histories_of
from recsys_posttrain.models.checkpoint import SavedPolicy, load_policy
from recsys_posttrain.models.new_items import add_items
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.types import Repeats, Sequences
from recsys_posttrain.unknown_users import UnknownUsers, tops


def recommend(
    policy_folder: Path,
    users: list[str] | None,
    histories: Path | None,
    k: int,
    output: Path | None,
    data_root: str | None = None,
    source: Dataset | None = None,
    repeats: Repeats | None = None,
    tilt: float | None = None,
    reward: Path | None = None,
    columns: str = "",
    items: Path | None = None,
    unknown_users: UnknownUsers = None,
) -> pd.DataFrame:
    """k items for each user: columns user_id, item_id, score, rank (from 1).

    users: ids of the policy's own dataset, or of `source` where that is given; None: all of them.
    histories: a ratings file of other users, with the same item ids. repeats: whether what a user
    had may be shown; None: as the policy's log had it. tilt: a temperature in stars; the policy's
    probabilities are multiplied by exp(r_hat / tilt). reward: the folder of that model; None: the
    one that the policy was post-trained with. columns: of the file: "user=uid,item=vid". The score
    is the logit, comparable within one user only. items: a file of new titles for `add_items`.
    unknown_users: what those without a known item get; None: nothing, and ids that the log does not
    have are refused. Written as .csv or .parquet, or printed.

    Events on items that the policy does not know, and users who have no others, are left out and
    counted in one line on stderr. Errors: UserError for unknown users, items or file types.
    """
    if output is not None:
        check_output(output, "--output", (".csv", ".parquet"))
    saved = load_policy(policy_folder)
    saved = saved if items is None else add_items(saved, items)
    ranker: Ranker = saved.policy
    if tilt is not None:
        require(tilt > 0, f"--tilt {tilt:g}: give a temperature above 0, such as 0.3.")
        # Imported here: with it comes all that trains one, which takes seconds.
        from recsys_posttrain.studies.saved_reward import reward_of
        from recsys_posttrain.untrained.tilt import tilted

        ranker = tilted(saved.policy, reward_of(policy_folder, saved, reward), tilt)
    asked = users, histories, data_root, source, columns, unknown_users
    user_ids, sequences = histories_of(saved, *asked)
    saved = saved._replace(repeats=repeats or saved.repeats)
    frame = lists(ranker, saved, user_ids, sequences, k)
    if output is None:
        print(frame.to_string(index=False))
        return frame
    with disk_is_explained(output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".csv":
        write_text(output, frame.to_csv(index=False))
    else:
        write_parquet(frame, output)
    return frame


def lists(
    ranker: Ranker, saved: SavedPolicy, user_ids: np.ndarray, sequences: Sequences, k: int
) -> pd.DataFrame:
    """k items for each of these users, in the columns of `recommend`."""
    items_NK, score_NK = tops(ranker, saved, sequences, k)
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
    if (served := set(row_R.tolist())) != set(range(len(user_ids))):
        rest = [str(user) for row, user in enumerate(user_ids.tolist()) if row not in served]
        note(
            f"{counted(len(rest), 'user')} had every item that the policy may show, so nothing is "
            f"left to recommend: {some(rest)}"
        )
    return frame
