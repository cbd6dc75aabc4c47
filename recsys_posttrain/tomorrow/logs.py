"""The log of today and that of yesterday, as a saved policy reads them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.data import Dataset, JoinedLogs, RatingsFile
from recsys_posttrain.data.encode import LeftOut, as_text, encoder
from recsys_posttrain.data.joined import Loaded, joined, lost_columns
from recsys_posttrain.data.newest import Newest, newest
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.data.prepare import corpus_of
from recsys_posttrain.data.regions import windows_for
from recsys_posttrain.data.table_file import interactions_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.histories import as_read, log_of, read_alike
from recsys_posttrain.models.checkpoint import SavedPolicy
from recsys_posttrain.types import Corpus, Interactions
from recsys_posttrain.worlds.catalog import dataset_named

Log = str | Path | pd.DataFrame | Dataset


def source_of(
    saved: SavedPolicy, log: Log, columns: Mapping[str, str], data_root: str | None = None
) -> Dataset:
    """The log as a dataset; a file is read as the one that the policy was trained on."""
    if isinstance(log, pd.DataFrame):
        return Loaded(interactions_of(log, columns, minimum_events=1))
    if isinstance(log, str | Path):
        log = dataset_named(str(log), data_root)
    if isinstance(log, RatingsFile):
        names = ",".join(f"{ours}={theirs}" for ours, theirs in columns.items())
        path = str(Path(log.path).expanduser().absolute())
        log = replace(log, path=path, minimum_events=1, columns=names or log.columns)
        signals = saved.source.get("logs", [saved.source])[-1].get("signals", "")
        log = replace(log, signals=log.signals or signals)
    return read_alike(saved, log)


class Logs:
    """The log of today and that of yesterday. past: None: where the policy says that it was."""

    def __init__(self, saved: SavedPolicy, today: Dataset, past: Dataset | None) -> None:
        self.saved = saved
        self.today = today
        self.past = past or _past_of(saved)

    @property
    def dataset(self) -> Dataset | None:
        """Both, as whoever recommends finds them again; None: one is a data frame."""
        parts = [each for each in (self.past, self.today) if each is not None]
        if any(isinstance(each, Loaded) for each in parts):
            return None
        logs = [log for each in parts for log in getattr(each, "logs", (each,))]
        kept = tuple(dict.fromkeys(reversed(logs)))[::-1]
        return kept[0] if len(kept) == 1 else JoinedLogs(kept)

    def newest(self, replay: float, seed: int) -> Newest:
        """Raises: UserError where there is nothing new that the policy knows."""
        saved, fresh = self.saved, self.today.load()
        since = saved.newest
        if since is not None:
            _check_news(saved, fresh, since)
        past = None if self.past is None else self.past.load()
        if since is None:
            require(
                past is not None,
                "the policy does not say when its log ended, and that log is not there: give it "
                "with --past FILE.",
            )
            assert past is not None
            since = int(past.seconds.max())
            _check_news(saved, fresh, since)
        if past is not None and (lost := lost_columns(past, fresh)):
            note(f"left out: {', '.join(lost)}, which only one of {past.name} and {fresh.name} has")
        corpus = known_corpus(saved, fresh if past is None else joined(past, fresh))
        return newest(corpus, since, replay, seed)


def _past_of(saved: SavedPolicy) -> Dataset | None:
    try:
        return log_of(saved)
    except UserError:
        note(
            f"the log of the policy, {saved.dataset}, is not there (give it with --past): the past "
            "is what the new log holds of it"
        )
        return None


def _check_news(saved: SavedPolicy, fresh: Interactions, since: int) -> None:
    """Raises: UserError unless the log has a newer event on an item that the policy knows."""
    known = set(as_text(saved.item_ids))
    item_E, item_ids = pd.factorize(fresh.frame["item_id"])
    is_known_E = np.array([str(each) in known for each in item_ids.tolist()])[item_E]
    require(
        is_known_E.any(),
        f"{fresh.name}: none of its items is known to the policy, which was trained with item ids "
        f"such as {as_text(saved.item_ids)[0]!r}; give a log with the same ids.",
    )
    is_new_E = (fresh.seconds > since).to_numpy()
    require(
        is_new_E.any(),
        f"{fresh.name} ends on {_when(int(fresh.seconds.max()))} and the log of the policy on "
        f"{_when(since)}: nothing is new; give a log with later events.",
    )
    require(
        (is_new_E & is_known_E).any(),
        f"{fresh.name}: none of its {counted(int(is_new_E.sum()), 'event')} after {_when(since)} "
        "is on an item that the policy knows; pretrain a policy that knows the new items.",
    )


def _when(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def known_corpus(saved: SavedPolicy, interactions: Interactions) -> Corpus:
    """The log as the policy reads it: its items, its numbering, its stars, its rules. What it does
    not know is left out and counted in one line."""
    corpus = corpus_of(interactions)
    missing = corpus.reward_scale.missing
    corpus = replace(corpus, sequences=as_read(saved, corpus))
    found = encoder(corpus, saved.item_ids, len(saved.item_ids))
    known = corpus if found is None else found.corpus(corpus)
    if found is not None:
        left = LeftOut().add(corpus, known)
        note(f"{corpus.name}: items are matched with the policy's by id; {left}")
    return replace(
        known,
        reward_scale=replace(saved.reward_scale, missing=missing or saved.reward_scale.missing),
        repeats=saved.repeats,
        never_shown_M=saved.never_shown_M,
        windows=windows_for(known, saved.windows, "the policy"),
    )
