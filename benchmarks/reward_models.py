"""Seconds that a factor model takes to learn, its quality table, and whether its variance is true.

    python benchmarks/reward_models.py [--dataset ml-1m] [--data-root ml-1m.zip] [--threads 1]

By quarter of the held-out events, from the surest: predicted variance and squared error.
"""

import argparse
import time

import torch
from shared.workload import machine, ml_1m_or_synthetic

import recsys_posttrain as rp
from recsys_posttrain.data.split import latest_events
from recsys_posttrain.report.quality import quality_sheet
from recsys_posttrain.report.render import markdown
from recsys_posttrain.rewards.baselines import judged_events
from recsys_posttrain.rewards.factor import FactorModule, RewardFactors
from recsys_posttrain.rewards.predictions import predict_logged
from recsys_posttrain.rewards.quality import variance_quartiles
from recsys_posttrain.training.judge import reward_quality
from recsys_posttrain.training.reward import train_reward, user_parts
from recsys_posttrain.types import Split


def quarters(model: FactorModule, data: Split, config: RewardFactors) -> str:
    judged_N = user_parts(data.reward, config.held_out, 0).judged_N
    held_out = latest_events(data.reward, judged_N, model.max_length + 1)
    events = judged_events(held_out)
    variance_E = predict_logged(model, held_out, scores=model.variance)
    variance_E += model.noise_V.double().numpy()[held_out.items_E.numpy()[events.index_E] - 1]
    table = variance_quartiles(variance_E, predict_logged(model, held_out), events.reward_E)
    return str(table.round(4).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", help="any name of `rp.load`; default: ML-1M, or synthetic")
    parser.add_argument("--data-root", help="a folder or zip that holds the ratings")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    name, root = arguments.dataset, arguments.data_root
    data, config = rp.load(name, root) if name else ml_1m_or_synthetic(root), RewardFactors()
    wall, processor = time.perf_counter(), time.process_time()
    model, _ = train_reward(data, config)
    assert isinstance(model, FactorModule)
    took = f"{time.perf_counter() - wall:.1f} s, {time.process_time() - processor:.1f} s of a core"
    print(f"{data.corpus.name}: learned in {took}; {machine()}\n")
    print(markdown(quality_sheet(reward_quality(model, data, config, 0), data.corpus.name)))
    print(quarters(model, data, config))


if __name__ == "__main__":
    main()
