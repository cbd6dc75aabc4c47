"""Training of the transformer ensemble of rewards/ensemble.py."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from recsys_posttrain.config import require, require_counts
from recsys_posttrain.data.split import latest_events
from recsys_posttrain.fitted import Fitted
from recsys_posttrain.models.reward_model import RewardData
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.baselines import judged_events
from recsys_posttrain.rewards.ensemble import EnsembleModule, bootstrap_weights
from recsys_posttrain.rewards.predictions import predict_logged
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.training.fit import fit
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.types import Batch, LossOutput


@dataclass(frozen=True)
class RewardEnsemble:
    """Settings of an ensemble of small transformers: a weaker reward model than RewardFactors.

    encoder: the backbone that reads the history.
    members: M.
    rank: R, the width of an item's factor.
    held_out: share of users kept from training, half to stop early on, half for the quality table.
    training: how long and how fast it is trained.
    """

    encoder: SASRec = SASRec(history_rewards=True, dropout=0.3)
    members: int = 5
    rank: int = 16
    held_out: float = 0.2
    training: Training = Training(epochs=30, batch_size=32, weight_decay=1.0, patience=3)

    def __post_init__(self) -> None:
        require_counts("RewardEnsemble", 1, 1000, members=self.members, rank=self.rank)
        require(
            0 < self.held_out < 1,
            f"RewardEnsemble: held_out={self.held_out} must be a share between 0 and 1.",
        )

    def build(self, num_items: int, mean_reward: float = 0.0) -> EnsembleModule:
        return EnsembleModule(self.encoder, self.members, self.rank, num_items, mean_reward)

    def train(
        self, data: RewardData, seed: int, folder: Path | None = None, device: str = "cpu"
    ) -> tuple[EnsembleModule, Fitted]:
        """Until the error on the validation users no longer falls.

        Item biases start as damped means, and weight decay leaves them alone.
        """
        length = self.encoder.max_length
        fit_on, stop_on = (
            latest_events(log, torch.arange(len(log)), length + 1)
            for log in (data.fit, data.validation)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "reward weights"))
            model = self.build(data.num_items, float(fit_on.rewards_E.double().mean()))
        bootstrap_seed = derived_seed(seed, "reward bootstrap")
        weight_MS = bootstrap_weights(self.members, len(fit_on), bootstrap_seed)
        model.start_from_item_means(fit_on, weight_MS)

        def objective(batch: Batch) -> LossOutput:
            return model.loss(batch, weight_MS)

        def validate() -> dict[str, float]:
            error_E = predict_logged(model, stop_on) - judged_events(stop_on).reward_E
            model.clear_cache()
            return {"negative_rmse": -float(np.sqrt(np.square(error_E).mean()))}

        module = TrainingModule(
            model, objective, self.training, seed, dropout=True, undecayed=("item_bias",)
        )
        stream = self.training.batches(fit_on, length, seed)
        fitted = fit(
            *(module, stream, folder),
            device=device,
            validate=validate,
            monitor="negative_rmse",
            title="reward model",
        )
        return model.eval(), fitted
