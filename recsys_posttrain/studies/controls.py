"""The runs that every study needs beside its methods: what would they reach without the signal?

    RUNS = [*controls(BASE), replace(BASE, algorithm=ASFT()), ...]

BC: the same steps without rewards. Shuffled and constant reward: an algorithm that beats BC with
these does not win by rewards. True reward and OnlineRL, in worlds alone: what perfect rewards give.
"""

from dataclasses import replace

from recsys_posttrain.algorithms import BC, OfflinePPO
from recsys_posttrain.rewards.control import ConstantRewards, ShuffledRewards, TrueRewards
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.studies.run import Run

# Given the true reward this is online policy gradient, where a round is one action: fresh samples
# of the current policy in every step, so that nothing is clipped. Without the small KL a tabular
# world had the same expected reward, but less in the ten items that the policy ranks first.
ONLINE_RL = OfflinePPO(kl_coefficient=0.1, refresh_every=1)


def controls(base: Run, is_world: bool = False) -> list[Run]:
    """BC, then `base` with shuffled and with constant rewards; in a world also with the true ones,
    and OnlineRL. All without noise.

    OnlineRL bounds what these steps on logged histories can reach; items that a user has seen count
    for it, in evaluation they do not, so it is no bound on what is possible.
    """
    base = replace(base, noise=RewardNoise(), control=None)
    runs = [
        replace(base, name="BC", algorithm=BC()),
        replace(base, name=f"{base.label} shuffled reward", control=ShuffledRewards()),
        replace(base, name=f"{base.label} constant reward", control=ConstantRewards()),
    ]
    if is_world:
        runs += [
            replace(base, name=f"{base.label} true reward", control=TrueRewards()),
            replace(base, name="OnlineRL", algorithm=ONLINE_RL, control=TrueRewards()),
        ]
    return runs
