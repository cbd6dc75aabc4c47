"""RecTools' `fast_transformers`: its sequences, dataset and network, with its feed-forward of 256.

It has no trainer for this network, so the loop is plain: softmax over the catalogue, Adam.
"""

import time
from itertools import pairwise
from typing import Any

import torch
from rectools.fast_transformers import FlatSASRecNet, SequenceBatchDataset, build_sequences
from side import (
    BATCH_SIZE,
    BLOCKS,
    DROPOUT,
    HEADS,
    LENGTH,
    TOP,
    WIDTH,
    Log,
    StepClock,
    serve,
    users_of,
    versions,
)
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

ROWS = 256  # of users at a time, as many as RecTools' models recommend to


class RecToolsFast:
    def __init__(self, log: Log) -> None:
        users, items = (
            torch.from_numpy(users_of(log.train_offsets)),
            torch.from_numpy(log.train_items),
        )
        x, y, self.items, _ = build_sequences(users, items, torch.arange(len(items)), LENGTH)
        self.batches = SequenceBatchDataset(x, y)
        self.net = FlatSASRecNet(len(self.items), WIDTH, BLOCKS, HEADS, LENGTH, DROPOUT)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        self.history_x = self._histories(log)

    def _histories(self, log: Log) -> torch.Tensor:
        """[users, LENGTH] in its numbering, padded on the left. What it cannot number is not there;
        `build_sequences` would take the last event for a target."""
        number = torch.zeros(log.num_items + 1, dtype=torch.long)
        number[self.items] = torch.arange(1, len(self.items) + 1)
        offsets = log.history_offsets
        rows = torch.zeros(len(offsets) - 1, LENGTH, dtype=torch.long)
        for user, (begin, end) in enumerate(pairwise(offsets)):
            items = number[torch.from_numpy(log.history_items[max(begin, end - LENGTH) : end])]
            items = items[items > 0]
            rows[user, LENGTH - len(items) :] = items
        return rows

    def describe(self) -> dict[str, Any]:
        return {
            "versions": versions("rectools", "torch"),
            "feed_forward": 4 * WIDTH,
            "items": len(self.items),
        }

    def train(self, steps: int) -> dict[str, float]:
        clock = StepClock()
        self.net.train()
        loader = DataLoader(self.batches, batch_size=BATCH_SIZE, shuffle=True)
        for step, batch in enumerate(loader):
            logits = self.net(batch)
            wanted = batch["y"].flatten() - 1  # padding becomes -1
            loss = cross_entropy(logits.flatten(0, 1), wanted, ignore_index=-1)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            clock.note(int((wanted >= 0).sum()))
            if step == steps:
                break
        return clock.result()

    @torch.no_grad()
    def recommend(self) -> dict[str, float]:
        """Items of the last LENGTH events are removed; it has no call of its own for that."""
        self.net.eval()
        began, found = time.perf_counter(), 0
        table = self.net.all_item_embeddings().T
        for x in self.history_x.split(ROWS):
            scores = torch.cat(
                [torch.full((len(x), 1), -torch.inf), self.net.encode_last(x) @ table], dim=1
            )
            found += len(scores.scatter_(1, x, -torch.inf).topk(TOP).indices)
        seconds = time.perf_counter() - began
        return {
            "users": found,
            "rows": found * TOP,
            "seconds": seconds,
            "core_seconds": seconds,
        }


if __name__ == "__main__":
    serve(RecToolsFast)
