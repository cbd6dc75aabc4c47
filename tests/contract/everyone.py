"""Who the contract of algorithms is for, and what its tests do with each of them."""

import random

import numpy as np
import pytest
import torch

from recsys_posttrain import algorithms
from recsys_posttrain.algorithms import signals
from recsys_posttrain.algorithms.losers import LoggedVersusLosers
from recsys_posttrain.algorithms.pairs import LoggedVersusSampled
from recsys_posttrain.algorithms.q_learning import QLearning
from recsys_posttrain.algorithms.surrogates import ecpo_surrogate, gbpo_surrogate
from recsys_posttrain.eligibility import excluded_spans
from recsys_posttrain.ops.softmax import masked_mean

ITEMS, LENGTHS = 9, (6, 4, 1)
EXPORTED = [
    kind() for kind in vars(algorithms).values() if isinstance(kind, type) and hasattr(kind, "loss")
]
VARIANTS = [
    *(
        algorithms.ASFT(reward=reward, baseline=baseline)
        for reward, baseline in (
            (signals.observed_reward, signals.user_mean),
            (signals.model_reward, signals.item_mean),
            (signals.Mix(0.5), signals.reference_value),
            (signals.model_reward, signals.ReferenceSoftValue(0.5)),
            (signals.observed_reward, signals.no_baseline),
            (signals.observed_reward, signals.learned_value),
        )
    ),
    algorithms.OfflinePPO(baseline=signals.learned_value),
    algorithms.OfflinePPO(baseline=signals.reference_value),
    algorithms.CRR(temperature=1.0),
    algorithms.GRPO(scale_rewards=False, surrogate=ecpo_surrogate),
    algorithms.GRPO(surrogate=gbpo_surrogate),
    algorithms.SNQN(q=QLearning(random_targets=True)),
    algorithms.SA2C(cloning_steps=0),
    algorithms.DPO(pairs=LoggedVersusSampled(), nll_coefficient=0.1),
    algorithms.RobustDPO(unbiased=True),
    algorithms.SDPO(losers=LoggedVersusLosers()),
    algorithms.KTO(threshold=signals.reference_value),
    algorithms.Pessimistic(algorithms.OfflinePPO(baseline=signals.learned_value)),
]


def name_of(algorithm):
    settings = [
        getattr(value, "__name__", type(value).__name__)
        for value in vars(algorithm).values()
        if callable(value)
    ]
    return "-".join([type(algorithm).__name__, *settings])


everyone = pytest.mark.parametrize("algorithm", EXPORTED + VARIANTS, ids=name_of)


def run(algorithm, batch, actors, seed=7):
    actors.clear_cache()
    actors.generator.manual_seed(seed)
    return algorithm.loss(batch, actors)


def gradients(algorithm, batch, actors):
    """Of the reduced loss, for every parameter; None where there is none."""
    actors.zero_grad()
    output = run(algorithm, batch, actors)
    masked_mean(output.loss_N, output.counted_N).backward()
    return {
        name: None if parameter.grad is None else parameter.grad.clone()
        for name, parameter in actors.named_parameters()
    }


def is_random(algorithm, batch, actors):
    """An algorithm that draws moves the generator."""
    run(algorithm, batch, actors)
    moved = actors.generator.get_state()
    actors.generator.manual_seed(7)
    return not torch.equal(moved, actors.generator.get_state())


def global_random_state():
    numpys = np.random.get_state()  # noqa: NPY002, the one that must not be used
    return torch.get_rng_state().tolist(), numpys[1].tolist(), numpys[2], random.getstate()


def padded_fields(batch):
    """Name and value of each that the batch has."""
    fields = batch._asdict().items()
    return [(name, each) for name, each in fields if "_BT" in name and each is not None]


def rows(batch, index):
    """Some rows of a batch, as a batch of its own, without columns that are all padding."""
    longest = int(batch.mask_BT[index].sum(dim=1).max())
    position_N = torch.cat([(batch.user_N == row).nonzero()[:, 0] for row in index])
    items_E, offsets_N1 = batch.excluded[:2]
    length_N = offsets_N1.diff()[position_N]
    return batch._replace(
        **{name: value[index][:, :longest] for name, value in padded_fields(batch)},
        sequences_B=batch.sequences_B[index],
        excluded=excluded_spans(items_E, offsets_N1[position_N], length_N),
    )


def is_same(first, second):
    """The same losses of the same positions that count, to the bit."""
    counts = [
        torch.ones_like(each.loss_N) if each.counted_N is None else each.counted_N
        for each in (first, second)
    ]
    return torch.equal(first.loss_N, second.loss_N) and torch.equal(*counts)


def heads_asked_to_train_the_policy(algorithm, batch, actors):
    """(those that `Actors.head` was asked for with trains_policy=True, those that did)."""
    asked, reached, head = set(), set(), actors.head

    def watched(name, batch, *, trains_policy):
        asked.update({name} if trains_policy else ())
        return head(name, batch, trains_policy=trains_policy)

    def note(name):
        return lambda _, inputs: reached.update({name} if inputs[0].requires_grad else ())

    hooks = [each.register_forward_pre_hook(note(name)) for name, each in actors.heads.items()]
    actors.head = watched
    run(algorithm, batch, actors)
    for hook in hooks:
        hook.remove()
    return asked, reached
