"""Pairs of what was shown: drawn evenly from the right position, and never of what may not be."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from data_factory import made_sequences

from recsys_posttrain.algorithms import DPO, IPO
from recsys_posttrain.algorithms.shown_pairs import ShownPairs
from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.excluded import is_excluded
from recsys_posttrain.data.prepare import corpus_of
from recsys_posttrain.data.repeats import Rule
from recsys_posttrain.data.table_file import interactions_of
from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.errors import UserError
from recsys_posttrain.logged import Shown
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.control import ConstantReward
from recsys_posttrain.training.posttrain import posttrain


def batch_and_actors(seed=0):
    """Items 1 to 4 in turn. With the second event 5, 6 and 6 were shown, with the third nothing,
    with the fourth 7 and the item 1 that the user had before."""
    sequences = made_sequences([4])
    shown = Shown(torch.tensor([8, 5, 6, 6, 7, 1]), torch.tensor([0, 1, 4, 4, 6]))
    object.__setattr__(sequences, "shown", shown)
    rule = Rule(history=True)
    batch = batch_of(sequences, torch.tensor([0]), 10, rule=rule)
    generator = torch.Generator().manual_seed(seed)
    return batch, SimpleNamespace(generator=generator)


def test_draws_are_even_over_what_was_shown_with_the_choice():
    counts = [Counter() for _ in range(3)]
    batch, actors = batch_and_actors()
    for _ in range(4000):
        chosen_N, rejected_N, kept_N = ShownPairs()(batch, actors)
        assert chosen_N.tolist() == [2, 3, 4]
        for place, (item, kept) in enumerate(
            zip(rejected_N.tolist(), kept_N.tolist(), strict=True)
        ):
            counts[place][item, kept] += 1
    assert counts[0].keys() == {(5, True), (6, True)}
    assert counts[0][6, True] == pytest.approx(4000 * 2 / 3, abs=150)  # five standard deviations
    assert counts[1] == {(3, False): 4000}
    assert counts[2].keys() == {(7, True), (1, False)}
    assert counts[2][7, True] == pytest.approx(2000, abs=160)


@pytest.mark.parametrize("algorithm", [DPO(pairs=ShownPairs()), IPO(pairs=ShownPairs())])
def test_training_moves_what_was_chosen_above_what_was_shown_with_it(algorithm):
    """Even items are shown beside each choice of an odd one; pi(odd) rises. No reward is read."""
    frame = pd.DataFrame(
        [
            (user, 2 * place + 1 - is_shown, place, 1 - is_shown)
            for user in range(20)
            for place in range(1, 9)
            for is_shown in (0, 1)
        ],
        columns=["user_id", "item_id", "timestamp", "chosen"],
    )
    # Even items are known to the log, from users who chose them.
    known = [(99 + n, 2 * n, t, 1) for n in range(1, 9) for t in range(3)]
    frame = pd.concat([frame, pd.DataFrame(known, columns=list(frame))])
    corpus = replace(corpus_of(interactions_of(frame, {})), repeats="allowed")
    data = LeaveOneOut().split(corpus)
    policy = new_policy(SASRec(dim=8, blocks=1, feed_forward=16, max_length=8), corpus.num_items, 0)
    reward = ConstantReward(3.0, corpus.num_items, 8)
    short = Training(epochs=15, batch_size=8, learning_rate=0.01)
    better, _ = posttrain(policy, data, algorithm, reward, short)
    is_odd_V = torch.tensor(corpus.item_ids % 2 == 1)

    def odd(of):
        hidden_ND = of.last_hidden_states(data.test.history)
        share_NV = (hidden_ND @ of.item_embedding_VD.detach().T).softmax(dim=1)
        return float(share_NV[:20, is_odd_V].sum(dim=1).mean().detach())

    assert odd(better) > odd(policy) + 0.05


def test_what_may_not_be_shown_is_found():
    items_N = torch.tensor([4, 9, 2, 7])
    excluded = Excluded(torch.tensor([1, 4, 9, 3, 7]), torch.tensor([0, 2, 2, 4, 5]))
    both_NK = torch.stack([items_N, items_N.flip(0)], dim=1)
    assert is_excluded(excluded, both_NK).T.tolist() == [
        [True, False, False, True],
        [False, False, True, False],
    ]
    masked = excluded._replace(everywhere_M=torch.tensor([2, 8]), but_N=torch.tensor([1, 2, 3, 4]))
    assert is_excluded(masked, items_N[:, None])[:, 0].tolist() == [True, False, True, True]
    assert not is_excluded(None, both_NK).any()


def test_a_log_without_them_is_refused():
    batch = batch_of(made_sequences([4]), torch.tensor([0]), 10)
    with pytest.raises(UserError, match=r"does not say what was shown .*take SampledPairs"):
        ShownPairs()(batch, SimpleNamespace(generator=torch.Generator()))


def test_a_batch_in_which_nothing_was_shown_keeps_no_pair():
    batch, actors = batch_and_actors()
    nothing = Shown(torch.tensor([], dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    pairs = ShownPairs()(type(batch)(*batch._replace(shown=nothing)), actors)
    assert not pairs.kept_N.any()
    assert torch.equal(pairs.rejected_N, batch.action_N)
