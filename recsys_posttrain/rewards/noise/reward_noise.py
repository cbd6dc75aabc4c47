"""The noise of a run: on what its reward model predicts, and on what its log says."""

from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.data.repeats import rule_of
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.rewards.noise.base import Drawn, ErrorNoise, is_resampled
from recsys_posttrain.rewards.noise.correlated import correlated
from recsys_posttrain.rewards.noise.data_noise import Flips, Starvation
from recsys_posttrain.rewards.noise.log import NoisyLog, batch_with_errors, log_with_errors
from recsys_posttrain.rewards.noise.mixture import TruthShare
from recsys_posttrain.rewards.noise.model import NoisyReward
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Sequences, Split


@dataclass(frozen=True)
class RewardNoise:
    """model: errors in the predictions; Flips and Starvation train it on worse data instead, and
    TruthShare makes it better. log: errors in the rewards that post-training reads, as rewards and
    as history; targets stay clean. seed: of every draw that is not resampled, so a kind that is in
    both places errs alike in both. shared: the reward model learns from a log with the same errors,
    as it does where the log of a service is noisy; otherwise from a clean one. Level 0 is no noise,
    to the bit: such a part becomes None, and without parts the seed 0, so noises that do the same
    are equal.
    """

    model: ErrorNoise | Flips | Starvation | TruthShare | None = None
    log: ErrorNoise | Flips | None = None
    seed: int = 0
    shared: bool = False

    def __post_init__(self) -> None:
        for name, noise, kinds in (
            ("model", self.model, (ErrorNoise, Flips, Starvation, TruthShare)),
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
        require(
            not (self.shared and (self.log is None or is_resampled(self.log))),
            f"RewardNoise: shared=True needs errors of the log that are drawn once, and log is "
            f"{self.log!r}; give one such as log=Flips(0.2), or leave shared out.",
        )
        for name in ("model", "log"):
            noise = getattr(self, name)
            if noise is not None and not noise.level > 0:
                object.__setattr__(self, name, None)
        if self.log is None:
            object.__setattr__(self, "shared", False)
        if self.model is None and self.log is None:
            object.__setattr__(self, "seed", 0)

    def of_training(self) -> "RewardNoise":
        """The part that the training of the reward model depends on."""
        changes_data = isinstance(self.model, Flips | Starvation)
        return replace(self.of_model(), model=self.model if changes_data else None)

    def of_model(self) -> "RewardNoise":
        """The part that the reward model depends on."""
        return self if self.shared else replace(self, log=None)

    def of_log(self) -> "RewardNoise":
        return replace(self, model=None, shared=False)

    @property
    def reads_truth(self) -> bool:
        return isinstance(self.model, TruthShare)

    @property
    def place(self) -> str:
        """Where it is: "model", "log", "shared", or "" where it is nowhere."""
        if self.model is not None:
            return "model"
        return "" if self.log is None else "shared" if self.shared else "log"

    @property
    def reads_reference(self) -> bool:
        """Whether the reward model learns from rewards with errors of a field."""
        return self.shared and not isinstance(self.log, Flips)

    def on_shared_log(self, data: Split, reference: Policy | None) -> Split:
        """The data with the errors of `log` in what the reward model learns from, where they are
        shared. reference: None where `reads_reference` is False."""
        if not self.shared:
            return data
        if isinstance(self.log, Flips):
            return replace(data, reward=self.log.log(data.reward, self.seed))
        assert reference is not None
        return replace(data, reward=self._with_errors(data, data.reward, reference))

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
        if noise is None or isinstance(noise, Flips | Starvation | TruthShare):
            return model
        draw = partial(noise.field, data, reference)
        seed = None if is_resampled(noise) else self.seed
        return NoisyReward(model, draw, seed, reference.max_length)

    @property
    def reaches_judges(self) -> bool:
        """Whether another draw of the model's errors is another error, so that a judge can have
        some that correlate with them."""
        is_drawn = isinstance(self.model, Drawn) and isinstance(self.model, ErrorNoise)
        return is_drawn and not is_resampled(self.model)

    def on_judge(
        self, judge: RewardModel, data: Split, reference: Policy, rho: float
    ) -> RewardModel:
        """The judge with errors that correlate by rho with the model's."""
        noise = self.model
        assert isinstance(noise, ErrorNoise)
        assert self.reaches_judges
        own = noise.field(data, reference, derived_seed(self.seed, "judge's own errors"))
        field = correlated(noise.field(data, reference, self.seed), own, rho)
        return NoisyReward(judge, lambda _: field, self.seed, reference.max_length)

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
        return NoisyLog(self._with_errors(data, train, reference))

    def _with_errors(self, data: Split, log: Sequences, reference: Policy) -> Sequences:
        assert isinstance(self.log, ErrorNoise)
        device, field = (
            str(reference.item_embedding_VD.device),
            self.log.field(data, reference, self.seed),
        )
        windows = reference.max_length, device, rule_of(data.corpus)
        return log_with_errors(log, field, *windows)
