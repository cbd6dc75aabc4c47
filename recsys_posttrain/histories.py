"""What users did, as a saved policy reads it: of its own log, another one, or a file of others."""

from collections.abc import Sequence
from dataclasses import replace
from glob import glob
from pathlib import Path

import numpy as np
import torch

from recsys_posttrain.config import require
from recsys_posttrain.data import Dataset, RatingsFile, prepare
from recsys_posttrain.data.encode import as_text, encoder, left_out, some
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.data.prepare import corpus_of
from recsys_posttrain.data.split import latest_events
from recsys_posttrain.errors import UserError, did_you_mean, nearest
from recsys_posttrain.models.checkpoint import SavedPolicy
from recsys_posttrain.types import Corpus, Sequences
from recsys_posttrain.unknown_users import UnknownUsers, with_users
from recsys_posttrain.worlds.catalog import dataset_described

ALIKE = 0.75  # of difflib: short ids of other users are no misspellings


def histories_of(
    saved: SavedPolicy,
    users: list[str] | None,
    histories: Path | None,
    data_root: str | None = None,
    source: Dataset | None = None,
    columns: str = "",
    unknown_users: UnknownUsers = None,
) -> tuple[np.ndarray, Sequences]:
    """Who is asked for, and what they did: as `recommend` describes its arguments."""
    if histories is None:
        require(source or not columns, f"--columns {columns}: is for a file: give --log FILE too")
        source = source and named(source, columns)
        return histories_of_dataset(saved, users, data_root, source, unknown_users)
    file = named(RatingsFile(str(histories), minimum_events=1), columns)
    return _of_file(saved, file, unknown_users)


def log_of(saved: SavedPolicy, data_root: str | None = None) -> Dataset:
    """The log that the policy was trained on, where that was.

    Errors: UserError where it is gone, or is no dataset of this package.
    """
    fix = "say where its users' events are now with --log FILE or --dataset NAME"
    require(saved.source, f"the policy does not say where its log is ({saved.dataset}): {fix}")
    try:
        found = dataset_described(saved.source, data_root)
    except UserError:
        raise UserError(
            f"the policy was trained on {saved.dataset} ({saved.source}), which cannot be read "
            f"from here by its description: {fix}"
        ) from None
    path = getattr(found, "path", None)
    if path is not None and not (Path(path).exists() or glob(path)):
        raise UserError(f"the policy was trained on {path}, which is not there any more: {fix}")
    return found


def _read_alike(saved: SavedPolicy, log: Dataset) -> Dataset:
    """A file has its columns and its reward where the file that the policy was trained on had."""
    if not (isinstance(log, RatingsFile) and saved.source.get("class") == "RatingsFile"):
        return log
    own = {name: saved.source.get(name, "") for name in ("reward", "columns")}
    return replace(log, **{name: rule for name, rule in own.items() if not getattr(log, name)})


def histories_of_dataset(
    saved: SavedPolicy,
    users: list[str] | None,
    data_root: str | None,
    source: Dataset | None = None,
    unknown_users: UnknownUsers = None,
) -> tuple[np.ndarray, Sequences]:
    """The whole history of the named users (of all by their ids, for None), as the policy reads it:
    in its log where that was, or in `source`."""
    dataset = log_of(saved, data_root) if source is None else _read_alike(saved, source)
    # All items: which are rare is for the log of the training to say, not for the one of today.
    corpus = prepare(dataset, minimum_item_ratings=1)
    corpus = corpus if unknown_users is None else with_users(corpus, users or ())
    rows_N = rows_of(corpus, users, "--users")
    return known(saved, corpus, rows_N, unknown_users=unknown_users)


def rows_of(corpus: Corpus, users: Sequence[str | int] | None, given: str) -> np.ndarray:
    """The users' rows; of all by their ids, for None. given: what the user calls the argument.

    Errors: UserError for nobody, and for an id that is none.
    """
    if users is None:
        return np.argsort(corpus.user_ids, kind="stable")
    require(len(users), f"{given} names nobody; give one id or more")
    row_of = {user: row for row, user in enumerate(as_text(corpus.user_ids))}
    wanted = [str(user) for user in users]
    if unknown := [user for user in wanted if user not in row_of]:
        hint = did_you_mean(nearest(unknown[0], row_of, ALIKE))
        raise UserError(
            f"{given}: {corpus.name} has no user {unknown[0]!r}{hint} (it has {len(row_of):,}, for "
            f"example {next(iter(row_of))!r}); give ids as the dataset writes them"
        )
    return np.array([row_of[user] for user in wanted])


