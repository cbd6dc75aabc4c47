"""Holds a policy in training to the bounds of its guard (guard.py), on contexts held out for that.

The contexts are CONTEXTS validation targets or fewer, evenly spread. Whatever is frozen is computed
on them once, so that a measurement costs one forward pass of the policy over these histories and
two products with the catalogue.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.config import require
from recsys_posttrain.data.hold_out import targets_where
from recsys_posttrain.data.notes import note
from recsys_posttrain.data.repeats import excluded_for
from recsys_posttrain.guard import Guard
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.rewards.renumbered import in_numbering
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.types import Targets

CONTEXTS = 256
UNITS = {"kl": "nats", "gap": "stars"}
Measure = Callable[[], dict[str, float]]


def measure_of(
    guard: Guard, actors: Actors, targets: Targets, judge: RewardModel | None
) -> Measure | None:
    """Of the policy, as it then is: `kl` to the reference, a mean over the contexts, in nats, and
    for a bound on the `gap` that too, in stars. None: there is no bound.

    Raises: UserError for a bound on the gap without a judge, or where it or the reward model scores
    given items only.
    """
    if not guard.is_set:
        return None
    policy, reference = actors.policy, actors.reference
    count, place_N = len(targets.items_N), torch.arange(len(targets.items_N))
    chosen = min(count, CONTEXTS)
    contexts = targets_where(targets, place_N * chosen % count < chosen)
    asked = contexts.history, contexts.times_N
    excluded = excluded_for(contexts)
    # Not the reference's own method, which keeps its outputs for other sets of histories.
    reference_ND = Policy.last_hidden_states(reference, *asked)
    factors = []
    for model in () if guard.gap is None else (actors.reward, judge):
        require(
            model is not None and model.sums_exactly,
            f"guard.gap={guard.gap}: needs a reward model and a judge (of a split that keeps users "
            "for one, as UserHoldout) with sums over the catalogue; give guard.kl instead.",
        )
        assert model is not None
        factors.append(in_numbering(model, policy.item_ids).next_factors(*asked, contexts.users_N))

    def expected(hidden_ND: Tensor, item_embedding_VD: Tensor) -> list[float]:
        found = []
        for state_NR, factor_VR in factors:
            reward = state_NR.to(hidden_ND), factor_VR.to(hidden_ND)
            value_N = ops.expected_score(hidden_ND, item_embedding_VD, *reward, excluded=excluded)
            found.append(float(value_N.double().mean()))
        return found

    first = expected(reference_ND, reference.item_embedding_VD)

    @torch.no_grad()
    def measure() -> dict[str, float]:
        hidden_ND, item_embedding_VD = policy.scores(*asked)
        kl_N2 = ops.kl_and_entropy(
            *(hidden_ND, item_embedding_VD, reference_ND.to(hidden_ND)),
            reference.item_embedding_VD.to(hidden_ND),
            excluded=excluded,
        )
        found = {"kl": float(kl_N2[:, 0].double().mean())}
        if factors:
            now = expected(hidden_ND, item_embedding_VD)
            by_model, by_judge = (after - before for after, before in zip(now, first, strict=True))
            found["gap"] = by_model - by_judge
        return found

    return measure


class Watch:
    """kept: the weights of the last measurement within the bounds, of step `kept_step`; at first
    those that training starts from. passed: what went beyond a bound first, in words."""

    def __init__(self, module: TrainingModule, measure: Measure | None) -> None:
        self.guard: Guard = module.training_plan.guard
        require(
            not self.guard.is_set or measure is not None,
            f"{self.guard}: its bounds are for post-training alone; leave them out here.",
        )
        self.module = module
        self.measure = measure
        self.kept = self._weights()
        self.kept_step = 0
        self.passed = ""

    def _weights(self) -> dict[str, Tensor]:
        if not self.guard.is_set or self.guard.action == "warn":
            return {}
        return {
            name: each.detach().clone() for name, each in self.module.changing_weights().items()
        }

    @property
    def has_stopped(self) -> bool:
        return bool(self.passed) and self.guard.action == "stop"

    def is_due(self, step: int) -> bool:
        if not self.guard.is_set:
            return False
        return step % self.guard.every == 0 or step == self.module.total_steps

    def look(self, step: int) -> dict[str, float]:
        """What was measured after this step, to log; nothing without a bound."""
        if not self.guard.is_set or self.measure is None:
            return {}
        found = self.measure()
        beyond = [
            f"{name} {found[name]:.3g} {UNITS[name]} > {bound:g}"
            for name in UNITS
            if (bound := getattr(self.guard, name)) is not None and not found[name] <= bound
        ]
        if beyond and not self.passed:
            self.passed = f"{' and '.join(beyond)} at step {step}"
            patience = self.module.training_plan.patience
            kept = "the best weights" if patience else f"the weights of step {self.kept_step}"
            end = f"stopped, {kept} stay" if self.guard.action == "stop" else "training goes on"
            self.passed += f": {end}"
            note(f"guard: {self.passed}")
        if not self.has_stopped:
            self.kept, self.kept_step = self._weights(), step
        return {f"guard/{name}": value for name, value in found.items()}

    @property
    def progress(self) -> dict[str, Any]:
        """What a checkpoint holds besides the weights."""
        return {name: getattr(self, name) for name in ("kept_step", "passed")}

    def restore(self, progress: dict[str, Any], kept: dict[str, Tensor]) -> None:
        vars(self).update(progress, kept=kept)
