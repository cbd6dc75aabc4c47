"""Small logs, written to a file or in memory, for tests that must run without the real files."""

from itertools import chain
from pathlib import Path

import numpy as np


def doubles(*values, grad=False):
    """A tensor of float64."""
    import torch

    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def random_sequences(lengths, items, seed=0):
    """Sequences of users with so many events of drawn items and stars, one a second."""
    import torch

    from recsys_posttrain.types import Sequences

    generator = torch.Generator().manual_seed(seed)
    events = int(sum(lengths))
    return Sequences(
        torch.randint(1, items + 1, (events,), generator=generator),
        torch.randint(1, 6, (events,), generator=generator).float(),
        torch.arange(events),
        torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int64),
    )


def made_sequences(lengths, items=None, rewards=None, times=None):
    """Users with so many events, one after the other.

    Event e of all has item e + 1, reward e / 2 and second 10 e: everything tells where it was.
    items, rewards, times: others, of all events or a list per user.
    """
    import torch

    from recsys_posttrain.types import Sequences

    events = sum(lengths)

    def flat(values, default, dtype):
        given = default if values is None else values
        nested = (each if isinstance(each, list) else [each] for each in given)
        return torch.tensor([*chain.from_iterable(nested)], dtype=dtype)

    return Sequences(
        flat(items, range(1, events + 1), torch.int64),
        flat(rewards, (event / 2 for event in range(events)), torch.float32),
        flat(times, range(0, 10 * events, 10), torch.int64),
        torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int64),
    )


def made_corpus(lengths, items=None, rewards=None, times=None, **given):
    """A corpus of `made_sequences`. given: any other field of `Corpus`."""
    from recsys_posttrain.types import Corpus

    fields = {
        "name": "made",
        "user_ids": np.arange(len(lengths)),
        "item_ids": np.arange(sum(lengths)),
        "content_hash": "0" * 64,
    }
    sequences = made_sequences(lengths, items, rewards, times)
    return Corpus(sequences=sequences, **(fields | given))


def unseen_by_sorting(policy_folder, frame):
    """user -> (item, score) of all items that the policy knows and the user has not had, best
    first: from a frame of events, by one sort each."""
    import torch

    from recsys_posttrain.models.checkpoint import load_policy
    from recsys_posttrain.types import History

    saved, found = load_policy(policy_folder), {}
    index_of = {item: n for n, item in enumerate(saved.item_ids.tolist(), start=1)}
    for user, events in frame.sort_values("timestamp", kind="stable").groupby("user_id"):
        known = events[events["item_id"].isin(list(index_of))]
        items = torch.tensor([index_of[item] for item in known["item_id"]])[None, -10:]
        rewards = torch.tensor(known["rating"].to_numpy(np.float32))[None, -10:]
        times = torch.tensor(known["timestamp"].to_numpy(np.int64))[None, -10:]
        state_D = saved.policy.backbone(History(items, rewards, times, times))[0, -1]
        scores = (saved.policy.backbone.item_embedding.weight[1:] @ state_D).tolist()
        seen = set(known["item_id"])
        unseen = [(-scores[n - 1], item) for item, n in index_of.items() if item not in seen]
        found[user] = [(item, -minus) for minus, item in sorted(unseen)]
    return found


def write_small_ratings(path: Path, users: int = 60, items: int = 40, seed: int = 0) -> Path:
    """Write a CSV with user_id, item_id, rating, timestamp; rows in random order.

    Popular items have small numbers. A user rates 6 to 20 distinct items, in sittings of a few
    events that share their second, so that timestamp ties occur, as in MovieLens.
    """
    generator = np.random.default_rng(seed)
    popularity = 1.0 / np.arange(1, items + 1) ** 0.5
    rows = []
    for user in range(1, users + 1):
        length = int(generator.integers(6, min(20, items) + 1))
        chosen = generator.choice(
            items, size=length, replace=False, p=popularity / popularity.sum()
        )
        start = int(generator.integers(0, 10_000_000))
        seconds = start + 30 * generator.integers(0, length // 2 + 1, size=length)
        ratings = generator.integers(1, 6, size=length)
        rows += [
            f"{user},{item + 1},{rating},{second}"
            for item, rating, second in zip(chosen, ratings, seconds, strict=True)
        ]
    shuffled = [rows[n] for n in generator.permutation(len(rows))]
    path.write_text("\n".join(["user_id,item_id,rating,timestamp", *shuffled]) + "\n")
    return path


def targets_of(data):
    """All targets of a split."""
    return [each for each in (data.validation, data.test, data.final) if each is not None]


def parts_of(data):
    """All sequences of a split, histories of targets too, and the user of each of their events."""
    import torch

    for part in (data.train, data.reward, data.judge):
        if part is not None:
            yield part, torch.repeat_interleave(part.lengths_N)
    for each in targets_of(data):
        row_E = torch.repeat_interleave(each.history.lengths_N)
        yield each.history, each.users_N[row_E]