def named(log: Dataset, columns: str) -> Dataset:
    """A file in which columns have these names."""
    require(not columns or isinstance(log, RatingsFile), f"--columns {columns}: is for a file.")
    return replace(log, columns=columns) if columns and isinstance(log, RatingsFile) else log


def _of_file(
    saved: SavedPolicy, file: Dataset, unknown_users: UnknownUsers
) -> tuple[np.ndarray, Sequences]:
    """Of everybody in a ratings file, by their ids."""
    corpus = corpus_of(_read_alike(saved, file).load())
    return known(saved, corpus, rows_of(corpus, None, ""), False, unknown_users)


def as_read(saved: SavedPolicy, corpus: Corpus) -> Sequences:
    """The events with their rewards in the stars that the policy was trained on."""
    raw_E = corpus.reward_scale.from_stars(corpus.sequences.rewards_E.double().numpy())
    rewards_E = torch.from_numpy(saved.reward_scale.to_stars(raw_E.astype(np.float32)))
    return replace(corpus.sequences, rewards_E=rewards_E)


def known(
    saved: SavedPolicy,
    corpus: Corpus,
    rows_N: np.ndarray,
    is_log: bool = True,
    unknown_users: UnknownUsers = None,
) -> tuple[np.ndarray, Sequences]:
    """These users' events on items that the policy knows, and who has such; where the others get
    what is popular, they too, without an event. What is left out, and that the log is not the one
    that the policy was trained on, is said in one line on stderr."""
    longest = int(corpus.sequences.lengths_N.max())
    asked = Corpus(
        corpus.name,
        latest_events(as_read(saved, corpus), torch.from_numpy(rows_N), longest),
        corpus.user_ids[rows_N],
        corpus.item_ids,
        corpus.content_hash,
    )
    found = encoder(corpus, saved.item_ids, len(saved.item_ids))
    encoded = asked if found is None else found.corpus(asked)
    said = []
    if is_log and corpus.content_hash != saved.content_hash:
        said.append(
            f"not what the policy was trained on (SHA-256 {corpus.content_hash[:12]}..., not "
            f"{saved.content_hash[:12]}...), so items are matched by id"
        )
    empty_N = (encoded.sequences.lengths_N == 0).numpy()
    # Of its own log, a policy leaves out the items that were too rare to learn.
    if len(encoded.sequences.items_E) < len(asked.sequences.items_E) and (
        said or not is_log or empty_N.any()
    ):
        said.append(left_out(asked, encoded))
    is_popular = unknown_users == "popularity"
    if is_popular and saved.popularity_V is None:
        raise UserError(
            "--unknown-users popularity: the policy was saved by a version that did not keep how "
            "often items were chosen; train it anew, or give --unknown-users nothing"
        )
    require(
        is_popular or not empty_N.all(),
        f"{corpus.name}: no user asked for ({some(as_text(asked.user_ids))}) has an item that the "
        "policy knows, so there is nothing to recommend from; give users with events on items of "
        f"{saved.dataset}, such as {as_text(saved.item_ids)[0]!r}",
    )
    if empty_N.any():
        names = as_text(asked.user_ids[empty_N])
        get = "the most popular items" if is_popular else "no recommendation"
        who = f"{counted(len(names), 'user')} without an item that the policy knows"
        said.append(f"{who} get {get}: {some(names)}")
    if said:
        note(f"{corpus.name}: " + "; ".join(said))
    kept_N = np.ones_like(empty_N) if is_popular else ~empty_N
    rows = torch.from_numpy(np.flatnonzero(kept_N))
    return asked.user_ids[kept_N], latest_events(encoded.sequences, rows, longest)
