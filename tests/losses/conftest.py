"""All negatives that a step can draw from a small catalogue, and a small policy."""

import math
from fractions import Fraction
from itertools import accumulate, pairwise, product
from types import SimpleNamespace

import pytest
import torch

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.repeats import Rule
from recsys_posttrain.losses.negatives import Candidates, Negatives
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.types import Sequences


def _enumerated(share, number):
    """(items, probability) of all stratified draws; `share` are Fractions. Exact: draw k falls on
    item v with `number` times the overlap of [k, k + 1) / number and v's part of [0, 1)."""
    edges = [Fraction(0), *accumulate(share)]
    assert edges[-1] == 1
    strata = []
    for k in range(number):
        low, high = Fraction(k, number), Fraction(k + 1, number)
        overlaps = [min(high, b) - max(low, a) for a, b in pairwise(edges)]
        strata.append([(v, number * part) for v, part in enumerate(overlaps, 1) if part > 0])
    for draws in product(*strata):
        items, parts = zip(*draws, strict=True)
        yield items, math.prod(parts)


@pytest.fixture(scope="session")
def enumerated():
    return _enumerated


@pytest.fixture(scope="session")
def candidates_of():
    def build(table_VD, items, drawn, expected):
        """expected: of each drawn item."""
        items_N, items_K = torch.as_tensor(items), torch.as_tensor(drawn)
        expected_K = torch.as_tensor(expected, dtype=table_VD.dtype)
        negatives = Negatives(items_K, expected_K)
        return Candidates(items_N, table_VD[items_N - 1], negatives, table_VD[items_K - 1])

    return build


@pytest.fixture
def world():
    """A policy of 9 items and a batch of two users; item 3 is logged twice."""
    sequences = Sequences(
        torch.tensor([1, 2, 3, 4, 5, 3]), torch.ones(6), torch.arange(6), torch.tensor([0, 3, 6])
    )
    backbone = SASRec(dim=4, blocks=1, feed_forward=4, max_length=5, dropout=0.0)
    batch = batch_of(sequences, torch.tensor([0, 1]), 5, rule=Rule(history=True))
    return SimpleNamespace(policy=new_policy(backbone, 9, seed=0), batch=batch)
