"""Top items from a saved policy, for users of its dataset or for anybody with a history."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import torch

from recsys_posttrain.config import require
from recsys_posttrain.data import Dataset
from recsys_posttrain.data.encode import as_text, some
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.data.regions import check_region, regions_after
from recsys_posttrain.data.repeats import removed_items
from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.ranking import top_items
from recsys_posttrain.files import check_output, disk_is_explained, replacing
from recsys_posttrain.histories import Asked, histories_of, states_of
from recsys_posttrain.models.checkpoint import SavedPolicy, load_policy
from recsys_posttrain.models.new_items import add_items
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.progress import plain_console, progress_bar
from recsys_posttrain.types import Repeats, Sequences
from recsys_posttrain.unknown_users import UnknownUsers, asked_for, or_popular


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
    at: str = "",
    items: Path | None = None,
    unknown_users: UnknownUsers = None,
    region: str = "",
    bfloat16_items: bool = False,
) -> pd.DataFrame | None:
    """k items for each user: columns user_id, item_id, score, rank (from 1).

    users: ids of the policy's own dataset, or of `source` where that is given; None: all of them.
    histories: a ratings file of other users, with the same item ids. repeats: whether what a user
    had may be shown; None: as the policy's log had it. tilt: a temperature in stars; the policy's
    probabilities are multiplied by exp(r_hat / tilt). reward: the folder of that model; None: the
    one that the policy was post-trained with. columns: of the file: "user=uid,item=vid". at: a
    date, at which windows say what may be shown; empty: now. items: a file of new titles for
    `add_items`. unknown_users: what those without a known item get; None: nothing, and ids that the
    log does not have are refused. region: where all users are, of a policy with windows by region;
    empty: where the last event of each was. bfloat16_items: as for `load_policy`. The score is the
    logit, comparable within one user only. Written as .csv or .parquet, or printed.

    Events on items that the policy does not know, and users who have no others, are left out and
    counted in one line on stderr. Users come in the order of their ids; those of a large parquet
    file, which is read in parts, in its order. Returns: what was printed.

    Errors: UserError for unknown users, items or file types.
    """
    if output is not None:
        check_output(output, "--output", (".csv", ".parquet"))
    saved = asked_for(load_policy(policy_folder, bfloat16_items=bfloat16_items), unknown_users)
    saved = saved if items is None else add_items(saved, items)
    ranker: Ranker = saved.policy
    if tilt is not None:
        require(tilt > 0, f"--tilt {tilt:g}: give a temperature above 0, such as 0.3.")
        # Imported here: with it comes all that trains one, which takes seconds.
        from recsys_posttrain.studies.saved_reward import reward_of
        from recsys_posttrain.untrained.tilt import tilted

        ranker = tilted(saved.policy, reward_of(policy_folder, saved, reward), tilt)
    moment = moment_of(saved, at)
    check_region(saved.windows, region)
    saved_as = saved._replace(repeats=repeats or saved.repeats)
    asked = histories_of(saved, users, histories, data_root, source, columns)
    tables: list[pa.Table] = []
    emptied: list[str] = []
    with nullcontext(tables.append) if output is None else writing(output) as add:
        for user_ids, sequences in followed(asked, "users"):
            table, all_had = lists(ranker, saved_as, user_ids, sequences, k, moment, region)
            emptied += all_had
            add(table)
    say_emptied(emptied)
    if output is not None:
        return None
    frame: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    print(frame.to_string(index=False))
    return frame


def followed(asked: Asked, title: str) -> Iterator[tuple[np.ndarray, Sequences]]:
    """The parts, with a bar on a terminal."""
    with progress_bar(title, asked.users, plain_console(stderr=True)) as advance:
        for part in asked.parts:
            yield part
            advance(len(part[0]))


@contextmanager
def writing(path: Path, option: str = "--output") -> Iterator[Callable[[pa.Table], None]]:
    """A .csv or .parquet file of tables with the same columns, there whole or not at all: yields
    how to add one. The parquet has checksums, and a table is a row group."""
    with disk_is_explained(path.parent, option):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, option) as temporary, ExitStack() as stack:
        if path.suffix == ".csv":
            file = stack.enter_context(temporary.open("w", encoding="utf-8", newline=""))
            yield lambda table: table.to_pandas().to_csv(file, index=False, header=not file.tell())
            return
        writers: list[pq.ParquetWriter] = []

        def add(table: pa.Table) -> None:
            if not writers:
                made = pq.ParquetWriter(temporary, table.schema, write_page_checksum=True)
                writers.append(stack.enter_context(made))
            writers[0].write_table(table)

        yield add


def lists(
    ranker: Ranker,
    saved: SavedPolicy,
    user_ids: np.ndarray,
    sequences: Sequences,
    k: int,
    moment: int | None = None,
    region: str = "",
) -> tuple[pa.Table, list[str]]:
    """k items for each of these users, in the columns of `recommend`, and who had every item.
    moment, region: as for `not_to_show`."""
    removed = not_to_show(saved, sequences, moment, region)
    scores = or_popular(saved, sequences, partial(_scores, ranker))
    items_NK, score_NK = top_items(*scores, k, removed)
    # A user who has seen almost everything gets fewer than k items; item 0 stands for none.
    real_NK = (items_NK > 0).numpy()
    row_R, rank_R = np.nonzero(real_NK)
    table = pa.table(
        {
            "user_id": pa.array(user_ids.tolist()).take(pa.array(row_R)),
            "item_id": pa.array(saved.item_ids.tolist()).take(
                pa.array(items_NK.numpy()[real_NK] - 1)
            ),
            "score": score_NK.numpy()[real_NK],
            "rank": rank_R + 1,
        }
    )
    return table, as_text(user_ids[~real_NK.any(axis=1)])


def _scores(ranker: Ranker, sequences: Sequences) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(ranker, Policy):
        return states_of(ranker, sequences), ranker.item_embedding_VD
    return ranker.scores(sequences)


def say_emptied(users: list[str]) -> None:
    if users:
        note(
            f"{counted(len(users), 'user')} had every item that the policy may show, so nothing is "
            f"left to recommend: {some(users)}"
        )


def moment_of(saved: SavedPolicy, at: str) -> int:
    """A date in seconds; empty: now.

    Raises: UserError for what is none, and where no item has a window."""
    require(not at or saved.windows is not None, f"--at {at}: this policy has no windows of items.")
    try:
        return int(pd.Timestamp(at or "now", tz="UTC").timestamp())
    except ValueError:
        raise UserError(f"--at {at}: give a date such as 2024-01-31 or 2024-01-31T12:00.") from None


def not_to_show(
    saved: SavedPolicy, histories: Sequences, moment: int | None = None, region: str = ""
) -> Excluded:
    """What the policy may not show after these histories at a moment, in seconds; None: now.
    region: where the users are; empty: where the last event of each was."""
    moment = moment_of(saved, "") if moment is None else moment
    when = torch.full((len(histories),), moment), regions_after(saved.windows, histories, region)
    return removed_items(histories, saved.repeats, saved.never_shown_M, saved.windows, *when)
