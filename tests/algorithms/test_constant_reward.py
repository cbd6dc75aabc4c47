"""Equal rewards in the log and from the model: a weighted likelihood is behaviour cloning.

Each module that promises it says so under "Limits". With equal rewards an algorithm without a
baseline has equal weights other than 1, and OfflinePPO, ExactPPO and DPO have nothing to follow and
stay at the reference: they promise something else.
"""

import pytest
import torch

from recsys_posttrain import signals
from recsys_posttrain.algorithms import ASFT, BC, DPO, RWR, ExactPPO, ExpRSFT, OfflinePPO
from recsys_posttrain.algorithms.base import after_step
from recsys_posttrain.ops import masked_mean

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
]


def trained_logits(algorithm, tabular):
    """After 20 steps of AdamW in float64, from a policy that is the reference; the model and all
    rewards say 3.7."""
    generator = torch.Generator().manual_seed(0)
    reference_XV = torch.randn(CONTEXTS, ITEMS, generator=generator, dtype=torch.float64)
    scores_XV = torch.full((CONTEXTS, ITEMS), CONSTANT, dtype=torch.float64)
    actors = tabular.actors(
        reference_XV, reference_XV, scores_XV, rewards=[CONSTANT] * 10, algorithm=algorithm
    )
    past = [[CONSTANT] * 3, [CONSTANT] * 2 + [0]]
    batch = tabular.batch([[1, 3, 2], [2, 1, 0]], [[3, 2, 5], [1, 4, 0]], past, past)
    optimizer = torch.optim.AdamW(
        [each for each in actors.parameters() if each.requires_grad], lr=0.05, weight_decay=0.0
    )
    for step in range(1, STEPS + 1):
        actors.forget()
        actors.generator.manual_seed(step)
        output = algorithm.loss(batch, actors)
        optimizer.zero_grad()
        mask_BT = batch.mask_BT if output.mask_BT is None else output.mask_BT
        masked_mean(output.loss_BT, mask_BT).backward()
        optimizer.step()
        actors.step = step
        after_step(algorithm, actors)
    backbone = actors.policy.backbone
    return (backbone.logits @ actors.policy.table_VD.T).detach(), reference_XV


@pytest.mark.parametrize("algorithm", CLONING, ids=repr)
def test_it_is_behaviour_cloning(algorithm, tabular):
    cloned_XV, reference_XV = trained_logits(BC(), tabular)
    assert (cloned_XV - reference_XV).abs().max() > 0.5, "cloning moves"
    torch.testing.assert_close(trained_logits(algorithm, tabular)[0], cloned_XV)


@pytest.mark.parametrize("algorithm", [OfflinePPO(), ExactPPO(), DPO()], ids=repr)
def test_without_a_preference_it_stays_at_the_reference(algorithm, tabular):
    found_XV, reference_XV = trained_logits(algorithm, tabular)
    torch.testing.assert_close(found_XV, reference_XV)
