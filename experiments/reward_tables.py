"""How good are reward models on users that they never saw? One table per dataset or world.

    python experiments/reward_tables.py jester semi-ml-100k [--data-root FOLDER] [--output FOLDER]

The factor model and the transformer ensemble beside every naive baseline, all on the same events of
the same held-out users. Writes reward-models-DATASET.md, and its cells as JSON.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

import recsys_posttrain as rp
from recsys_posttrain.files import check_writable
from recsys_posttrain.models.reward_model import RewardConfig
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.report.quality import write_quality
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.training.judge import reward_quality
from recsys_posttrain.training.reward import train_reward
from recsys_posttrain.types import Split
from recsys_posttrain.worlds.catalog import dataset_named

# Jester has 100 items, so its ensemble is small.
SMALL = RewardEnsemble(
    encoder=SASRec(dim=32, feed_forward=64, history_rewards=True),
    training=Training(epochs=30, batch_size=32, weight_decay=0.1, patience=3),
)


def configs_of(dataset: str) -> tuple[RewardConfig, ...]:
    return RewardFactors(), SMALL if dataset == "jester" else RewardEnsemble()


def qualities(data: Split, configs: tuple[RewardConfig, ...], seed: int = 0) -> pd.DataFrame:
    """The quality table of the naive baselines and of a model of each class."""
    frames = []
    for config in configs:
        model, _ = train_reward(data, config, seed)
        frames.append(reward_quality(model, data, config, seed))
    if len({frame["events"].iloc[0] for frame in frames}) > 1:
        raise ValueError("the models read windows of different lengths: they are judged apart")
    return pd.concat([frames[0], *(frame.tail(1) for frame in frames[1:])])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("datasets", nargs="+", help="jester, semi-ml-100k, ml-1m, ...")
    parser.add_argument("--data-root", help="a folder or zip that holds the ratings")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs/worlds"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    check_writable(options.output.parent)
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.datasets:
        dataset = dataset_named(name, options.data_root)
        frame = qualities(rp.load(dataset), configs_of(name))
        print(name, frame.iloc[:, :6].round(4).to_string(), sep="\n")
        caption = f"Reward models on {name}, users that no model learned from. Seed 0."
        write_quality(frame, caption, options.output / f"reward-models-{name}.md")


if __name__ == "__main__":
    main()
