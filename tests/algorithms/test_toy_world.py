"""A world whose right answer is known: 4 contexts, 6 items, real training by AdamW.

A logging policy that knows nothing about the rewards writes 200 events; post-training starts from
that policy itself. When logged rewards and reward model are right, an algorithm must beat behaviour
cloning in true expected reward, unless it reads no rewards or says `beats_cloning = False`. When
both are pure noise (one fixed random table per world, which is the exploitable kind), the truth is
independent of everything that an algorithm can see, so the expected gain over cloning is exactly 0
and a one-sided test must not find one.

The same paired t-test over the same 6 worlds decides both, so that neither side has a threshold of
its own. Its level is 5% over the 8 algorithms that it was set for (Bonferroni) and stays where it
is: one more algorithm does not raise the bar for the others.
"""

import pytest
import torch
from scipy.stats import ttest_1samp

from recsys_posttrain import algorithms
from recsys_posttrain.algorithms.base import after_step, beats_cloning
from recsys_posttrain.algorithms.losers import LoggedVersusLosers
from recsys_posttrain.algorithms.pairs import LoggedVersusSampled
from recsys_posttrain.algorithms.signals import VALUE_RATE, ReferenceSoftValue, model_reward
from recsys_posttrain.ops.softmax import masked_mean

CONTEXTS, ITEMS, WORLDS, STEPS = 4, 6, 6, 20
CHALLENGERS = [
    *(
        kind()
        for kind in vars(algorithms).values()
        if isinstance(kind, type) and hasattr(kind, "loss") and beats_cloning(kind)
    ),
    algorithms.ASFT(model_reward, ReferenceSoftValue(1.0)),
    algorithms.DPO(pairs=LoggedVersusSampled()),
    algorithms.RobustDPO(unbiased=True),
    algorithms.SDPO(losers=LoggedVersusLosers()),
]
LEVEL = 0.05 / 8


def value_after_training(algorithm, world, is_right, tabular):
    """True expected reward of the trained policy, over contexts that are equally likely."""
    generator = torch.Generator().manual_seed(world)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    truth_XV, believed_XV = (3 + draw(CONTEXTS, ITEMS) for _ in range(2))
    logging_XV = draw(CONTEXTS, ITEMS)
    if is_right:
        believed_XV = truth_XV
    context_BT = torch.randint(CONTEXTS, (50, 4), generator=generator)
    pi_NV = logging_XV.softmax(dim=1)[context_BT.flatten()]
    action_BT = torch.multinomial(pi_NV, 1, generator=generator).view(50, 4)
    reward_BT = believed_XV[context_BT, action_BT] + 0.3 * draw(50, 4)
    batch = tabular.batch(
        (context_BT + 1).tolist(), (action_BT + 1).tolist(), reward_BT.tolist()
    )._replace(history_rewards_BT=reward_BT.roll(1, dims=1))
    members_MXV = believed_XV + 0.1 * draw(3, CONTEXTS, ITEMS)
    actors = tabular.actors(
        logging_XV, logging_XV, members_MXV, reward_BT.flatten(), algorithm=algorithm
    )

    # A head's output counts VALUE_RATE times, for the rate of a study; at this one it would jump.
    heads = {"params": list(actors.heads.parameters()), "lr": 0.1 / VALUE_RATE}
    optimizer = torch.optim.AdamW([{"params": list(actors.policy.parameters())}, heads], lr=0.1)
    for step in range(STEPS):
        actors.clear_cache()
        actors.generator.manual_seed(1000 * world + step)
        output = algorithm.loss(batch, actors)
        optimizer.zero_grad()
        masked_mean(output.loss_N, output.counted_N).backward()
        optimizer.step()
        actors.step = step + 1
        after_step(algorithm, actors)
    with torch.no_grad():
        logits_XV = actors.policy.backbone.logits @ actors.policy.item_embedding_VD.T
        return (logits_XV.softmax(dim=1) * truth_XV).sum(dim=1).mean().item()


@pytest.fixture(scope="module")
def cloning():
    return {}


def p_value_of(algorithm, is_right, tabular, cloning):
    """That the gains over cloning are chance; and their mean."""
    if is_right not in cloning:
        cloning[is_right] = [
            value_after_training(algorithms.BC(), world, is_right, tabular)
            for world in range(WORLDS)
        ]
    gains = [
        value_after_training(algorithm, world, is_right, tabular) - cloning[is_right][world]
        for world in range(WORLDS)
    ]
    return ttest_1samp(gains, 0, alternative="greater").pvalue, sum(gains) / WORLDS


@pytest.mark.parametrize("algorithm", CHALLENGERS, ids=lambda each: type(each).__name__)
def test_it_beats_cloning_when_the_reward_is_right(algorithm, tabular, cloning):
    p_value, gain = p_value_of(algorithm, True, tabular, cloning)
    assert p_value < LEVEL, (
        f"{type(algorithm).__name__} gains {gain:.3f} over BC in the toy world where rewards are "
        f"right: p = {p_value:.4f}, not below {LEVEL}. If it does not promise to beat cloning, say "
        "beats_cloning: ClassVar[bool] = False"
    )


@pytest.mark.parametrize("algorithm", CHALLENGERS, ids=lambda each: type(each).__name__)
def test_it_does_not_beat_cloning_when_the_reward_is_noise(algorithm, tabular, cloning):
    p_value, gain = p_value_of(algorithm, False, tabular, cloning)
    assert p_value >= LEVEL, (
        f"{type(algorithm).__name__} gains {gain:.3f} over BC in the toy world where rewards are "
        f"noise: p = {p_value:.4f}, below {LEVEL}. It reads what no algorithm can know"
    )


def test_an_algorithm_says_what_it_promises(tabular, cloning):
    """One that reads no rewards promises nothing, and would not keep it: it fails by its name."""
    assert not beats_cloning(algorithms.BC())
    with pytest.raises(AssertionError, match=r"BC gains 0.000 over BC .* rewards are right"):
        test_it_beats_cloning_when_the_reward_is_right(algorithms.BC(), tabular, cloning)


def test_a_promise_can_be_withdrawn():
    class Regularised(algorithms.RWR):
        beats_cloning = False

    assert not beats_cloning(Regularised())
    assert beats_cloning(algorithms.RWR())
