"""Noise against quality: which methods bear a reward model that errs?

    python docs/tutorials/noise_and_quality.py

About three minutes. We draw a world, so the true stars of everybody for every film are known. The
reward model is the truth plus an error of each film, the same for everyone: a film that the model
likes too much. We make the error larger, and look at what the lists are truly worth.
"""

import sys

import made_log
import numpy as np
import pandas as pd

import recsys_posttrain as rp
from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.algorithms.signals import model_reward

log, truth = made_log.draw(int(sys.argv[1]) if sys.argv[1:] else 600)
data = rp.load(log)
policy, _ = rp.pretrain(data)

# A reward model may be a file of predictions: who, what, how much. It is right but for the error.


def reward_model(sd: float) -> rp.RewardPredictions:
    error = sd * np.random.default_rng(1).normal(size=truth.shape[1])
    wide = (truth + error).reset_index(names="user_id")
    table = wide.melt("user_id", var_name="item_id", value_name="prediction")
    file = f"predictions-{sd:g}.parquet"
    table.to_parquet(file, index=False)
    return rp.RewardPredictions(file)


# Three kinds of method. `ASFT` reads logged rewards and asks the model for the baseline alone;
# `ASFT(model)` and `OfflinePPO` learn what the model says; the tilt asks it while serving.

METHODS: dict[str, Algorithm] = {
    "ASFT": rp.ASFT(temperature=0.5),
    "ASFT(model)": rp.ASFT(reward=model_reward, temperature=0.25),
    "OfflinePPO": rp.OfflinePPO(kl_coefficient=0.3),
}
rows = []
for sd in (0.0, 0.5, 1.0, 2.0):
    reward, _ = rp.train_reward(data, reward_model(sd))
    tilt = rp.Tilt(temperature=0.3).ranker(rp.Given(data, policy, reward))
    results = {"Pretrained": rp.evaluate(policy, data), "Tilt": rp.evaluate(tilt, data)}
    for name, algorithm in METHODS.items():
        better, _ = rp.posttrain(policy, data, algorithm, reward)
        results[name] = rp.evaluate(better, data)
    rows.append(
        {"sd of the error": sd}
        | {name: made_log.worth(each, data, truth) for name, each in results.items()}
    )
table = pd.DataFrame(rows).set_index("sd of the error")
print(table.round(3).to_string())

# Read it by column. `Pretrained` does not change. What asks the model gains while it is right, and
# loses as the error grows. What learns from the log has the same value all along, but for its
# baseline. How far each method goes is its temperature or KL coefficient, and a fair comparison has
# several of each: experiments/noise_vs_quality.py does that, with seeds, intervals and other kinds
# of errors, and docs/noise.md says what came out.
