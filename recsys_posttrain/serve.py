"""Policies in Python: saved, loaded again, and asked for recommendations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType

import pandas as pd
from torch import nn

from recsys_posttrain.config import require, require_kind, require_kinds
from recsys_posttrain.data.prepare import corpus_of
from recsys_posttrain.data.regions import check_region
from recsys_posttrain.data.table_file import interactions_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.histories import known, rows_of
from recsys_posttrain.models import checkpoint
from recsys_posttrain.models.backbone import BackboneConfig
from recsys_posttrain.models.checkpoint import SavedPolicy, event_counts_of, popularity
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.recommendation import lists, moment_of, say_emptied
from recsys_posttrain.types import Split
from recsys_posttrain.unknown_users import UnknownUsers, asked_for, with_users


def save_policy(policy: Policy, folder: str | Path, data: Split) -> None:
    """Writes a policy of `pretrain` or `posttrain` into a folder: weights as safetensors, and what
    `load_policy` and the command `recommend` need.

    data: what it was trained on.
    """
    require_kinds(policy=policy, data=data)
    config: BackboneConfig | None = getattr(policy.backbone, "config", None)
    if config is None:
        raise UserError("policy: only one of rp.pretrain or rp.policy_of can be saved.")
    Path(folder).mkdir(parents=True, exist_ok=True)
    checkpoint.save_policy(Path(folder), policy, config, data.corpus, None)


def load_policy(
    folder: str | Path, encoder: nn.Module | None = None, bfloat16_items: bool = False
) -> SavedPolicy:
    """A saved policy, the `policy` of what is returned, and facts about its log.

    encoder: of a policy of `policy_of`, a module of its encoder's class; weights are the file's.
    bfloat16_items: the table of items in half of its memory, for `recommend` and `evaluate`; to go
    on training load it without.
    """
    return checkpoint.load_policy(Path(folder), encoder=encoder, bfloat16_items=bfloat16_items)


def recommend(
    policy: Policy | SavedPolicy,
    histories: Split | pd.DataFrame,
    k: int = 10,
    users: Sequence[str | int] | None = None,
    columns: Mapping[str, str] = MappingProxyType({}),
    at: str = "",
    unknown_users: UnknownUsers = None,
    region: str = "",
) -> pd.DataFrame:
    """k items for each user: columns user_id, item_id, score (the logit, comparable within one user
    only), rank (from 1).

    policy: of `pretrain`, `posttrain` or `load_policy`. histories: what users did before, as the
    data of `load` or as a data frame with one row per event; items are matched by id, and what the
    policy does not know is left out and counted. users: ids; None: all. columns: as for `load`.
    at: a date, where items may be shown at some times only; empty: now. unknown_users: what those
    without such an item get, "popularity" or "nothing"; None: nothing, and ids that the histories
    do not have are refused. region: where all users are, where items may be shown in some regions
    only; empty: where the last event of each was.

    Raises: UserError for an unknown user, and where nobody has an item that the policy knows.
    """
    if isinstance(histories, pd.DataFrame):
        corpus = corpus_of(interactions_of(histories, columns, minimum_events=1))
    else:
        require_kind("histories", histories, "corpus", "give what rp.load(...) returns, or a frame")
        corpus = histories.corpus
    require(k >= 1, f"k={k} must be at least 1.")
    if isinstance(policy, SavedPolicy):
        ranker, saved = policy.policy, policy
    else:
        require_kind("policy", policy, "scores", "give what rp.posttrain returns first")
        ids = corpus.item_ids if policy.item_ids is None else policy.item_ids
        scale, mask = corpus.reward_scale, (corpus.never_shown_M, corpus.windows)
        ranker = FrozenPolicy(deepcopy(policy))  # which it is not to freeze
        saved = SavedPolicy(
            *(ranker, ids, corpus.content_hash, corpus.repeats, corpus.name, {}, scale, *mask),
            popularity_V=popularity(event_counts_of(corpus, ids)),
        )
    saved = asked_for(saved, unknown_users)
    corpus = with_users(saved, corpus, users)
    user_ids, sequences = known(saved, corpus, rows_of(corpus, users, "users"), is_log=False)
    check_region(saved.windows, region)
    table, emptied = lists(ranker, saved, user_ids, sequences, k, moment_of(saved, at), region)
    say_emptied(emptied)
    frame: pd.DataFrame = table.to_pandas()
    return frame
