"""Batches of lists of lists, by slow loops over Python lists."""

import torch

from recsys_posttrain.types import Sequences


def flat(log):
    """Sequences of a list of lists of (item, reward)."""
    events = [event for sequence in log for event in sequence]
    ends = torch.tensor([0] + [len(sequence) for sequence in log]).cumsum(0)
    return Sequences(
        torch.tensor([item for item, _ in events], dtype=torch.int64),
        torch.tensor([reward for _, reward in events], dtype=torch.float32),
        torch.arange(100, 100 + len(events)),
        ends,
    )


def times_of(log, row):
    """Event e of the whole log happens at second 100 + e."""
    before = sum(len(sequence) for sequence in log[:row])
    return [100 + before + n for n in range(len(log[row]))]


def padded(rows, width, filler=0):
    return [row + [filler] * (width - len(row)) for row in rows]


def slow_batch(log, rows, max_length):
    """The fields of a Batch as nested lists: longest whole sequence first, ties as given."""
    rows = sorted(rows, key=lambda row: -len(log[row]))
    latest = [log[row][-(max_length + 1) :] for row in rows]
    times = [times_of(log, row)[-(max_length + 1) :] for row in rows]
    width = max(len(sequence) for sequence in latest) - 1
    return (
        padded([[item for item, _ in each[:-1]] for each in latest], width),
        padded([[reward for _, reward in each[:-1]] for each in latest], width),
        padded([each[:-1] for each in times], width),
        padded([[item for item, _ in each[1:]] for each in latest], width),
        padded([[reward for _, reward in each[1:]] for each in latest], width),
        padded([each[1:] for each in times], width),
        padded([[True] * (len(each) - 1) for each in latest], width, False),
        rows,
    )


def as_lists(batch):
    return tuple(field.tolist() for field in batch if field is not None)
