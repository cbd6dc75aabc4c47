"""Which methods need a reward model that has sums over the catalogue: tried, before anything runs.

A method is asked for the loss of a few made-up positions with a reward model that scores given
items only. What it fails at otherwise is no answer: its run will tell.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors, logged_rewards
from recsys_posttrain.algorithms.base import after_step, heads_of
from recsys_posttrain.algorithms.signals import Logged
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.logged import Shown, Signals
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.reward_model import NeedsSums, RewardModel
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.types import Batch, Sequences

USERS, EVENTS, ITEMS, WIDTH = 6, 5, 9, 4


class _GivenItems(RewardModel):
    max_length = EVENTS

    def score(self, batch: Batch, items_NK: Tensor) -> Tensor:
        return 1.0 + items_NK % 5


def needs_sums(algorithm: Any) -> bool:
    """Whether training by it asks for the rewards of the whole catalogue."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        policy = new_policy(
            SASRec(dim=WIDTH, blocks=1, heads=1, feed_forward=WIDTH, max_length=EVENTS), ITEMS, 0
        )
        log = _log(tuple(dict.fromkeys(signals_read(algorithm))))
        logged = logged_rewards(log, ITEMS)
        try:
            heads = heads_of(algorithm, WIDTH, ITEMS)
            actors = Actors(FrozenPolicy(policy), _GivenItems(), logged, heads)
            algorithm.loss(batch_of(log, torch.arange(USERS), EVENTS), actors)
            after_step(algorithm, actors)
        except NeedsSums:
            return True
        except Exception:
            return False
    return False


def _log(signals: tuple[str, ...]) -> Sequences:
    total = USERS * EVENTS
    items_E = torch.stack([torch.randperm(ITEMS)[:EVENTS] for _ in range(USERS)]).flatten() + 1
    return Sequences(
        items_E,
        torch.randint(1, 6, (total,)).float(),
        torch.arange(total),
        torch.arange(0, total + 1, EVENTS),
        torch.full((total,), 0.5, dtype=torch.float64),
        Signals(signals, torch.rand(total, len(signals))) if signals else None,
        Shown(items_E % ITEMS + 1, torch.arange(total + 1)),
    )


def signals_read(value: object) -> Iterator[str]:
    """The names of all `Logged` signals of a method, however deep."""
    if isinstance(value, Logged):
        yield value.name
    elif is_dataclass(value):
        for field in fields(value):
            yield from signals_read(getattr(value, field.name))
