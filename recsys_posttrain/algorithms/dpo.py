"""Direct preference optimisation on pairs of items that the reward ensemble is sure about.

    loss = -log sigmoid(beta (lr(a_w) - lr(a_l))) - nll_coefficient log pi(a_w | x)
    lr(a) = log pi(a | x) - log pi_ref(a | x)

Limits: beta -> 0 is the constant log 2 (without the NLL term); at pi = pi_ref the gradient is that
of -(beta / 2) (log pi(a_w) - log pi(a_l)).
Source: DPO, arXiv 2305.18290, equation 7. Pairs: RS-DPO as the Netflix Technology Blog (October
2025, see asft.py) describes it: candidates scored by an ensemble, kept where confidence intervals
separate.
Departures: candidates are drawn from pi_ref at every step, not stored; the interval is the
ensemble's mean -+ width standard deviations; the NLL term (off by default) is there because DPO
tends to lower the chosen log-probability too, which `logps/chosen` shows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.config import require
from recsys_posttrain.models.reward_model import Interval
from recsys_posttrain.ops.softmax import masked_mean
from recsys_posttrain.types import Batch, LossOutput


class Pairs(NamedTuple):
    """At most one pair per position; items are valid ids at every real position, kept or not."""

    chosen_BT: Tensor
    rejected_BT: Tensor
    kept_BT: Tensor  # bool, False at padding


PairSource = Callable[[Batch, Actors], Pairs]


def dpo_loss(margin: Tensor, beta: float) -> Tensor:
    """-log sigmoid(beta margin) per element; margin = lr(a_w) - lr(a_l)."""
    return -logsigmoid(beta * margin)


def _pick(values_BTK: Tensor, index_BT: Tensor) -> Tensor:
    return values_BTK.gather(-1, index_BT[..., None]).squeeze(-1)


def separated_pair(lower_BTK: Tensor, upper_BTK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which candidate has the highest lower bound, which the lowest upper bound, and whether the
    first is surely better: its lower bound is above the other's upper one. Each [B, T]."""
    best_BT, worst_BT = lower_BTK.argmax(dim=-1), upper_BTK.argmin(dim=-1)
    return best_BT, worst_BT, _pick(lower_BTK, best_BT) > _pick(upper_BTK, worst_BT)


def _draw(batch: Batch, actors: Actors, count: int, width: float) -> tuple[Tensor, Interval]:
    """Items from pi_ref, [B, T, count], and what the ensemble believes about each."""
    items_BTK, _ = actors.reference.sample(batch, count, actors.generator)
    return items_BTK, actors.reward.interval(batch, items_BTK, width)


def _check(name: str, candidates: int, at_least: int, width: float) -> None:
    require(candidates >= at_least, f"{name}: candidates={candidates} must be at least {at_least}.")
    require(width >= 0, f"{name}: width={width} must be at least 0 deviations.")


@dataclass(frozen=True)
class EnsemblePairs:
    """Both items are drawn from pi_ref. width: standard deviations on each side of the mean."""

    candidates: int = 8
    width: float = 1.0

    def __post_init__(self) -> None:
        _check("EnsemblePairs", self.candidates, 2, self.width)

    @torch.no_grad()
    def __call__(self, batch: Batch, actors: Actors) -> Pairs:
        items_BTK, (_, lower_BTK, upper_BTK) = _draw(batch, actors, self.candidates, self.width)
        best_BT, worst_BT, separated_BT = separated_pair(lower_BTK, upper_BTK)
        return Pairs(
            _pick(items_BTK, best_BT), _pick(items_BTK, worst_BT), separated_BT & batch.mask_BT
        )


@dataclass(frozen=True)
class LoggedVersusSampled:
    """The logged item against the draw from pi_ref with the lowest upper bound; kept where the
    logged reward is above that bound."""

    candidates: int = 8
    width: float = 1.0

    def __post_init__(self) -> None:
        _check("LoggedVersusSampled", self.candidates, 1, self.width)

    @torch.no_grad()
    def __call__(self, batch: Batch, actors: Actors) -> Pairs:
        items_BTK, (_, _, upper_BTK) = _draw(batch, actors, self.candidates, self.width)
        worst_BT = upper_BTK.argmin(dim=-1)
        rejected_BT = _pick(items_BTK, worst_BT)
        better_BT = (batch.rewards_BT > _pick(upper_BTK, worst_BT)) & (
            rejected_BT != batch.actions_BT
        )
        return Pairs(batch.actions_BT, rejected_BT, better_BT & batch.mask_BT)


@dataclass(frozen=True)
class DPO:
    """beta: how strongly pi is held to pi_ref; the default is ours, from three trials on ML-1M's
    validation targets (0.5 destroys the policy within 100 steps). pairs: where preferences come
    from. nll_coefficient: weight of -log pi(a_w), 0 by default."""

    beta: float = 8.0
    pairs: PairSource = EnsemblePairs()
    nll_coefficient: float = 0.0

    def __post_init__(self) -> None:
        require(self.beta > 0, f"DPO: beta={self.beta} must be above 0.")
        require(
            self.nll_coefficient >= 0,
            f"DPO: nll_coefficient={self.nll_coefficient} must be at least 0.",
        )

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        chosen_BT, rejected_BT, kept_BT = self.pairs(batch, actors)
        both_BT2 = torch.stack([chosen_BT, rejected_BT], dim=-1)
        # The margin alone is a difference of logits: the normaliser cancels in its gradient.
        log_prob_BT2 = actors.policy.log_prob(
            batch, both_BT2, constant_normaliser=self.nll_coefficient == 0
        )
        with torch.no_grad():
            reference_BT2 = actors.reference.log_prob(batch, both_BT2)
        chosen_ratio_BT, rejected_ratio_BT = (log_prob_BT2 - reference_BT2).unbind(dim=-1)
        margin_BT = chosen_ratio_BT - rejected_ratio_BT
        loss_BT = dpo_loss(margin_BT, self.beta) - self.nll_coefficient * log_prob_BT2[..., 0]

        over_kept = {
            "rewards/chosen": self.beta * chosen_ratio_BT,
            "rewards/rejected": self.beta * rejected_ratio_BT,
            "rewards/margins": self.beta * margin_BT,
            "rewards/accuracies": (margin_BT > 0).to(margin_BT),
            "logps/chosen": log_prob_BT2[..., 0],
            "logps/rejected": log_prob_BT2[..., 1],
        }
        metrics = {name: masked_mean(each.detach(), kept_BT) for name, each in over_kept.items()}
        metrics["pairs/kept"] = masked_mean(kept_BT.to(margin_BT), batch.mask_BT)
        return LossOutput(loss_BT, metrics, kept_BT)
