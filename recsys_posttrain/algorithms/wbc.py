"""Weighted binary classification: logged items are good or bad, by the sign of a signed reward.

    loss = -|s| ([s > 0] log sigmoid(q) + [s < 0] log(1 - sigmoid(q))),   s = r - centre
    q = z_a + b(x),   z_a: the logit of the logged item,   b: a learned head

sigmoid(q) is the weighted share of good outcomes: at best, with a signal of +-1, their probability.
**What its policy is**: the ranking by z, which b leaves as it is. Its softmax is what is sampled
from and measured, and is *not calibrated*: nothing in the loss says how often an item is chosen, or
anything about items that were not logged. Judge it by rankings.
With `negatives` what was shown and not chosen is bad too, with their weight in place of |s|.
Limits: at |q| -> 0 the gradient is -(s / 2) in z_a; s = 0 leaves the item out.
Source: GenPage (Netflix), arXiv 2606.31031: post-training of a generative recommender by weighted
binary classification, the variant that its A/B test reports on. We have its text, not its code.
Departures: s is the reward from a centre, where the log has no signed signals, and 1 where all
rewards are equal and negatives tell; b is there because a softmax leaves the level of its logits
free, and a sigmoid reads it; the source has an example for each impression, here a slate has one.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.shown_items import ShownItems, beside
from recsys_posttrain.algorithms.signals import Signal, observed_reward
from recsys_posttrain.algorithms.weights import learned_bias, means, scalar_head
from recsys_posttrain.config import require
from recsys_posttrain.types import Batch, LossOutput


def wbc_loss(score: Tensor, signal: Tensor) -> Tensor:
    """-|s| log sigmoid(sign(s) q), element by element."""
    return -signal.abs() * logsigmoid(signal.sign() * score)


@dataclass(frozen=True)
class WBC:
    """Weighted binary classification of logged items."""

    family: ClassVar[str] = "value based"
    centre: float | None = None  # in stars; None: the mean logged reward
    reward: Signal = observed_reward  # r; the centre is always held against the logged rewards
    negatives: ShownItems | None = None  # ShownItems(): what was shown and not chosen

    def heads(self, dim: int, num_items: int) -> dict[str, nn.Module]:
        return {"bias": scalar_head(dim)}

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        rewards_E = actors.log.rewards_E
        centre = float(rewards_E.mean() if self.centre is None else self.centre)
        low, high = float(rewards_E.min()), float(rewards_E.max())
        is_told = low == high and self.negatives is not None
        require(
            is_told or low < centre < high,
            f"WBC: centre={centre:g} must be between the lowest and the highest logged reward "
            f"({low:g} and {high:g} stars), so that there are good and bad items; where all "
            "rewards are equal use BC.",
        )
        signal_N = self.reward(batch, actors) - centre
        signal_N = torch.ones_like(signal_N) if is_told else signal_N
        items_NK, signal_NK = beside(self.negatives, batch, actors.generator, signal_N)
        score_NK = actors.policy.logits(batch, items_NK) + learned_bias(batch, actors)[:, None]
        score_N = score_NK[:, 0]
        metrics = {
            "signal/positive": (signal_N > 0).to(score_N),
            "signal/accuracy": (signal_N * score_N > 0).to(score_N),
        }
        return LossOutput(wbc_loss(score_NK, signal_NK).sum(dim=1), means(metrics))
