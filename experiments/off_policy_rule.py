"""Do off-policy intervals hold where all thresholds are passed? In a world, on a log and policies
that the thresholds of evaluation/support.py were not set on.

    python experiments/off_policy_rule.py [--dataset jester] [--seed 3] [--drawn 1000 7200]

The log is another draw of the world; thresholds and adjusted DR were chosen on seeds 0 to 2. The
policies go from the log's own towards where a log says nothing: the pretrained one flatter and
sharper, mixed with the uniform one, tilted by the reward model, and trained. As in off_policy.py a
replication draws targets and another logged item for each; here each one is also held
against the thresholds (`Support.reasons`). Prints and writes off-policy-rule-DATASET.csv: of each
policy and estimator the share of replications that are believed, the error and the coverage of the
95% interval over all and over those, and the same of its difference to the pretrained policy.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from off_policy import (
    draws,
    logging_policy,
    options_of,
    product,
    shown_softmax,
    world_and_data,
    write,
)
from worlds.choices import choices_at

import recsys_posttrain as rp
from recsys_posttrain.basic_statistics import Floats
from recsys_posttrain.evaluation.off_policy import OVERLAP, WEIGHT, estimates
from recsys_posttrain.evaluation.support import effective_sample_size, support
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.plan import Training
from recsys_posttrain.types import Split

BASE = "Pretrained"
SHOWN = ("dr", "adjusted-dr", "snips", "sndr", "ips")
FLATTER, UNIFORM, TILTS = (6, 3, 1.5, 0.6, 0.3), (0.03, 0.15, 0.3, 0.5, 0.8), (0.7, 0.4, 0.15)


def policies(data: Split, steps: int) -> tuple[dict[str, Floats], RewardModel]:
    """By name pi(v | x) at the test targets, [N, V]; and the reward model."""
    asked = data.test.history, data.test.times_N, data.test.users_N
    plan = Training(steps=steps)
    policy, _ = rp.pretrain(data, training=plan)
    reward, _ = rp.train_reward(data)
    given = rp.Given(data, policy, reward)
    trained = {
        type(each).__name__: rp.posttrain(policy, data, each, reward, training=plan)[0]
        for each in (rp.SDPO(), rp.CRR(), rp.WBC(), rp.GRPO())
    }
    tilts = {f"Tilt({each:g})": rp.Tilt(temperature=each).ranker(given) for each in TILTS}
    logit_NV = product(policy.scores(*asked))
    plain_NV = shown_softmax(logit_NV, data)
    found = {BASE: plain_NV}  # first: the others are compared with it
    found |= {
        name: shown_softmax(product(each.scores(*asked)), data)
        for name, each in (trained | tilts).items()
    }
    even_NV = shown_softmax(np.zeros_like(logit_NV), data)
    found |= {f"Pretrained at {each:g}": shown_softmax(logit_NV / each, data) for each in FLATTER}
    found |= {
        f"Pretrained, {each:.0%} uniform": (1 - each) * plain_NV + each * even_NV
        for each in UNIFORM
    }
    return found, reward


def believed(weight_D: Floats, overlap: float) -> bool:
    """Whether estimates from these weights pass all thresholds."""
    return not support(pd.DataFrame({WEIGHT: weight_D, OVERLAP: overlap})).reasons


def measured(
    world: Any,
    data: Split,
    known: tuple[dict[str, Floats], RewardModel],
    drawn: int,
    replications: int,
) -> pd.DataFrame:
    """One row per policy and estimator of SHOWN."""
    targets, (pis, reward) = data.test, known
    choices = choices_at(world, data)
    b_NV = logging_policy(choices.logit_NV, data)
    model_NV = product(reward.last_factors(targets.history, targets.times_N, targets.users_N))
    reward_NV = rp.truth_of(world, data.corpus).rewards(targets.users_N).double().numpy()
    logged_V = np.bincount(data.corpus.sequences.items_E - 1, minlength=b_NV.shape[1]) > 0
    values_NV = {name: (pi_NV * model_NV).sum(axis=1) for name, pi_NV in pis.items()}
    gold = {name: (pi_NV * reward_NV).sum(axis=1).mean() for name, pi_NV in pis.items()}
    overlap = {name: pi_NV[:, logged_V].sum(axis=1).mean() for name, pi_NV in pis.items()}
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for n, a, generator in draws(b_NV, drawn, replications):
        reward_D, model_D = choices.rated(reward_NV[n, a], generator), model_NV[n, a]
        of_base: dict[str, Floats] = {}
        for name, pi_NV in pis.items():
            weight_D = pi_NV[n, a] / b_NV[n, a]
            values = estimates(weight_D, reward_D, model_D, values_NV[name][n])
            of_base = of_base or values
            passes = believed(weight_D, overlap[name]), effective_sample_size(weight_D)
            for each in SHOWN:
                value_D, base_D = values[f"reward/{each}"], of_base[f"reward/{each}"]
                error = _error(value_D, gold[name])
                apart = _error(value_D - base_D, gold[name] - gold[BASE])
                found.setdefault((name, each), []).append((*passes, *error, *apart))
    return pd.DataFrame(
        {"method": name, "estimator": each, "drawn": drawn, "gold": gold[name]}
        | _row(np.array(all_R))
        for (name, each), all_R in found.items()
    )


def _error(value_D: Floats, truth: float) -> tuple[float, bool]:
    """Of the mean, and whether its 95% interval holds the truth."""
    error = value_D.mean() - truth
    return error, bool(abs(error) <= 1.96 * value_D.std(ddof=1) / math.sqrt(len(value_D)))


def _row(all_RX: Floats) -> dict[str, float]:
    believed_R, sample_R, error_R, held_R, apart_R, held_apart_R = all_RX.T
    return {
        "sample": sample_R.mean(),
        "believed": believed_R.mean(),
        "rmse": math.sqrt((error_R**2).mean()),
        "coverage": held_R.mean(),
        "coverage_believed": _mean(held_R[believed_R == 1]),
        "rmse_difference": math.sqrt((apart_R**2).mean()),
        "coverage_difference": held_apart_R.mean(),
    }


def _mean(values: Any) -> float:
    return float(values.mean()) if len(values) else math.nan


def main() -> None:
    options = options_of(__doc__, seed=3)
    world, data = world_and_data(options)
    known = policies(data, options.steps)
    table = pd.concat(
        [measured(world, data, known, each, options.replications) for each in options.drawn],
        ignore_index=True,
    )
    print(table.round(3).to_string(index=False))
    write(table, options.output, f"off-policy-rule-{options.dataset}")


if __name__ == "__main__":
    main()
