"""Holds a policy in training to the bounds of its guard (guard.py), on contexts held out for that.

The contexts are CONTEXTS validation targets or fewer, evenly spread. Whatever is frozen is computed
on them once, so that a measurement costs one forward pass of the policy over these histories and
two products with the catalogue.
"""

from collections.abc import Callable

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
    """measure: None: nothing has a bound. passed: what went beyond one first, in words."""

    def __init__(self, module: TrainingModule, measure: Measure | None) -> None:
        self.guard: Guard = module.training_plan.guard
        require(
            not self.guard.is_set or measure is not None,
            f"{self.guard}: its bounds are for post-training alone; leave them out here.",
        )
        self.module = module
        self.measure = measure
        self.passed = ""

    @property
    def has_stopped(self) -> bool:
        return bool(self.passed) and self.guard.action == "stop"

    @property
    def keeps(self) -> bool:
        """Whether weights are to be kept as the last ones within the bounds."""
        return self.measure is not None and self.guard.action == "stop" and not self.passed

    def is_due(self, step: int) -> bool:
        is_last = step == self.module.total_steps
        return self.measure is not None and (step % self.guard.every == 0 or is_last)

    def look(self, step: int, kept_step: int) -> dict[str, float]:
        """What was measured after this step, to log; nothing without a bound.

        kept_step: that of the weights that stay where this is beyond a bound."""
        found = {} if self.measure is None else self.measure()
        beyond = [
            f"{name} {value:.3g} {UNITS[name]} > {bound:g}"
            for name, value in found.items()
            if (bound := getattr(self.guard, name)) is not None and not value <= bound
        ]
        if beyond and not self.passed:
            stops = f"stopped, the weights of step {kept_step} stay"
            end = stops if self.guard.action == "stop" else "training goes on"
            self.passed = f"{' and '.join(beyond)} at step {step}: {end}"
            note(f"guard: {self.passed}")
        return {f"guard/{name}": value for name, value in found.items()}
