"""What users did, as a saved policy reads it: of its own log, another one, or a file of others."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.data import Dataset, RatingsFile, prepare
from recsys_posttrain.data.encode import (
    Encoder,
    LeftOut,
    as_text,
    encoder,
    numbers,
    same_items,
    some,
)
from recsys_posttrain.data.notes import counted, heard, note
from recsys_posttrain.data.parts import note_of_all, parts_of
from recsys_posttrain.data.prepare import corpus_of
from recsys_posttrain.data.regions import in_last_region
from recsys_posttrain.data.split import latest_events
from recsys_posttrain.errors import UserError, did_you_mean, nearest
from recsys_posttrain.models.checkpoint import SavedPolicy
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.types import Corpus, Interactions, Sequences
from recsys_posttrain.unknown_users import with_users
from recsys_posttrain.worlds.catalog import dataset_described

ALIKE = 0.75  # of difflib: short ids of other users are no misspellings
USERS_AT_A_TIME = 1 << 14
EVENTS_AT_A_TIME = 32 * 200  # of a batch, padding included: what a cache holds


class Asked(NamedTuple):
    """Who is asked for, and what they did, some thousand users at a time.

    users: how many there are, at most. parts: yields ids, and the histories of these users.
    """

    users: int
    parts: Iterator[tuple[np.ndarray, Sequences]]


def histories_of(
    saved: SavedPolicy,
    users: list[str] | None,
    histories: Path | None,
    data_root: str | None = None,
    source: Dataset | None = None,
    columns: str = "",
) -> Asked:
    """As `recommend` describes its arguments."""
    if histories is not None:
        file = named(RatingsFile(str(histories), minimum_events=1), columns)
        file = cast(RatingsFile, read_alike(saved, file))
        if (found := parts_of(file)) is not None:
            return Asked(found[0], _of_parts(saved, file.name, found[1]))
        corpus = corpus_of(file.load(), repeats=saved.repeats)
        whole = known(saved, corpus, rows_of(corpus, None, ""), is_log=False)
    else:
        whole = histories_of_dataset(saved, users, data_root, source, columns)
    return Asked(len(whole[0]), _pieces(*whole))


def _pieces(user_ids: np.ndarray, sequences: Sequences) -> Iterator[tuple[np.ndarray, Sequences]]:
    longest = int(sequences.lengths_N.max())
    for start in range(0, len(user_ids), USERS_AT_A_TIME):
        rows_N = torch.arange(start, min(start + USERS_AT_A_TIME, len(user_ids)))
        yield user_ids[start : start + USERS_AT_A_TIME], latest_events(sequences, rows_N, longest)


def _of_parts(
    saved: SavedPolicy, name: str, parts: Iterator[Interactions]
) -> Iterator[tuple[np.ndarray, Sequences]]:
    """What is said of each part is said once, at the end."""
    left, users = LeftOut(), 0
    with heard(keep=True) as said:
        for part in parts:
            corpus = corpus_of(part, repeats=saved.repeats)
            found = _matched(saved, corpus, np.arange(len(corpus.user_ids)), left)
            users += len(found[0])
            if len(found[0]):
                yield from _pieces(*found)
    note_of_all(said)
    _say(saved, name, left, users, [str(left)] if left.events else [])


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
    for path in (getattr(each, "path", None) for each in getattr(found, "logs", (found,))):
        if path is not None and not (Path(path).exists() or glob(path)):
            raise UserError(f"the policy was trained on {path}, which is not there any more: {fix}")
    return found


def read_alike(saved: SavedPolicy, log: Dataset) -> Dataset:
    """A file has its columns and its reward where the file that the policy was trained on had; that
    very file is read by all of its rules."""
    source = saved.source.get("logs", [saved.source])[-1]  # of several, the newest
    if not (isinstance(log, RatingsFile) and source.get("class") == "RatingsFile"):
        return log
    own = {name: source.get(name, "") for name in ("reward", "columns")}
    alike = replace(log, **{name: rule for name, rule in own.items() if not getattr(log, name)})
    rules = {name: source[name] for name in ("signals", "duplicates") if name in source}
    exact = replace(alike, **rules)
    return exact if exact.content_hash() == saved.content_hash else alike


def histories_of_dataset(
    saved: SavedPolicy,
    users: list[str] | None,
    data_root: str | None,
    source: Dataset | None = None,
    columns: str = "",
) -> tuple[np.ndarray, Sequences]:
    """The whole history of the named users (of all by their ids, for None), as the policy reads it:
    in its log where that was, or in `source`."""
    require(source or not columns, f"--columns {columns}: is for a file: give --log FILE too")
    dataset = log_of(saved, data_root) if source is None else named(source, columns)
    dataset = read_alike(saved, dataset)
    # All items: which are rare is for the log of the training to say, not for the one of today.
    corpus = prepare(dataset, minimum_item_ratings=1)
    corpus = with_users(saved, corpus, users)
    return known(saved, corpus, rows_of(corpus, users, "--users"))


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


def states_of(policy: Policy, histories: Sequences) -> Tensor:
    """The state after each history, [N, D]. Short ones go through the encoder many at a time: of
    few, most of the time is that of the calls."""
    lengths_N = histories.lengths_N.clamp(max=policy.max_length)
    power_N = lengths_N.double().log2().ceil().long()
    states_ND = torch.empty(len(histories), policy.item_embedding_VD.shape[1])
    for power in power_N.unique().tolist():
        rows_N = (power_N == power).nonzero().squeeze(1)
        part = latest_events(histories, rows_N, policy.max_length)
        states_ND[rows_N] = policy.last_hidden_states(part, rows=EVENTS_AT_A_TIME >> power)
    return states_ND


def as_read(saved: SavedPolicy, corpus: Corpus) -> Sequences:
    """The events with their rewards in the stars that the policy was trained on."""
    raw_E = corpus.reward_scale.from_stars(corpus.sequences.rewards_E.double().numpy())
    rewards_E = torch.from_numpy(saved.reward_scale.to_stars(raw_E.astype(np.float32)))
    return replace(corpus.sequences, rewards_E=rewards_E)


def known(
    saved: SavedPolicy, corpus: Corpus, rows_N: np.ndarray, is_log: bool = True
) -> tuple[np.ndarray, Sequences]:
    """These users' events on items that the policy knows, and who has such. What is left out, and
    that the log is not the one that the policy was trained on, is said in one line on stderr."""
    encoder(corpus, saved.item_ids, len(saved.item_ids))  # raises where it knows no item
    left, said = LeftOut(), []
    found = _matched(saved, corpus, rows_N, left)
    if is_log and corpus.content_hash != saved.content_hash:
        said.append(
            f"not what the policy was trained on (SHA-256 {corpus.content_hash[:12]}..., not "
            f"{saved.content_hash[:12]}...), so items are matched by id"
        )
    # Of its own log, a policy leaves out the items that were too rare to learn.
    if left.events and (said or not is_log or left.users):
        said.append(str(left))
    _say(saved, corpus.name, left, len(found[0]), said)
    return found


def _matched(
    saved: SavedPolicy, corpus: Corpus, rows_N: np.ndarray, left: LeftOut
) -> tuple[np.ndarray, Sequences]:
    """As `known`; what is left out is added to `left`."""
    longest = int(corpus.sequences.lengths_N.max())
    asked = Corpus(
        corpus.name,
        in_last_region(latest_events(as_read(saved, corpus), torch.from_numpy(rows_N), longest)),
        corpus.user_ids[rows_N],
        corpus.item_ids,
        corpus.content_hash,
    )
    is_same = same_items(saved.item_ids, corpus.item_ids)
    if is_same and saved.unknown_users is None:
        return asked.user_ids, asked.sequences
    numbers_V1 = numbers(saved.item_ids, corpus.item_ids)
    encoded = asked if is_same else Encoder(saved.item_ids, numbers_V1).corpus(asked)
    left.add(asked, encoded)
    left.add_users(asked.user_ids[(asked.sequences.lengths_N == 0).numpy()])
    kept_N = encoded.sequences.lengths_N > 0
    if saved.unknown_users == "popularity":
        kept_N = torch.ones_like(kept_N)
    rows = kept_N.nonzero().squeeze(1)
    return asked.user_ids[kept_N.numpy()], latest_events(encoded.sequences, rows, longest)


def _say(saved: SavedPolicy, name: str, left: LeftOut, users: int, said: list[str]) -> None:
    """In one line; users: with something that the policy knows. Raises: UserError for none."""
    require(
        users,
        f"{name}: no user asked for ({some(left.first_users)}) has an item that the policy knows, "
        "so there is nothing to recommend from; give users with events on items of "
        f"{saved.dataset}, such as {as_text(saved.item_ids)[0]!r}",
    )
    if left.users and saved.unknown_users is None:
        said.append("such users get no recommendation")
    elif left.users:
        get = "no recommendation" if saved.unknown_users == "nothing" else "the most popular items"
        who = f"{counted(left.users, 'user')} without an item that the policy knows"
        said.append(f"{who} get {get} ({some(left.first_users)})")
    if said:
        note(f"{name}: " + "; ".join(said))
