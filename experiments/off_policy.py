"""How right are off-policy estimates? In a world, whose log's policy and true rewards are known.

    python experiments/off_policy.py [--dataset jester] [--drawn 1000 7200] [--replications 1000]

A few policies, each with its true value over all targets (as `reward/gold`). A replication draws
as many targets as asked with replacement and for each another logged item, from the log's policy
after the user's own history, rated as the log rates. Prints and writes off-policy-DATASET.csv: of
each policy and estimator the bias, the standard deviation, the root mean squared error and the
coverage of the 95% interval over replications, and what the log itself says.
off-policy-DATASET-order.csv has the rank correlation of each estimator with the true value over the
policies: in the log, the mean over replications, and below which a tenth of them lie.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from scipy.stats import spearmanr
from worlds.choices import Rated, choices_at

import recsys_posttrain as rp
from recsys_posttrain.basic_statistics import Floats
from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.data.hold_out import targets_where
from recsys_posttrain.evaluation.off_policy import ESTIMATORS, estimates
from recsys_posttrain.evaluation.support import support
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.plan import Training
from recsys_posttrain.types import Split
from recsys_posttrain.worlds.base import world as world_of
from recsys_posttrain.worlds.catalog import dataset_named


def rankers_of(data: Split, steps: int) -> tuple[dict[str, Ranker], RewardModel]:
    plan = Training(steps=steps)
    policy, _ = rp.pretrain(data, training=plan)
    reward, _ = rp.train_reward(data)
    given = rp.Given(data, policy, reward)
    found: dict[str, Ranker] = {
        "Uniform": rp.Uniform().ranker(given),
        "Popularity": rp.Popularity().ranker(given),
        "Pretrained": policy,
    }
    for algorithm in (rp.BC(), rp.ASFT(), rp.OfflinePPO()):
        name = type(algorithm).__name__
        found[name], _ = rp.posttrain(policy, data, algorithm, reward, training=plan)
    for temperature in (1.0, 0.3, 0.1):
        found[f"Tilt({temperature:g})"] = rp.Tilt(temperature=temperature).ranker(given)
    return found, reward


def shown_softmax(logit_NV: Floats, data: Split) -> Floats:
    """Over the items that a user has not had."""
    history = data.test.history
    row_E = np.repeat(np.arange(len(logit_NV)), history.lengths_N.numpy())
    logit_NV = logit_NV.copy()
    logit_NV[row_E, history.items_E.numpy() - 1] = -np.inf
    return np.asarray(softmax(logit_NV, axis=1))


def logging_policy(logit_NV: Floats, data: Split) -> Floats:
    """b of all items at the test targets, [N, V]; checked against what the log states."""
    b_NV = shown_softmax(logit_NV, data)
    chosen_N = b_NV[np.arange(len(b_NV)), data.test.items_N.numpy() - 1]
    # Items that nobody was shown are not in the corpus.
    np.testing.assert_allclose(chosen_N, np.asarray(data.test.propensities_N), rtol=0.01)
    return b_NV


def product(factors: Any) -> Floats:
    state_NR, factor_VR = (each.detach().double().numpy() for each in factors)
    return np.asarray(state_NR @ factor_VR.T)


def draws(
    b_NV: Floats, drawn: int, replications: int
) -> Iterator[tuple[Any, Any, np.random.Generator]]:
    """Of each replication `drawn` targets, an item of b for each, and the generator for the rest.
    The same whenever asked."""
    generator = np.random.default_rng(0)
    below_NV = b_NV.cumsum(axis=1)
    # All rows as one ascending list, row n between n and n + 1: a draw is looked up, not counted.
    below_I = (below_NV / below_NV[:, -1:] + np.arange(len(b_NV))[:, None]).ravel()
    for _ in range(replications):
        n = generator.integers(0, len(b_NV), drawn)
        a = np.searchsorted(below_I, n + generator.random(drawn)) - n * b_NV.shape[1]
        yield n, a, generator


def replicated(
    b_NV: Floats,
    pi_NV: Floats,
    reward_NV: Floats,
    model_NV: Floats,
    rated: Rated,
    drawn: int,
    replications: int,
) -> dict[str, Floats]:
    """By estimator the mean and half of the interval of each replication, [R, 2]. A replication is
    the same log for every policy."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ESTIMATORS}
    expected_N = (pi_NV * model_NV).sum(axis=1)
    for n, a, generator in draws(b_NV, drawn, replications):
        reward_D = rated(reward_NV[n, a], generator)
        known = pi_NV[n, a] / b_NV[n, a], reward_D, model_NV[n, a], expected_N[n]
        for name, value_N in estimates(*known).items():
            half = 1.96 * value_N.std(ddof=1) / math.sqrt(drawn)
            found[name].append((value_N.mean(), half))
    return {name: np.array(values) for name, values in found.items()}


