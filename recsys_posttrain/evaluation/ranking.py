"""Full ranking: where a target stands among all items, and which items come first.

Two promises, both tested:

* A rank does not depend on the chunk size. A matrix product of another height may run another
  kernel, which adds in another order: float32 scores of a block of 1, 2, 3 or 7 rows were seen to
  differ in the last bit from those of 64 or more. So every product has `BLOCK` rows (surplus rows
  of the last block are not read), and a chunk is a whole number of blocks.
* Items that a model cannot tell apart tie. Scores are computed in float64 and rounded to float32,
  which hides the order of addition, so equal items get equal scores wherever they stand in the
  catalogue. Ties count half.

Memory: float32 scores of one chunk, whose size `positions_per_chunk` bounds, down to one block, and
float64 scores of one block and one slice of the catalogue.

Letters: n rows of a chunk, b of its buffer, B of a block; S items of a slice.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from recsys_posttrain.eligibility import Excluded, leave_out
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.stable_top import stable_top
from recsys_posttrain.ops.logsumexp import positions_per_chunk

BLOCK = 128  # rows of every product
ITEMS_AT_A_TIME = 2**14  # items of a slice, in float64


def ranks_and_lists(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    targets_N: Tensor | None,
    k: int | None,
    seen: Excluded,
    *,
    item_bias_V: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The rank of each target, and the k best items of each row, from one pass over the scores.

    rank = 1 + (unseen items that score higher) + (other unseen items that score the same) / 2.
    The target itself always stays a candidate. One that was seen before would be a free hit: splits
    keep no such target, or nothing counts as seen, where users repeat items (data/repeats.py).
    A list has unseen items only, best first; of equal scores the lower id first.

    hidden_ND: the hidden state before each target.
    item_embedding_VD: row v - 1 is item v. For the popularity ranking it is count_V[:, None], and
        every hidden state is a 1.
    targets_N: ids 1..V; None: no ranks.
    k: the length of the lists; None: no lists.
    seen: what each row has seen, or is never shown, ids 1..V.
    item_bias_V: added to every score.
    chunk: rows at a time, rounded down to whole blocks, at least one; it changes no result.

    Returns, on the CPU: rank_N (float64), items_NK (int64, ids 1..V) and scores_NK (float32), empty
    where they were not asked for. A row with fewer than k unseen items ends in item 0 with score
    -inf.
    Raises: UserError where k is not in 1..V, a score is not finite or an id is not in 1..V.
    """
    num_rows, num_items = len(hidden_ND), len(item_embedding_VD)
    if k is not None and not 1 <= k <= num_items:
        raise UserError(f"k is {k}, but the catalogue has {num_items} items: use 1..{num_items}")
    if targets_N is not None:
        _check_ids("target", targets_N, num_items)
        if len(targets_N) != num_rows:
            raise ValueError(f"{num_rows} states but {len(targets_N)} targets")
        targets_N = targets_N.to(hidden_ND.device)
    rank_N = torch.empty(0 if targets_N is None else num_rows, dtype=torch.float64)
    item_NK = torch.empty(num_rows, k or 0, dtype=torch.int64)
    score_NK = torch.empty(num_rows, k or 0)
    for rows, score_nV, seen_n in score_chunks(
        hidden_ND, item_embedding_VD, item_bias_V, seen, chunk
    ):
        if targets_N is not None:
            target_n1 = targets_N[rows, None] - 1
            target_score_n1 = score_nV.gather(1, target_n1)
        leave_out(score_nV, seen_n)
        if k is not None:
            best_nK, index_nK = stable_top(score_nV, k)
            score_NK[rows] = best_nK.cpu()
            item_NK[rows] = (index_nK + 1).masked_fill(best_nK == -torch.inf, 0).cpu()
        if targets_N is not None:
            # Items above less items below the target, in place; floats count to 2^24 exactly.
            above_nV = score_nV.sub_(target_score_n1).sign_().scatter_(1, target_n1, 0)
            rank_N[rows] = (above_nV.sum(dim=1).double().cpu() + num_items + 1) / 2
    return rank_N, item_NK, score_NK


