"""How right are off-policy estimates? In Jester, whose logging policy and true rewards are known.

    python experiments/off_policy_jester.py [--users 7200] [--replications 1000] [--output FOLDER]

A few policies, each with its true value over all users (as `reward/gold`). A replication draws
1,000 of the users with replacement and for each another logged item, from the logging policy after
the user's own history. Prints and writes off-policy-jester.csv: of each policy and estimator the
bias, the standard deviation, the root mean squared error and the coverage of the 95% interval over
replications, and what the log itself says.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import spearmanr

import recsys_posttrain as rp
from recsys_posttrain.basic_statistics import Floats
from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.evaluation.off_policy import ESTIMATORS, estimates, support
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.plan import Training
from recsys_posttrain.types import Split

DRAWN = 1000  # users in a replication


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


def logging_policy(world: Any, data: Split) -> Floats:
    """b of all items at the test targets, [N, V]."""
    truth = world.truth()  # with users and jokes in the order of the logits
    users_N = np.searchsorted(truth.user_ids, data.corpus.user_ids[data.test.users_N.numpy()])
    jokes_V = np.searchsorted(truth.item_ids, data.corpus.item_ids)
    b_NV = shown_softmax(world.logging_logits()[users_N][:, jokes_V], data)
    chosen_N = b_NV[np.arange(len(b_NV)), data.test.items_N.numpy() - 1]
    # Jokes that nobody was shown are not in the corpus.
    stated_N = np.asarray(data.test.propensities_N)
    np.testing.assert_allclose(chosen_N, stated_N, rtol=0.01)
    return b_NV


def product(factors: Any) -> Floats:
    state_NR, factor_VR = (each.detach().double().numpy() for each in factors)
    return np.asarray(state_NR @ factor_VR.T)


def replicated(
    b_NV: Floats, pi_NV: Floats, reward_NV: Floats, model_NV: Floats, replications: int
) -> dict[str, Floats]:
    """By estimator the mean and half of the interval of each replication, [R, 2]."""
    generator = np.random.default_rng(0)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ESTIMATORS}
    expected_N = (pi_NV * model_NV).sum(axis=1)
    for _ in range(replications):
        n = generator.integers(0, len(b_NV), DRAWN)
        a = (b_NV[n].cumsum(axis=1) < generator.random((DRAWN, 1))).sum(axis=1)
        known = pi_NV[n, a] / b_NV[n, a], reward_NV[n, a], model_NV[n, a], expected_N[n]
        for name, value_N in estimates(*known).items():
            half = 1.96 * value_N.std(ddof=1) / math.sqrt(DRAWN)
            found[name].append((value_N.mean(), half))
    return {name: np.array(values) for name, values in found.items()}


def rows(world: Any, data: Split, steps: int, replications: int) -> Iterator[dict[str, Any]]:
    targets = data.test
    asked = targets.history, targets.times_N, targets.users_N
    rankers, reward = rankers_of(data, steps)
    b_NV, model_NV = logging_policy(world, data), product(reward.last_factors(*asked))
    reward_NV = rp.truth_of(world, data.corpus).rewards(targets.users_N).double().numpy()
    for name, ranker in rankers.items():
        pi_NV = shown_softmax(product(ranker.scores(*asked)), data)
        gold = (pi_NV * reward_NV).sum(axis=1).mean()
        logged = rp.evaluate(ranker, data, reward).per_user
        found = support(logged)
        print(f"{name}: gold {gold:.3f}; {found.line}. {found.warning}")
        each_R2 = replicated(b_NV, pi_NV, reward_NV, model_NV, replications)
        for estimator, (mean_R, half_R) in ((key, value.T) for key, value in each_R2.items()):
            yield {
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--users", type=int, default=7200)
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=300, help="of all training of policies")
    parser.add_argument("--data-root", help="a folder or zip that holds the real ratings")
    parser.add_argument("--output", type=Path, default=Path("runs/worlds"))
    options = parser.parse_args()
    world = rp.Jester(users=options.users, data_root=options.data_root)
    # All jokes: what is left out for being rare would be missing from b too.
    data = rp.load(world, split=LeaveOneOut(minimum_item_ratings=1))
    table = pd.DataFrame(rows(world, data, options.steps, options.replications))
    print(table.round(3).to_string(index=False))
    for estimator, part in table.groupby("estimator", sort=False):
        order = spearmanr(part["log"], part["gold"]).statistic
        print(f"{estimator}: rank correlation with gold over {len(part)} policies {order:.2f}")
    options.output.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.output / "off-policy-jester.csv", index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
