"""What is searched for each algorithm: two dimensions each, its own strength and the learning rate.

BC and RWR have no strength, so they search the weight decay, and are tuned as much as the others.
Ranges are ours: around the strengths of experiments/strengths.py and noise_vs_quality.py, in units
of ratings 1..5.
"""

from recsys_posttrain.sweep.space import Between, Space

RATE: Space = {"posttraining.learning_rate": Between(1e-4, 1e-3, log=True)}
DECAY: Space = {"posttraining.weight_decay": Between(1e-4, 0.3, log=True)}

BC = {**RATE, **DECAY}
RWR = {**RATE, **DECAY}
EXP_RSFT: Space = {**RATE, "algorithm.temperature": Between(0.25, 4.0, log=True)}
ASFT: Space = {**RATE, "algorithm.temperature": Between(0.25, 4.0, log=True)}
OFFLINE_PPO: Space = {**RATE, "algorithm.kl_coefficient": Between(0.03, 3.0, log=True)}
DPO: Space = {**RATE, "algorithm.beta": Between(0.1, 16.0, log=True)}
IPO: Space = {**RATE, "algorithm.beta": Between(0.1, 16.0, log=True)}
ROBUST_DPO: Space = {**RATE, "algorithm.beta": Between(0.1, 16.0, log=True)}
SDPO: Space = {**RATE, "algorithm.beta": Between(0.1, 16.0, log=True)}
PESSIMISTIC: Space = {**RATE, "algorithm.penalty": Between(0.1, 10.0, log=True)}
KTO: Space = {**RATE, "algorithm.beta": Between(0.1, 16.0, log=True)}
