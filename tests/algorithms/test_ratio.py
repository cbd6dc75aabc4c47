"""What divides out divides out exactly: sampling and log-probabilities round alike."""

import pytest
import torch
from data_factory import random_sequences

from recsys_posttrain.algorithms import OfflinePPO
from recsys_posttrain.algorithms.actors import Actors, logged_rewards
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.hstu import HSTU
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.training.ensemble import RewardEnsemble

ITEMS = 333  # the sampler's last block is a short one


def first_batch():
    sequences = random_sequences([3 + n * 7 % 27 for n in range(40)], ITEMS)
    stream = Training(steps=1, batch_size=40).batches(sequences, 20, seed=0)
    return next(iter(stream)), logged_rewards(sequences, ITEMS)


@pytest.mark.parametrize("logits_dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("backbone", [SASRec, HSTU])
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_at_the_start_every_ratio_is_1_and_every_kl_is_0(backbone, logits_dtype, spread):
    """Not nearly: pi = pi_old = pi_ref. spread: of the item vectors; at 30 the exponentials leave
    float32 and all of them take the shifted way."""
    batch, log = first_batch()
    policy = new_policy(backbone(max_length=20), ITEMS, seed=0)
    with torch.no_grad():
        policy.backbone.item_embedding.weight.mul_(spread)
    reward = RewardEnsemble().build(ITEMS, 3.5).eval()
    actors = Actors(FrozenPolicy(policy), reward, log)
    actors.set_logits_dtype(logits_dtype)
    with torch.no_grad():
        normaliser_N = actors.policy.log_normaliser(batch)
        actors.clear_cache()
        items_NK, old_NK = actors.old_at(batch).sample(batch, 8, actors.generator)
        reference_NK = actors.reference.log_prob(batch, items_NK)
    assert (float(normaliser_N.abs().max()) > 60) == (spread == 30.0)
    _, new_NK = actors.policy.loss_of_log_prob(batch, items_NK, lambda each: each.sum(dim=1))
    assert torch.equal(new_NK, old_NK)
    assert torch.equal(reference_NK, old_NK)

    metrics = OfflinePPO().loss(batch, actors).metrics
    assert metrics["ratio/mean"] == 1
    assert metrics["clip_ratio"] == 0
    assert metrics["kl/loss"] == 0