def target_ranks(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    targets_N: Tensor,
    seen: Excluded,
    *,
    item_bias_V: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """rank_N of `ranks_and_lists` alone."""
    scores = hidden_ND, item_embedding_VD
    return ranks_and_lists(*scores, targets_N, None, seen, item_bias_V=item_bias_V, chunk=chunk)[0]


def top_items(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    k: int,
    seen: Excluded,
    *,
    item_bias_V: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """items_NK and scores_NK of `ranks_and_lists` alone."""
    scores = hidden_ND, item_embedding_VD
    return ranks_and_lists(*scores, None, k, seen, item_bias_V=item_bias_V, chunk=chunk)[1:]


def score_chunks(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    item_bias_V: Tensor | None,
    seen: Excluded,
    chunk: int | None,
) -> Iterator[tuple[slice, Tensor, Excluded]]:
    """The scores of all items, chunk by chunk.

    Yields: the rows of a chunk, their scores score_nV (float32, one buffer, overwritten by the next
    chunk), and what these rows have seen.
    """
    num_rows, num_items = len(hidden_ND), len(item_embedding_VD)
    offsets, events = len(seen.offsets_N1), len(seen.items_E)
    if offsets != num_rows + 1 or int(seen.offsets_N1[-1]) != events:
        raise ValueError(
            f"{num_rows} states need {num_rows + 1} offsets that end in {events}, "
            f"got {offsets} that end in {int(seen.offsets_N1[-1])}"
        )
    chunk = positions_per_chunk(num_items) if chunk is None else chunk
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}, it must be 1 or more")
    _check_ids("seen item", seen.items_E, num_items)
    device = hidden_ND.device
    item_embedding_VD = item_embedding_VD.to(device)
    parts = item_slices(num_items)
    only_DV = item_embedding_VD.double().T if len(parts) == 1 else None
    bias_V = None if item_bias_V is None else item_bias_V.to(device).double()
    seen = seen.to(device)
    step = max(1, min(chunk, num_rows + BLOCK - 1) // BLOCK) * BLOCK
    # Allocating the buffers anew for every chunk would cost more time than the product.
    state_BD = torch.zeros(BLOCK, hidden_ND.shape[1], dtype=torch.float64, device=device)
    products = torch.empty(
        BLOCK * min(num_items, ITEMS_AT_A_TIME), dtype=torch.float64, device=device
    )
    score_bV = torch.empty(step, num_items, device=device)
    for start in range(0, num_rows, step):
        stop = min(start + step, num_rows)
        for block in range(start, stop, BLOCK):
            rows = slice(block, min(block + BLOCK, stop))
            state_BD[: rows.stop - block] = hidden_ND[rows]
            for part in parts:
                table_DS = item_embedding_VD[part].double().T if only_DV is None else only_DV
                product_BS = products[: BLOCK * table_DS.shape[1]].view(BLOCK, -1)
                torch.mm(state_BD, table_DS, out=product_BS)
                if bias_V is not None:
                    product_BS += bias_V[part]
                score_bV[block - start : block - start + BLOCK, part] = product_BS
        score_nV = score_bV[: stop - start]
        _check_finite(score_nV)
        yield slice(start, stop), score_nV, seen.rows(slice(start, stop))


def item_slices(num_items: int) -> list[slice]:
    """Consecutive slices of the catalogue, of at most ITEMS_AT_A_TIME items."""
    starts = range(0, num_items, ITEMS_AT_A_TIME)
    return [slice(start, min(start + ITEMS_AT_A_TIME, num_items)) for start in starts]


def _check_finite(score_nV: Tensor) -> None:
    low, high = torch.aminmax(score_nV)  # one pass; NaN spreads to both
    if not (torch.isfinite(low) & torch.isfinite(high)):
        raise UserError(
            f"a score is not finite (lowest {float(low)}, highest {float(high)}): the model has "
            "diverged; train it again with a lower learning rate"
        )


def _check_ids(what: str, ids: Tensor, num_items: int) -> None:
    if len(ids) and not (int(ids.min()) >= 1 and int(ids.max()) <= num_items):
        raise UserError(
            f"{what} ids are {int(ids.min())}..{int(ids.max())}, but the item table holds "
            f"1..{num_items}: the data and the model have different catalogues"
        )
