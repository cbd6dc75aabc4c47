"""What a reward model predicts for logged events, each from its own history or several from one."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.data.batching import fixed_batches
from recsys_posttrain.data.repeats import EVERYTHING, Rule
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Batch, Sequences

Scores = Callable[[Batch, Tensor], Tensor]  # of given items, [N, K]: `score` or `variance`


def predict_logged(
    model: RewardModel,
    sequences: Sequences,
    block: int = 1,
    scores: Scores | None = None,
    rule: Rule = EVERYTHING,
    users_N: Tensor | None = None,
) -> np.ndarray:
    """The prediction for each of a sequence's latest events, [E], flat: for as many as the model's
    max_length, and not for its first.

    block: so many events in a row are predicted from the history before the first of them, at its
        time (`baselines.judged_events` says where blocks begin).
    scores: what is asked of the model; None: `score`.
    rule: as for `batch_of`, where the model has a noise that asks what is eligible.
    users_N: the user of each sequence (index into Corpus.user_ids), for a model that knows users;
        None: sequence n is user n's.
    """
    scores = model.score if scores is None else scores
    order_N = sequences.lengths_N.argsort(descending=True, stable=True)
    order_N = order_N[sequences.lengths_N[order_N] >= 2]
    predicted = []
    with torch.inference_mode():
        for batch in fixed_batches(sequences, model.max_length, 128, rule):
            if users_N is not None:
                batch = Batch(*batch._replace(sequences_B=users_N[batch.sequences_B]))
            predicted.append(_of_blocks(scores, batch.to(model.device), block).cpu())
    model.clear_cache()
    lengths_N = (sequences.lengths_N[order_N] - 1).clamp(max=model.max_length)
    pieces = torch.split(torch.cat(predicted), lengths_N.tolist())
    back_N = order_N.argsort()
    return torch.cat([pieces[index] for index in back_N.tolist()]).double().numpy()


def _of_blocks(scores: Scores, batch: Batch, block: int) -> Tensor:
    """The score of each action, [N], at the first position of its block. A model that scores given
    items is asked about no others: what fills the rest is the position's own action."""
    place_N = batch.position_N % block
    first_N = torch.arange(len(place_N), device=place_N.device) - place_N
    items_NK = batch.action_N[:, None].repeat(1, block)
    items_NK[first_N, place_N] = batch.action_N
    return scores(batch, items_NK)[first_N, place_N]
