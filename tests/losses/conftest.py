"""All negatives that a step can draw from a small catalogue, with their probabilities."""

import math
from fractions import Fraction
from itertools import accumulate, pairwise, product

import pytest
import torch

from recsys_posttrain.losses.negatives import Candidates, Negatives


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
