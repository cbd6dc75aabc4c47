"""A business mask: which items it names, what leaves the targets, and what batches exclude."""

from dataclasses import replace

import pytest
import torch
from data_factory import made_corpus

from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.encode import Encoder
from recsys_posttrain.data.never_shown import (
    never_shown_ids,
    never_shown_sentence,
    with_never_shown,
)
from recsys_posttrain.data.repeats import excluded_for, removed_for, rule_of
from recsys_posttrain.eligibility import leave_out
from recsys_posttrain.errors import UserError

ITEMS = [[1, 2, 3, 4, 5], [2, 3, 4, 1, 6], [5, 6, 1, 2, 3]]


def corpus_of(never_shown=(), repeats="never"):
    ids = torch.arange(10, 16).numpy()  # item 1 is called 10
    corpus = made_corpus([5, 5, 5], items=ITEMS, item_ids=ids, repeats=repeats)
    return with_never_shown(corpus, never_shown)


def not_shown(excluded, items=6):
    rows = leave_out(torch.ones(len(excluded.offsets_N1) - 1, items), excluded, 0.0)
    return [[v + 1 for v in range(items) if not row[v]] for row in rows.tolist()]


def test_ids_are_those_of_the_log_and_of_a_file(tmp_path, capsys):
    path = tmp_path / "masked.txt"
    path.write_text("item_id\n12\n\n 15 \n")
    assert corpus_of((15, "12")).never_shown_M.tolist() == [3, 6]
    assert corpus_of((f"@{path}", "10")).never_shown_M.tolist() == [1, 3, 6]
    assert never_shown_ids(corpus_of((f"@{path}",))) == ["12", "15"]
    assert corpus_of().never_shown_M is None
    assert never_shown_sentence(LeaveOneOut().split(corpus_of())) == ""
    assert not capsys.readouterr().err
    corpus_of(("12", "122", "x"))
    assert (
        "2 ids of never_shown that made does not have among its 6 items ('122', 'x'); did you mean "
        "'12'?"
    ) in capsys.readouterr().err


def test_masks_that_cannot_be_meant_are_refused(tmp_path):
    for mask, words in (
        (("122",), "1 id of never_shown .* and no other; did you mean '12'?"),
        (("zzz",), r"and no other\."),
        (tuple(range(10, 16)), "never_shown holds all 6 items of made"),
        ((f"@{tmp_path}",), "cannot be read as text"),
        ((f"@{tmp_path / 'missing'}",), "cannot be read as text"),
    ):
        with pytest.raises(UserError, match=words):
            corpus_of(mask)
    with pytest.raises(UserError, match="all 3 targets are of items that are never shown"):
        LeaveOneOut().split(corpus_of((12, 14, 15)))


@pytest.mark.parametrize("repeats", ["never", "allowed"])
def test_masked_targets_are_left_out_and_counted(repeats):
    """Tests are items 5 6 3, validation 4 1 2; of these the mask has 6 and 1."""
    data = LeaveOneOut().split(corpus_of((15, 10), repeats))
    assert (data.test.items_N.tolist(), data.test.masked, data.test.unshowable) == ([5, 3], 1, 0)
    assert (data.validation.items_N.tolist(), data.validation.masked) == ([4, 2], 1)
    had = [[1, 2, 3, 4], [5, 6, 1, 2]] if repeats == "never" else [[], []]
    expected = [sorted({*each, 1, 6}) for each in had]
    assert not_shown(removed_for(data.test)) == expected
    assert not_shown(excluded_for(data.test)) == expected
    assert never_shown_sentence(data) == (
        "2 of 6 items are never shown; 1 of 3 validation targets and 1 of 3 test targets are left "
        "out: they are on these"
    )


def test_in_training_an_action_stays_eligible_whether_masked_or_not():
    """User 1 has 2 3 4: the action 3 excludes 2 and the mask but for itself, 4 excludes 2 3 1."""
    corpus = corpus_of((12, 10))
    rows = batch_of(corpus.sequences, torch.tensor([1]), 9, torch.tensor([2]), rule_of(corpus))
    assert rows.action_N.tolist() == [3, 4]
    assert not_shown(rows.excluded) == [[1, 2], [1, 2, 3]]
    masked = rule_of(replace(corpus, repeats="allowed"))
    rows = batch_of(corpus.sequences, torch.tensor([1]), 9, torch.tensor([2]), masked)
    assert not_shown(rows.excluded) == [[1], [1, 3]]
    over_all = replace(corpus, catalogue="all")
    rows = batch_of(corpus.sequences, torch.tensor([1]), 9, torch.tensor([2]), rule_of(over_all))
    assert rows.excluded is None
    assert excluded_for(LeaveOneOut().split(over_all).test) is None


def test_the_mask_costs_its_own_size():
    """Not [positions, M]: the block is the corpus's own tensor in every batch."""
    corpus = corpus_of((15, 10))
    excluded = batch_of(corpus.sequences, torch.arange(3), 9, None, rule_of(corpus)).excluded
    assert excluded.everywhere_M is corpus.never_shown_M
    assert len(excluded.items_E) == 3 * (1 + 2 + 3 + 4)


def test_another_numbering_masks_the_same_items():
    """Items 2 1 4 3 of the log become 1 2 3 4, and it has no 5 and 6."""
    encoder = Encoder(torch.tensor([11, 10, 13, 12]).numpy(), torch.tensor([0, 2, 1, 4, 3, 0, 0]))
    found = encoder.split(LeaveOneOut().split(corpus_of((12, 15))))
    assert found.corpus.never_shown_M.tolist() == [4]
    assert found.test.never_shown_M.tolist() == [4]
    assert never_shown_ids(found.corpus) == ["12"]
