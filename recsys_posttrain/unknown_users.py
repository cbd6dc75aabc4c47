"""Users of whom a policy knows no item: they get what is popular, or nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.data.encode import as_text
from recsys_posttrain.data.split import whole_sequences
from recsys_posttrain.models.checkpoint import SavedPolicy
from recsys_posttrain.types import Corpus, Sequences

UnknownUsers = Literal["popularity", "nothing"] | None  # None: nothing, and only users of the log


def asked_for(saved: SavedPolicy, unknown_users: UnknownUsers) -> SavedPolicy:
    """Raises: UserError for another word, and where the policy does not know what is popular."""
    require(
        unknown_users in (None, "popularity", "nothing"),
        f'unknown_users={unknown_users!r} must be "popularity", "nothing" or None.',
    )
    require(
        unknown_users != "popularity" or saved.popularity_V is not None,
        "--unknown-users popularity: the policy was saved by a version that did not keep how often "
        "items were chosen; train it anew, or give --unknown-users nothing",
    )
    return saved._replace(unknown_users=unknown_users)


def with_users(saved: SavedPolicy, corpus: Corpus, users: Sequence[str | int] | None) -> Corpus:
    """Where it was said what unknown users get: with those of the users that the log does not have,
    without an event, behind the others. Ids are text where lists name them too."""
    if saved.unknown_users is None or users is None:
        return corpus
    known = as_text(corpus.user_ids)
    there = set(known)
    missing = [each for each in dict.fromkeys(map(str, users)) if each not in there]
    if not missing:
        return corpus
    ids = known if saved.unknown_users == "popularity" else corpus.user_ids.tolist()
    offsets_N1 = corpus.sequences.offsets_N1
    offsets_N1 = torch.cat([offsets_N1, offsets_N1[-1:].expand(len(missing))])
    return replace(
        corpus,
        sequences=replace(corpus.sequences, offsets_N1=offsets_N1),
        user_ids=np.array([*ids, *missing], dtype=object),
    )


def or_popular(
    saved: SavedPolicy,
    histories: Sequences,
    scores: Callable[[Sequences], tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor]:
    """The scores of a ranker, and after an empty history popularity: a further column of both
    factors, which is 0 for the others."""
    known_N = histories.lengths_N > 0
    if known_N.all():
        return scores(histories)
    assert saved.popularity_V is not None
    unknown_N1 = (~known_N).float()[:, None]
    popularity_V1 = saved.popularity_V[:, None]
    if not known_N.any():
        return unknown_N1, popularity_V1
    state_KR, factor_VR = scores(whole_sequences(histories, known_N.nonzero().squeeze(1)))
    state_NR = state_KR.new_zeros(len(histories), state_KR.shape[1])
    state_NR[known_N] = state_KR
    both = state_NR, unknown_N1.to(state_NR)
    return torch.cat(both, dim=1), torch.cat([factor_VR, popularity_V1.to(factor_VR)], dim=1)
