"""Why the true reward is no upper bound: what post-training counts and what a list shows differ.

    python experiments/seen_items.py [--dataset jester] [--seeds 3] [--stages runs]

Post-training counts every item; a list, and so every evaluation, leaves out what a user has seen.
In Jester's world a user has seen 39 of 100 jokes and their rewards are in the history, so a policy
that is paid the true reward learns to show again what was liked. This measures both values for the
methods of noise_vs_quality.py without noise, and the share of a policy that falls on seen items.
In a semi-synthetic world it is some 100 of 1,350 films. Writes table.md and run.json to
experiments/results/seen_items-<dataset>.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from noise_vs_quality import FREE_PPO, base_of
from numpy.typing import NDArray

from recsys_posttrain.algorithms import ASFT, BC
from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.algorithms.signals import model_reward, reference_value
from recsys_posttrain.endings import exit_code
from recsys_posttrain.evaluation.expectation import expected_unseen
from recsys_posttrain.files import write_json, write_text
from recsys_posttrain.models.checkpoint import load_policy
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.progress import Progress
from recsys_posttrain.provenance import git_commit, package_versions
from recsys_posttrain.report.cells import Cell, headings
from recsys_posttrain.report.render import markdown_table
from recsys_posttrain.rewards.control import RewardControl, TrueRewards
from recsys_posttrain.stats.bootstrap import bootstrap_interval
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run
from recsys_posttrain.types import Targets
from recsys_posttrain.worlds.base import Truth, truth_of
from recsys_posttrain.worlds.catalog import dataset_named

# The last number: how many times the steps of the study.
METHODS: tuple[tuple[str, Algorithm, RewardControl | None, int], ...] = (
    ("BC", BC(), None, 1),
    ("ASFT(model)", ASFT(model_reward, reference_value, temperature=0.25), None, 1),
    ("OfflinePPO", FREE_PPO, None, 1),
    ("OfflinePPO, true reward", FREE_PPO, TrueRewards(), 1),
    ("OfflinePPO, 4 x the steps", FREE_PPO, None, 4),
    ("OfflinePPO, true reward, 4 x the steps", FREE_PPO, TrueRewards(), 4),
)
AGAINST = (
    ("OfflinePPO, true reward", "OfflinePPO"),
    ("OfflinePPO, true reward, 4 x the steps", "OfflinePPO, 4 x the steps"),
    ("OfflinePPO", "BC"),
    ("ASFT(model)", "BC"),
    ("BC", "Logging policy"),
)
COLUMNS = ("true reward, all items", "true reward, unseen items", "share on seen items")


@torch.inference_mode()
def values(policy: Policy, truth: Truth, targets: Targets) -> NDArray[np.float64]:
    """The three COLUMNS for each target, [3, N]."""
    hidden_ND = policy.eval().last_hidden_states(targets.history, targets.times_N)
    probability_NV = (hidden_ND @ policy.item_embedding_VD.T).double().softmax(dim=1)
    reward_NV = truth.rewards(targets.users_N).double()
    history = targets.history
    row_E = torch.repeat_interleave(history.lengths_N)
    share_N = torch.zeros(len(history), dtype=torch.float64)
    share_N.index_add_(0, row_E, probability_NV[row_E, history.items_E - 1])
    state_NR, factor_VR = truth.state_UR[targets.users_N], truth.factor_VR
    unseen_N = expected_unseen(hidden_ND, policy.item_embedding_VD, state_NR, factor_VR, targets)
    return torch.stack([(probability_NV * reward_NV).sum(dim=1), unseen_N, share_N]).numpy()


def logged(truth: Truth, targets: Targets) -> NDArray[np.float64]:
    """Of the logging policy: the mean true reward of the items that it showed, which were all
    unseen then, [3, N]."""
    history = targets.history
    row_E = torch.repeat_interleave(history.lengths_N)
    reward_E = truth.rewards_of(targets.users_N[row_E], history.items_E[:, None])[:, 0].double()
    total_N = torch.zeros(len(history), dtype=torch.float64).index_add_(0, row_E, reward_E)
    mean_N = total_N / history.lengths_N
    return torch.stack([mean_N, mean_N, torch.zeros_like(mean_N)]).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="jester", help="jester, semi-ml-100k, semi-ml-1m")
    parser.add_argument("--data-root")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--stages", type=Path, default=Path("runs"))
    parser.add_argument("--output", type=Path, default=Path("experiments/results"))
    arguments = parser.parse_args()
    base = base_of(dataset_named(arguments.dataset, arguments.data_root))
    measure(base, arguments.seeds, arguments.stages, arguments.output)


def measure(base: Run, num_seeds: int, stages: Path, output: Path) -> None:
    """Trains what is missing and writes the table of a world."""
    pipeline = Pipeline(base.setup, stages, on_stage=Progress().add)
    steps = base.posttraining.steps
    assert steps is not None, "base_of gives steps"
    commit = git_commit()  # before a tracked file is written
    targets, seeds = pipeline.data.test, range(num_seeds)
    truth = truth_of(base.setup.dataset, pipeline.data.corpus)
    found = {
        "Logging policy": np.stack([logged(truth, targets)] * num_seeds),
        "Pretrained": np.stack([values(pipeline.load_pretrained(), truth, targets)] * num_seeds),
    }
    for name, algorithm, control, times in METHODS:
        training = replace(base.posttraining, steps=times * steps)
        run = replace(base, algorithm=algorithm, control=control, posttraining=training)
        runs = [replace(run, seed=seed) for seed in seeds]
        policies = [load_policy(pipeline.posttrain(each)).policy for each in runs]
        found[name] = np.stack([values(policy, truth, targets) for policy in policies])

    folder = output / f"seen_items-{base.setup.dataset.name}"
    folder.mkdir(parents=True, exist_ok=True)
    text = table(found)
    write_text(folder / "table.md", text)
    record = {"commit": commit, "versions": package_versions(), "seeds": num_seeds}
    write_json(folder / "run.json", record)
    print(text)


def table(found: dict[str, NDArray[np.float64]]) -> str:
    """found: [S, 3, N] by method. Means and differences with 95% intervals over users and seeds."""
    rows = []
    pairs = {f"{one} - {other}": found[one] - found[other] for one, other in AGAINST}
    for name, values_S3N in (found | pairs).items():
        cells = [Cell(name)]
        for column in range(len(COLUMNS)):
            rng = np.random.default_rng(0)
            mean = bootstrap_interval(values_S3N[:, column], rng=rng)
            cells.append(Cell(f"{mean.value:.3f}", f"[{mean.low:.3f}, {mean.high:.3f}]"))
        rows.append(cells)
    return markdown_table(headings("", *COLUMNS), rows) + "\n"


if __name__ == "__main__":
    sys.exit(exit_code(main))
