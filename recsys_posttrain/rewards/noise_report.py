"""Measures a noise: how good the noisy reward model is, and whether a policy can follow errors."""

from dataclasses import replace

import numpy as np
import torch
from sklearn.linear_model import RidgeCV  # type: ignore[import-untyped]
from torch import Tensor

from recsys_posttrain.data.split import latest_events, whole_sequences
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel, score_next
from recsys_posttrain.rewards.baselines import judged_events
from recsys_posttrain.rewards.noise import Flips, RewardNoise
from recsys_posttrain.rewards.predictions import predict_logged
from recsys_posttrain.rewards.quality import quality
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Split, Targets

ITEMS, HISTORIES = 200, 2_000
IN_REWARD_UNITS = {"rmse", "clean_rmse", "true_rmse", "error_deviation"}
PENALTIES = np.logspace(-2, 6, 17)


def noise_report(
    noise: RewardNoise,
    model: RewardModel,
    clean: RewardModel,
    data: Split,
    reference: Policy,
    judged_N: Tensor,
) -> dict[str, dict[str, float]]:
    """`model_report` under "model" and `log_report` under "log", where the noise has such a part.

    model: of the noise's own training, without added errors; clean: the model of a run without
    noise. Errors are in the log's unit.
    """
    report: dict[str, dict[str, float]] = {}
    if noise.model is not None:
        noisy = noise.on_model(model, data, reference)
        report["model"] = model_report(noisy, clean, data, reference, judged_N, noise.seed)
    if noise.log is not None:
        report["log"] = log_report(noise, data, reference)
        if not isinstance(noise.log, Flips):  # the same errors, so on a model as easy to follow
            noisy = replace(noise, model=noise.log).on_model(clean, data, reference)
            same = model_report(noisy, clean, data, reference, judged_N, noise.seed)
            report["log"]["exploitable_share"] = same["exploitable_share"]
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
    reference: Policy,
    judged_N: Tensor,
    seed: int = 0,
    true_UV: Tensor | None = None,
) -> dict[str, float]:
    """Measures a noisy reward model beside the clean one.

    rmse, pairwise_accuracy: against the logged rewards (as `quality`) of the users judged_N, rows
    of data.reward that no reward model learned from; clean_rmse and clean_pairwise_accuracy: the
    same of the clean model. error_deviation: standard deviation of noisy - clean over validation
    histories x items, evenly drawn, so most pairs were never logged. exploitable_share: see there,
    on the same pairs. true_UV: the known mean rewards of a world; adds true_rmse and
    true_pairwise_accuracy on those pairs. Resampled noise is drawn from `seed`.
    """
    first, second = (derived_seed(seed, "noise report", draw) for draw in (0, 1))
    excludes_history = data.corpus.excludes_history
    low, high = float(data.reward.rewards_E.min()), float(data.reward.rewards_E.max())
    generator = np.random.default_rng(derived_seed(seed, "noise report"))
    report: dict[str, float] = {}
    noisy.resample(first)
    for prefix, model in (("", noisy), ("clean_", clean)):
        events = judged_events(latest_events(data.reward, judged_N, model.max_length + 1))
        predicted_E = predict_logged(
            model, whole_sequences(data.reward, judged_N), excludes_history=excludes_history
        )
        judged = quality(predicted_E, events.reward_E, events.user_E, (low, high))
        report |= {f"{prefix}{name}": judged[name] for name in ("rmse", "pairwise_accuracy")}

    targets = data.validation
    rows_N = generator.permutation(len(targets.items_N))[:HISTORIES]
    num_items = data.corpus.num_items
    items_K = torch.from_numpy(generator.permutation(num_items)[:ITEMS] + 1)
    clean_NK = _scores(clean, targets, items_K)[rows_N]
    noisy_NK = _scores(noisy, targets, items_K)[rows_N]
    noisy.resample(second)
    redrawn_NK = _scores(noisy, targets, items_K)[rows_N]
    noisy.resample(None)
    hidden_ND = reference.last_hidden_states(targets.history, targets.times_N)[rows_N].cpu().numpy()
    report["error_deviation"] = float((noisy_NK - clean_NK).std())
    report["exploitable_share"] = exploitable_share(
        hidden_ND, noisy_NK - clean_NK, redrawn_NK - clean_NK
    )
    if true_UV is not None:
        users_N = targets.users_N[rows_N]
        true_NK = true_UV[users_N][:, items_K - 1].double().numpy()
        user_NK = np.broadcast_to(users_N.numpy()[:, None], true_NK.shape)
        judged = quality(noisy_NK.ravel(), true_NK.ravel(), user_NK.ravel(), (low, high))
        report |= {f"true_{name}": judged[name] for name in ("rmse", "pairwise_accuracy")}
    return report


def exploitable_share(hidden_ND: np.ndarray, error_NK: np.ndarray, redrawn_NK: np.ndarray) -> float:
    """The share of the error's variance that a policy's inputs explain, from 0 to 1.

    For each item a ridge regression of the error on the reference's state, with an intercept: the
    errors that new output vectors (and a bias) of the items could follow exactly. Fitted on the
    first half of the histories, scored on the other: 1 - squared error / variance over all pairs.
    A policy with a state of its own may follow more. redrawn_NK: the errors at a later step, equal
    to error_NK where the noise is frozen; scored there. NaN without any error.
    """
    half = len(hidden_ND) // 2
    scored_NK = redrawn_NK[half:]
    variance = np.square(scored_NK - scored_NK.mean()).mean()
    if variance == 0:
        return float("nan")
    mean_D, deviation_D = hidden_ND[:half].mean(axis=0), hidden_ND[:half].std(axis=0)
    scaled_ND = (hidden_ND - mean_D) / np.where(deviation_D > 0, deviation_D, 1)
    model = RidgeCV(alphas=PENALTIES).fit(scaled_ND[:half], error_NK[:half])
    left_NK = scored_NK - model.predict(scaled_ND[half:])
    return float(max(0.0, 1 - np.square(left_NK).mean() / variance))


def _scores(model: RewardModel, targets: Targets, items_K: Tensor) -> np.ndarray:
    items_NK = items_K.expand(len(targets.items_N), -1)
    score_NK = score_next(model, targets.history, items_NK, targets.times_N, targets.users_N)
    return np.asarray(score_NK.double().numpy())