def measured(
    world: Any,
    data: Split,
    trained: tuple[dict[str, Ranker], RewardModel],
    drawn: int,
    replications: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of policies and estimators, and that of orders."""
    targets, (rankers, reward) = data.test, trained
    asked = targets.history, targets.times_N, targets.users_N
    choices, model_NV = choices_at(world, data), product(reward.last_factors(*asked))
    b_NV = logging_policy(choices.logit_NV, data)
    reward_NV = rp.truth_of(world, data.corpus).rewards(targets.users_N).double().numpy()
    rows, means = list[dict[str, Any]](), dict[str, list[Floats]]()
    for name, ranker in rankers.items():
        pi_NV = shown_softmax(product(ranker.scores(*asked)), data)
        gold = (pi_NV * reward_NV).sum(axis=1).mean()
        logged = rp.evaluate(ranker, data, reward).per_user
        found = support(logged)
        print(f"{name}: gold {gold:.3f}; {found.line}. {found.warning}")
        by_name = replicated(b_NV, pi_NV, reward_NV, model_NV, choices.rated, drawn, replications)
        for estimator, (mean_R, half_R) in ((key, value.T) for key, value in by_name.items()):
            means.setdefault(estimator, []).append(mean_R)
            rows.append(
                {
                    "method": name,
                    "estimator": estimator.removeprefix("reward/"),
                    "gold": gold,
                    "bias": mean_R.mean() - gold,
                    "sd": mean_R.std(ddof=1),
                    "rmse": np.sqrt(((mean_R - gold) ** 2).mean()),
                    "coverage": (np.abs(mean_R - gold) <= half_R).mean(),
                    "log": logged[estimator].mean(),
                    "log_error": logged[estimator].std(ddof=1) / math.sqrt(len(logged)),
                    "sample": found.sample,
                }
            )
    table = pd.DataFrame(rows)
    gold_P = table.drop_duplicates("method")["gold"].to_numpy()
    return table, orders(table, {name: np.array(each) for name, each in means.items()}, gold_P)


def orders(table: pd.DataFrame, means: dict[str, Floats], gold_P: Floats) -> pd.DataFrame:
    """By estimator the rank correlation with gold over the policies: of the log, and of the
    replications, whose means are [P, R]."""
    rows = []
    for estimator, mean_PR in means.items():
        name = estimator.removeprefix("reward/")
        of_log = table.loc[table["estimator"] == name, "log"]
        drawn_R = [spearmanr(mean_P, gold_P).statistic for mean_P in mean_PR.T]
        rows.append(
            {
                "estimator": name,
                "policies": len(gold_P),
                "log": spearmanr(of_log, gold_P).statistic,
                "replications": np.mean(drawn_R),
                "lowest_tenth": np.quantile(drawn_R, 0.1),
            }
        )
    return pd.DataFrame(rows)


def world_and_data(options: argparse.Namespace) -> tuple[Any, Split]:
    """All items: what is left out for being rare would be missing from the log's policy too."""
    world: Any = world_of(dataset_named(options.dataset, options.data_root))
    world = replace(world, seed=options.seed)
    if options.users is not None:
        world = replace(world, users=options.users)
    data = rp.load(world, split=LeaveOneOut(minimum_item_ratings=1))
    kept_N = torch.zeros(len(data.test.items_N), dtype=torch.bool)
    kept_N[
        torch.from_numpy(np.random.default_rng(0).permutation(len(kept_N))[: options.targets])
    ] = 1
    return world, replace(data, test=targets_where(data.test, kept_N))


def write(frame: pd.DataFrame, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")


def options_of(description: str | None, seed: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--dataset", default="jester", help="jester, semi-ml-100k or semi-ml-1m")
    parser.add_argument("--seed", type=int, default=seed, help="of the world, so of its log")
    parser.add_argument("--users", type=int, help="of Jester; all by default")
    parser.add_argument("--targets", type=int, default=7200, help="at most so many, drawn evenly")
    parser.add_argument(
        "--drawn",
        type=int,
        nargs="+",
        default=[1000],
        help="targets in a replication: one size, or several",
    )
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=300, help="of all training of policies")
    parser.add_argument("--data-root", help="a folder or zip that holds the real ratings")
    parser.add_argument("--output", type=Path, default=Path("runs/worlds"))
    return parser.parse_args()


def main() -> None:
    options = options_of(__doc__, seed=0)
    world, data = world_and_data(options)
    trained = rankers_of(data, options.steps)
    parts = [
        [frame.assign(drawn=drawn) for frame in found]
        for drawn in options.drawn
        for found in [measured(world, data, trained, drawn, options.replications)]
    ]
    table, order = (pd.concat(each, ignore_index=True) for each in zip(*parts, strict=True))
    print(table.round(3).to_string(index=False))
    print(order.round(2).to_string(index=False))
    for end, frame in (("", table), ("-order", order)):
        write(frame, options.output, f"off-policy-{options.dataset}{end}")


if __name__ == "__main__":
    main()
