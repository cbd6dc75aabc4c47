"""What if the log does not state its propensities? Estimated ones against those of a world's log.

    python experiments/estimated_propensities.py [--dataset jester] [--steps 200]

A policy is pretrained on the training users' choices; its probabilities stand in for the
propensities of test users' choices. Prints and writes estimated-propensities-DATASET.csv: the true
value of a few policies, and the estimates with both. The log of a world chooses by preferences that
a history does not fully show, as logs do.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from off_policy import product, shown_softmax, write

import recsys_posttrain as rp
from recsys_posttrain.data import UserHoldout
from recsys_posttrain.evaluation.off_policy import off_policy_columns, probability_of_target
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.types import Split
from recsys_posttrain.worlds.base import world as world_of
from recsys_posttrain.worlds.catalog import dataset_named

BACKBONE = SASRec(dim=32, feed_forward=64, history_rewards=True)


def measured(world: Any, data: Split, steps: int) -> pd.DataFrame:
    """One row per policy: its value, and each estimate with logged and estimated propensities."""
    plan = Training(steps=steps)
    behaviour, _ = rp.pretrain(data, BACKBONE)
    reward, _ = rp.train_reward(data)
    trained, _ = rp.posttrain(behaviour, data, rp.ASFT(), reward, training=plan)
    given = rp.Given(data, behaviour, reward)
    rankers = {
        "Uniform": rp.Uniform().ranker(given),
        "Pretrained": behaviour,
        "ASFT": trained,
        "Tilt(0.3)": rp.Tilt(temperature=0.3).ranker(given),
    }
    targets = data.test
    asked = targets.history, targets.times_N, targets.users_N
    reward_NV = rp.truth_of(world, data.corpus).rewards(targets.users_N).double().numpy()
    estimated_N = probability_of_target(*behaviour.scores(*asked), targets)
    rows = []
    for name, ranker in rankers.items():
        scores = ranker.scores(*asked)
        pi_NV = shown_softmax(product(scores), data)
        row = {"method": name, "gold": (pi_NV * reward_NV).sum(axis=1).mean()}
        for kind, given_N in (("", targets.propensities_N), (" estimated", estimated_N)):
            known = replace(targets, propensities_N=given_N)
            found = off_policy_columns(*scores, known, data.corpus, reward)
            for estimator in ("ips", "snips", "dr"):
                row[estimator + kind] = np.mean(found[f"reward/{estimator}"])
        rows.append(row | {"dm": np.mean(found["reward/dm"])})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dataset", default="jester", help="jester, semi-ml-100k or semi-ml-1m")
    parser.add_argument("--users", type=int, help="of Jester; all by default")
    parser.add_argument("--steps", type=int, default=200, help="of ASFT")
    parser.add_argument("--data-root", help="a folder or zip that holds the real ratings")
    parser.add_argument("--output", type=Path, default=Path("runs/worlds"))
    options = parser.parse_args()
    world: Any = world_of(dataset_named(options.dataset, options.data_root))
    if options.users is not None:
        world = replace(world, users=options.users)
    data = rp.load(world, split=UserHoldout(minimum_item_ratings=1, seed=1))
    table = measured(world, data, options.steps)
    print(table.round(3).to_string(index=False))
    write(table, options.output, f"estimated-propensities-{options.dataset}")


if __name__ == "__main__":
    main()
