"""What is searched for each algorithm: its length, its rate and its own strength.

BC and RWR have no strength, so they search the weight decay, and are tuned as much as the others.
A length is a share of the steps of the sweep's base, the cap of all methods. Ranges are ours:
around the strengths of experiments/strengths.py and noise_vs_quality.py, in units of ratings 1..5.
"""

from recsys_posttrain.sweep.space import Between, Space

PLAN: Space = {
    "posttraining.steps": Between(0.125, 1.0, log=True, share=True),
    "posttraining.learning_rate": Between(1e-4, 1e-3, log=True),
}
DECAY: Space = {"posttraining.weight_decay": Between(1e-4, 0.3, log=True)}

BC = {**PLAN, **DECAY}
RWR = {**PLAN, **DECAY}
EXP_RSFT: Space = {**PLAN, "algorithm.temperature": Between(0.25, 4.0, log=True)}
ASFT: Space = {**PLAN, "algorithm.temperature": Between(0.25, 4.0, log=True)}
OFFLINE_PPO: Space = {**PLAN, "algorithm.kl_coefficient": Between(0.03, 3.0, log=True)}
DPO: Space = {**PLAN, "algorithm.beta": Between(0.1, 16.0, log=True)}
