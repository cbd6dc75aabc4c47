"""The least time that the matrix products of a training step can take on this machine.

The floor counts what no exact training step of this model can leave out: matrix products at real
events, at the rate of a large square product. Norms, activations, exponentials, dropout, the
embedding and the optimiser count nothing, so the floor itself cannot be reached.
"""

import statistics
import time

import numpy as np
import torch

SIZE = 2048  # of the square product: the rate does not rise any further
TIMES = 3


def matmul_gflops(dtype: torch.dtype, size: int = SIZE) -> float:
    """10^9 floating-point operations per second of a square product: 2 size^3 over the median."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(TIMES + 1):
        began = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(seconds[1:]) / 1e9


def flops_per_event(
    lengths: np.ndarray, width: int, feed_forward: int, blocks: int, items: int
) -> float:
    """Of one training step, forward and backward, divided by its real events.

    lengths: real events of each sequence, after truncation. A multiplication and its addition are
    two operations. Per event, forward:

    * projections: 2 x 4 width^2 in each block (query, key, value, output);
    * attention: 2 x 2 width x context in each block, where the context of position t is t (from 1),
      what a causal mask leaves, averaged over all events;
    * feed-forward: 2 x 2 width x feed_forward in each block;
    * the softmax over the catalogue: 2 width x items.

    Backward is twice that: each product has one for the gradient of either factor.
    """
    lengths = lengths.astype(np.float64)
    context = (lengths * (lengths + 1) / 2).sum() / lengths.sum()
    block = 2 * (4 * width**2 + 2 * width * feed_forward) + 2 * 2 * width * context
    forward = blocks * block + 2 * width * items
    return float(3 * forward)
