"""What all stages of a setup ask for: its data, their keys, and the policy that all start from."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from recsys_posttrain import store
from recsys_posttrain.data import prepare
from recsys_posttrain.data.available import with_windows
from recsys_posttrain.data.encode import encode
from recsys_posttrain.data.expected import with_expected
from recsys_posttrain.data.never_shown import with_never_shown
from recsys_posttrain.files import read_parquet, write_parquet
from recsys_posttrain.models.checkpoint import POLICY_FILES, WEIGHTS, load_policy, save_policy
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.own import OwnModule, made_by
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.plan import METRICS
from recsys_posttrain.progress import Done
from recsys_posttrain.rewards.own import without_steps
from recsys_posttrain.studies.keys import Stage, StageKeys
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training import pretrain
from recsys_posttrain.types import Split
from recsys_posttrain.worlds.base import Truth, truth_of

Make = Callable[[Path], dict[str, Any]]
OnStage = Callable[[Done], None]


class SharedStages:
    """root: where stages are kept. on_stage: called with each stage once it is there. devices: that
    share pretraining, as for `pretrain`."""

    def __init__(
        self, setup: Setup, root: Path, device: str = "cpu", on_stage: OnStage = lambda _: None
    ) -> None:
        self.setup = setup
        self.root = root
        self.device = device
        self.devices = 1
        self.on_stage = on_stage

    @cached_property
    def data(self) -> Split:
        dataset, split, thresholds, repeats, never_shown, available = self.setup.data
        minimum = split.minimum_item_ratings
        corpus = prepare(dataset, minimum, repeats=repeats, thresholds=thresholds)
        corpus = with_windows(with_never_shown(corpus, never_shown), available)
        data = split.split(replace(corpus, catalogue=self.setup.catalogue))
        data = with_expected(data, dataset)
        if self.outside is None:
            return data
        assert self.outside.item_ids is not None
        return encode(data, self.outside.item_ids)

    @cached_property
    def outside(self) -> Policy | None:
        """The pretrained policy, where it comes from elsewhere; data are in its numbering."""
        make = self.setup.pretrained
        return None if make is None else made_by(make)

    @cached_property
    def keys(self) -> StageKeys:
        return StageKeys(self.setup, self.data, self.root, self.outside)

    def build(self, stage: Stage, title: str, make: Make, *files: str) -> store.Built:
        """files: what `make` leaves."""
        built = store.build(stage.folder, stage.key, make, files)
        self.on_stage(Done(title, built.folder, built.seconds))
        return built

    def build_frame(
        self, stage: Stage, title: str, compute: Callable[[], pd.DataFrame], name: str
    ) -> pd.DataFrame:
        """Of a stage that is one frame, kept as a parquet file of this name."""

        def make(folder: Path) -> dict[str, Any]:
            frame = compute()
            write_parquet(frame, folder / name)
            return {"rows": len(frame)}

        folder = self.build(stage, title, make, name).folder
        return read_parquet(folder / name, fix=store.delete(folder))

    def save(self, folder: Path, trained: Policy) -> None:
        own: Any = None if self.outside is None else self.outside.backbone
        backbone = self.setup.policy_backbone if own is None else own.config
        save_policy(folder, trained, backbone, self.data.corpus, self.setup.dataset)

    def pretrain(self) -> Path:
        """The folder of the pretrained policy."""

        def make(folder: Path) -> dict[str, Any]:
            setup = self.setup
            if self.outside is not None:
                self.save(folder, self.outside)
                return without_steps(folder).record
            trained, fitted = pretrain.pretrain(
                self.data,
                setup.policy_backbone,
                setup.pretraining,
                setup.seed,
                folder,
                self.device,
                setup.pretraining_loss,
                devices=self.devices,
            )
            self.save(folder, trained)
            shared = {"devices": self.devices} if self.devices > 1 else {}
            return fitted.record | shared

        title = self.title("pretrained policy")
        return self.build(self.keys.pretrain, title, make, *POLICY_FILES, METRICS).folder

    def title(self, what: str) -> str:
        """Of a stage that another seed of the setup has too."""
        return f"{what}, seed {self.setup.seed}" if self.setup.seed else what

    def load(self, folder: Path, weights: str = WEIGHTS) -> FrozenPolicy:
        """A policy of this setup."""
        own = None if self.outside is None else self.outside.backbone
        encoder = own.encoder if isinstance(own, OwnModule) else None
        return load_policy(folder, weights, encoder).policy

    def load_pretrained(self) -> FrozenPolicy:
        return self._pretrained

    @cached_property
    def _pretrained(self) -> FrozenPolicy:
        return self.load(self.pretrain())

    def load_truth(self) -> Truth:
        """Raises: UserError where the dataset is no world."""
        return self._truth

    @cached_property
    def _truth(self) -> Truth:
        return truth_of(self.setup.dataset, self.data.corpus)
