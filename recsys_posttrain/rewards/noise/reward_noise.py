"""The noise of a run: on what its reward model predicts, and on what its log says."""

from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.rewards.noise.base import ErrorNoise, is_resampled
from recsys_posttrain.rewards.noise.data_noise import Flips, Starvation
from recsys_posttrain.rewards.noise.log import NoisyLog, batch_with_errors, log_with_errors
from recsys_posttrain.rewards.noise.model import NoisyReward
from recsys_posttrain.types import Sequences, Split


@dataclass(frozen=True)
class RewardNoise:
    """model: errors in the predictions; Flips and Starvation train it on worse data instead.
    log: errors in the rewards that post-training reads, as rewards and as history; targets, and the
    data that the reward model learns from, stay clean. seed: of every draw that is not resampled,
    so a kind that is in both places errs alike in both. Level 0 is no noise, to the bit: such a
    part becomes None, and without parts the seed 0, so noises that do the same are equal.
    """

    model: ErrorNoise | Flips | Starvation | None = None
    log: ErrorNoise | Flips | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, noise, kinds in (
            ("model", self.model, (ErrorNoise, Flips, Starvation)),
            ("log", self.log, (ErrorNoise, Flips)),
        ):
            require(
                noise is None or (isinstance(noise, kinds) and not isinstance(noise, type)),
                f"RewardNoise: {name}={noise!r} is not a noise of a {name}; give a kind of "
                "recsys_posttrain.rewards.noise with its level, e.g. ItemBias(0.5), or None.",
            )
        require(
            not (isinstance(self.model, Flips) and self.model.resampled),
            "RewardNoise: model=Flips(resampled=True) is not possible, because a reward model is "
            "trained once; use Flips without it, or on the log.",
        )
        for name in ("model", "log"):
            noise = getattr(self, name)
            if noise is not None and not noise.level > 0:
                object.__setattr__(self, name, None)
        if self.model is None and self.log is None:
            object.__setattr__(self, "seed", 0)

    def of_training(self) -> "RewardNoise":
        """The part that the training of the reward model depends on."""
        changes_data = isinstance(self.model, Flips | Starvation)
        return self.of_model() if changes_data else RewardNoise()

    def of_model(self) -> "RewardNoise":
        return replace(self, log=None)

    def of_log(self) -> "RewardNoise":
        return replace(self, model=None)

    def on_training(self, train: Sequences, fit_N: Tensor) -> tuple[Sequences, Tensor]:
        """What the reward model learns from: a log, and those of the users to learn from."""
        noise = self.model
        if isinstance(noise, Flips):
            return noise.log(train, self.seed), fit_N
        if isinstance(noise, Starvation):
            return train, noise.users(fit_N, self.seed)
        return train, fit_N

    def on_model(self, model: RewardModel, data: Split, reference: Policy) -> RewardModel:
        """The model with errors added; the model itself where the noise adds none."""
        noise = self.model
        if noise is None or isinstance(noise, Flips | Starvation):
            return model
        draw = partial(noise.field, data, reference)
        seed = None if is_resampled(noise) else self.seed
        return NoisyReward(model, draw, seed, reference.max_length)

    def on_log(self, data: Split, reference: Policy, one_draw: bool = False) -> NoisyLog:
        """The training log with errors; the log itself where the noise adds none.

        one_draw: of noise that is resampled too, to look at it.
        """
        noise, train = self.log, data.train
        if noise is None:
            return NoisyLog(train)
        redrawn = is_resampled(noise) and not one_draw
        if isinstance(noise, Flips):
            if redrawn:
                return NoisyLog(train, partial(noise.redraw, train))
            return NoisyLog(noise.log(train, self.seed))
        draw = partial(noise.field, data, reference)
        if redrawn:
            return NoisyLog(train, lambda batch, seed: batch_with_errors(batch, draw(seed)))
        device, field = str(reference.item_embedding_VD.device), draw(self.seed)
        windows = reference.max_length, device, data.corpus.excludes_history
        return NoisyLog(log_with_errors(train, field, *windows))
