"""Equal rewards in the log and from the model: a weighted likelihood is behaviour cloning.

Each module that promises it says so under "Limits". With equal rewards an algorithm without a
baseline has equal weights other than 1, and OfflinePPO, ExactPPO, GRPO, TopKREINFORCE and the
methods of pairs have nothing to follow: they promise something else, as do those that predict
rewards (CQL, WBC, SNQN, SA2C). KTO and ReturnConditioned refuse such a log.
"""

import pytest
import torch

from recsys_posttrain.algorithms import (
    ASFT,
    AWAC,
    BC,
    CRR,
    DPO,
    GRPO,
    IPO,
    IQL,
    RWR,
    SDPO,
    AdaGRPO,
    ExactPPO,
    ExpRSFT,
    OfflinePPO,
    RobustDPO,
    TopKREINFORCE,
    signals,
)
from recsys_posttrain.ops.softmax import masked_mean

CONSTANT, CONTEXTS, ITEMS, STEPS = 3.7, 3, 5, 20
CLONING = [
    RWR(),
    RWR(signals.model_reward),
    ExpRSFT(),
    ExpRSFT(temperature=0.3),
    ASFT(),
    ASFT(temperature=0.3),
    ASFT(signals.model_reward, signals.reference_value),
    ASFT(signals.observed_reward, signals.user_mean),
    ASFT(signals.Mix(0.5), signals.reference_value),
    ASFT(signals.model_reward, signals.ReferenceSoftValue(1.0)),
    AWAC(),
    CRR(temperature=0.3),
    IQL(),
    AdaGRPO(),
]
RESTING = [OfflinePPO(), ExactPPO(), GRPO(), TopKREINFORCE(), DPO(), IPO(), RobustDPO(), SDPO()]


def constant_world(algorithm, tabular):
    """The policy is the reference; the model and all rewards say 3.7; float64."""
    generator = torch.Generator().manual_seed(0)
    reference_XV = torch.randn(CONTEXTS, ITEMS, generator=generator, dtype=torch.float64)
    scores_XV = torch.full((CONTEXTS, ITEMS), CONSTANT, dtype=torch.float64)
    actors = tabular.actors(
        reference_XV, reference_XV, scores_XV, rewards=[CONSTANT] * 10, algorithm=algorithm
    )
    rewards = [[CONSTANT] * 3, [CONSTANT] * 2 + [0]]
    history, actions = [[1, 3, 2], [2, 1, 0]], [[3, 2, 5], [1, 4, 0]]
    return tabular.batch(history, actions, rewards, rewards), actors


def backward(algorithm, batch, actors):
    actors.clear_cache()
    actors.zero_grad()
    output = algorithm.loss(batch, actors)
    masked_mean(output.loss_N, output.counted_N).backward()


def movement(algorithm, tabular):
    """Of the policy's logits in 20 steps of AdamW."""
    batch, actors = constant_world(algorithm, tabular)
    logits = actors.policy.backbone.logits
    before_XV = logits.detach().clone()
    optimizer = torch.optim.AdamW(
        [each for each in actors.parameters() if each.requires_grad], 0.05
    )
    for _ in range(STEPS):
        backward(algorithm, batch, actors)
        optimizer.step()
    return logits.detach() - before_XV


@pytest.mark.parametrize("algorithm", CLONING)
def test_it_is_behaviour_cloning(algorithm, tabular):
    cloned_XV = movement(BC(), tabular)
    assert cloned_XV.abs().max() > 0.5, "cloning moves"
    torch.testing.assert_close(movement(algorithm, tabular), cloned_XV)


@pytest.mark.parametrize(
    "algorithm",
    [OfflinePPO(), ExactPPO(), DPO(), IPO(), RobustDPO(), SDPO(), GRPO(), TopKREINFORCE()],
)
def test_without_a_preference_the_reference_is_where_it_rests(algorithm, tabular):
    """No gradient there, up to the rounding of float64 (1e-16 times rewards of 3.7)."""
    batch, actors = constant_world(algorithm, tabular)
    backward(algorithm, batch, actors)
    for parameter in actors.policy.parameters():
        assert parameter.grad.abs().max() < 1e-14
