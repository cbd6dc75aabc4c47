"""What a sweep is: methods with their search spaces, noises, seeds and a budget, as one value."""

from collections import Counter
from dataclasses import dataclass, field, replace

from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.config import require
from recsys_posttrain.evaluation.subsets import Subset, liked
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.seeding import require_seeds
from recsys_posttrain.studies.choose import NOTHING
from recsys_posttrain.studies.run import Run
from recsys_posttrain.sweep.sampler import TPE, Grid, Sampler
from recsys_posttrain.sweep.space import Setting, Space, check_space, with_setting
from recsys_posttrain.untrained import Pretrained


@dataclass(frozen=True)
class Method:
    """space: the searched fields; those of `algorithm` that are not in it stay.

    asks_model: whether errors of the reward model can change it; otherwise it is run under noise in
    the log alone.
    """

    algorithm: Algorithm
    space: Space = field(hash=False)
    name: str = ""
    asks_model: bool = False

    @property
    def label(self) -> str:
        return self.name or type(self.algorithm).__name__


@dataclass(frozen=True)
class Sweep:
    """trials: of each cell, a method under a noise; a grid has as many as combinations.
    tuning_seeds: of post-training and of the noise while settings are chosen; a trial's value is
    the mean over them. seeds: the same of the runs that enter the table; empty: nothing is run
    after tuning, and the table is of the trials of a grid, on validation targets. metric, over: a
    column of the validation rows and the targets over which its mean decides, higher is better.
    seed: of the sampler. Noises are given without a seed. Doing nothing, the pretrained policy, is
    one more trial of each cell."""

    base: Run
    methods: tuple[Method, ...]
    noise: tuple[RewardNoise, ...] = (RewardNoise(),)
    trials: int = 20
    tuning_seeds: tuple[int, ...] = (100,)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    metric: str = "ndcg@10"
    over: Subset = liked
    seed: int = 0
    sampler: Sampler = TPE()

    def __post_init__(self) -> None:
        require(self.methods, "Sweep: methods is empty; give at least one Method.")
        require(
            self.trials >= 1,
            f"Sweep: trials={self.trials} tunes nothing; give at least 1 per cell.",
        )
        if self.seeds or not isinstance(self.sampler, Grid):
            require_seeds(self.seeds, "Sweep: seeds")
        require_seeds(self.tuning_seeds, "Sweep: tuning_seeds")
        shared = sorted(set(self.seeds) & set(self.tuning_seeds))
        require(
            not shared,
            f"Sweep: seed {shared and shared[0]} is in seeds and in tuning_seeds; a setting is "
            "judged on seeds that did not choose it, so keep the two apart.",
        )
        for cell in self.cells:
            check_space(cell.run({}, 0), cell.method.space, len(self.methods) == 1)
        self.sampler.check({method.label: method.space for method in self.methods})
        twice = [
            label for label, count in Counter(c.label for c in self.cells).items() if count > 1
        ]
        require(
            not twice,
            f"Sweep: two cells are called {twice and twice[0]!r}; give one method another name=, "
            "or leave out the noise that is there twice.",
        )

    @property
    def cells(self) -> "tuple[Cell, ...]":
        """By method, the noises in their order."""
        return tuple(
            Cell(self.base, method, noise, self.sampler.budget(method.space, self.trials))
            for method in self.methods
            for noise in self.noise
            if noise.model is None or noise.log or method.asks_model
        )


@dataclass(frozen=True)
class Cell:
    """What is tuned on its own, with so many trials."""

    base: Run
    method: Method
    noise: RewardNoise
    trials: int

    @property
    def label(self) -> str:
        noise = noise_name(self.noise)
        return f"{self.method.label}, {noise}" if noise else self.method.label

    def run(self, setting: Setting, seed: int) -> Run:
        """Raises: UserError where the algorithm refuses the setting."""
        run = replace(
            self.base,
            algorithm=self.method.algorithm,
            name=self.label,
            noise=replace(self.noise, seed=seed),
            seed=seed,
        )
        return with_setting(run, self.method.space, setting)

    def nothing(self, seed: int) -> Run:
        """The pretrained policy in the place of the method."""
        return replace(self.run({}, seed), algorithm=Pretrained(), strength=NOTHING)


def noise_name(noise: RewardNoise) -> str:
    """ItemBias 0.6, Flips 0.2 in the log; empty without noise."""
    parts = [(noise.model, ""), (noise.log, " in the log")]
    return ", ".join(
        f"{type(kind).__name__} {kind.level:g}{where}"
        + (" resampled" if getattr(kind, "resampled", False) else "")
        for kind, where in parts
        if kind is not None
    )
