"""Sums, samples and log probabilities over the whole catalogue, in chunks of bounded memory."""

from recsys_posttrain.ops.softmax import (
    chosen_logits,
    expected_score,
    kl_and_entropy,
    map_chunks,
    masked_mean,
    sample_and_expect,
    sample_items,
)

__all__ = [
    "chosen_logits",
    "expected_score",
    "kl_and_entropy",
    "map_chunks",
    "masked_mean",
    "sample_and_expect",
    "sample_items",
]
