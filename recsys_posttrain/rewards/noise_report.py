"""Measures a noise: how good the noisy reward model, and the noisy log, still is."""

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.data.repeats import rule_of
from recsys_posttrain.data.split import latest_events, whole_sequences
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel, score_next
from recsys_posttrain.rewards.baselines import judged_events
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.rewards.predictions import predict_logged
from recsys_posttrain.rewards.quality import quality
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Split, Targets

ITEMS, HISTORIES = 200, 2_000
IN_REWARD_UNITS = {"rmse", "clean_rmse", "error_deviation"}


def noise_report(
    noise: RewardNoise,
    noisy: RewardModel,
    clean: RewardModel,
    data: Split,
    reference: Policy,
    judged_N: Tensor,
) -> dict[str, dict[str, float]]:
    """`model_report` under "model" where the noise changes the model, and `log_report` under "log"
    where it changes the log.

    noisy: the model with the noise; clean: that of a run without. Errors are in the log's unit.
    """
    report: dict[str, dict[str, float]] = {}
    if noise.of_model() != RewardNoise():
        report["model"] = model_report(noisy, clean, data, judged_N, noise.seed)
    if noise.log is not None:
        report["log"] = log_report(noise, data, reference)
    unit = data.corpus.reward_scale.unit
    for measured in report.values():
        for name in measured.keys() & IN_REWARD_UNITS:
            measured[name] *= unit
    return report


def log_report(noise: RewardNoise, data: Split, reference: Policy) -> dict[str, float]:
    """rmse and pairwise_accuracy of a noisy log's rewards against the clean ones, over all training
    events; of one draw, where the noise is resampled."""
    log = noise.on_log(data, reference, one_draw=True).sequences
    noisy_E = log.rewards_E.double().numpy()
    clean_E = data.train.rewards_E.double().numpy()
    user_E = torch.repeat_interleave(data.train.lengths_N).numpy()
    judged = quality(noisy_E, clean_E, user_E, (float(clean_E.min()), float(clean_E.max())))
    return {name: judged[name] for name in ("rmse", "pairwise_accuracy")}


def model_report(
    noisy: RewardModel,
    clean: RewardModel,
    data: Split,
    judged_N: Tensor,
    seed: int = 0,
) -> dict[str, float]:
    """Measures a noisy reward model beside the clean one.

    rmse, pairwise_accuracy: against the logged rewards (as `quality`) of the users judged_N, rows
    of data.reward that no reward model learned from; clean_rmse and clean_pairwise_accuracy: the
    same of the clean model. error_deviation: standard deviation of noisy - clean over validation
    histories x items, evenly drawn, so most pairs were never logged. Resampled noise is drawn from
    `seed`.
    """
    rule = rule_of(data.corpus)
    low, high = float(data.reward.rewards_E.min()), float(data.reward.rewards_E.max())
    generator = np.random.default_rng(derived_seed(seed, "noise report"))
    report: dict[str, float] = {}
    noisy.resample(derived_seed(seed, "noise report", 0))
    for prefix, model in (("", noisy), ("clean_", clean)):
        events = judged_events(latest_events(data.reward, judged_N, model.max_length + 1))
        judged_on = whole_sequences(data.reward, judged_N)
        predicted_E = predict_logged(model, judged_on, rule=rule, users_N=judged_N)
        judged = quality(predicted_E, events.reward_E, events.user_E, (low, high))
        report |= {f"{prefix}{name}": judged[name] for name in ("rmse", "pairwise_accuracy")}

    targets = data.validation
    rows_N = generator.permutation(len(targets.items_N))[:HISTORIES]
    num_items = data.corpus.num_items
    items_K = torch.from_numpy(generator.permutation(num_items)[:ITEMS] + 1)
    clean_NK = _scores(clean, targets, items_K)[rows_N]
    noisy_NK = _scores(noisy, targets, items_K)[rows_N]
    noisy.resample(None)
    report["error_deviation"] = float((noisy_NK - clean_NK).std())
    return report


def _scores(model: RewardModel, targets: Targets, items_K: Tensor) -> np.ndarray:
    items_NK = items_K.expand(len(targets.items_N), -1)
    score_NK = score_next(model, targets.history, items_NK, targets.times_N, targets.users_N)
    return np.asarray(score_NK.double().numpy())
