"""Users held out for good are in no part of a split, whoever deals the others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from data_factory import made_corpus

from recsys_posttrain.data import GlobalTime, HoldOut, LeaveOneOut, UserHoldout
from recsys_posttrain.errors import UserError

LENGTHS = [8] * 200


def _users(split):
    """Of all parts but the final one."""
    parts = [split.train, split.reward, *([split.judge] if split.judge else [])]
    trained = [(part.lengths_N > 0).nonzero().squeeze(1) for part in parts]
    return set(torch.cat([*trained, split.validation.users_N, split.test.users_N]).tolist())


@pytest.mark.parametrize(
    "within", [LeaveOneOut(), UserHoldout(seed=1), UserHoldout(seed=2), GlobalTime()]
)
def test_the_block_is_the_same_under_every_split_and_in_none_of_its_parts(within):
    corpus = made_corpus(LENGTHS)
    plain, split = within.split(corpus), HoldOut(within, 0.25).split(corpus)
    held = split.final.users_N.tolist()
    assert held == HoldOut(LeaveOneOut(), 0.25).split(corpus).final.users_N.tolist()
    assert 30 <= len(held) <= 70, "binomial: 50 of 200, with a deviation of 6"
    assert not _users(split) & set(held)
    assert _users(split) == _users(plain) - set(held), "the others stay where they were"
    assert split.final.items_N.tolist() == [8 * user + 8 for user in held], "their last events"
    assert split.final.history.lengths_N.tolist() == [7] * len(held)
    assert (split.reward is split.train) == (plain.reward is plain.train)


def test_who_is_held_out_depends_on_the_id_alone():
    """Ids in another order, and fewer of them, hold out the same people."""
    corpus = made_corpus(LENGTHS)
    ids = np.array([f"u{user}" for user in range(200)], dtype=object)

    def held(users):
        some = replace(made_corpus([3] * len(users)), user_ids=ids[users])
        return {ids[users][n] for n in HoldOut(share=0.25).split(some).final.users_N.tolist()}

    everybody = held(list(range(200)))
    assert held(list(range(199, 99, -1))) == everybody & set(ids[100:])
    assert corpus.num_items == 1600


def test_what_is_refused():
    with pytest.raises(UserError, match="HoldOut: share=1 must be between 0 and 1"):
        HoldOut(share=1)
    with pytest.raises(UserError, match="users of made holds out nobody with two events"):
        HoldOut(share=1e-12).split(made_corpus(LENGTHS))
    with pytest.raises(UserError, match="final: this split holds no users out for good"):
        LeaveOneOut().split(made_corpus([4])).targets("final")
