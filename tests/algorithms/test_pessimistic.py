import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms import (
    ASFT,
    BC,
    DPO,
    KTO,
    RWR,
    ExactPPO,
    OfflinePPO,
    Pessimistic,
    signals,
)
from recsys_posttrain.algorithms.base import heads_of
from recsys_posttrain.algorithms.pairs import SampledPairs
from recsys_posttrain.errors import UserError


def after(algorithm, batch, actors):
    """Its loss, and the gradient in the logits."""
    actors.zero_grad()
    actors.clear_cache()
    actors.generator.manual_seed(3)
    loss_N = algorithm.loss(batch, actors).loss_N
    loss_N.sum().backward()
    return loss_N.detach(), actors.policy.backbone.logits.grad.clone()


def test_it_prefers_what_it_is_sure_of(tabular):
    """Members say (2, 0) and (2, 6): means 2 and 3, deviations 0 and 3. Of many draws item 2 is the
    better one; less half a deviation both are close, 2 and 1.5; and item 1 is."""
    actors = tabular.actors(scores=doubles([[2.0, 0.0]], [[2.0, 6.0]]))
    seen = []

    def source(batch, actors):
        seen.append(SampledPairs(40, width=0.0)(batch, actors))
        return seen[-1]

    for algorithm, better, kept in (
        (DPO(pairs=source), 2, True),
        (Pessimistic(DPO(pairs=source), penalty=0.3), 2, True),
        (Pessimistic(DPO(pairs=source), penalty=0.5), 1, True),
    ):
        algorithm.loss(tabular.batch(), actors)
        assert seen[-1].chosen_N.tolist() == [better]
        assert seen[-1].kept_N.tolist() == [kept]


def test_a_weight_by_hand(tabular):
    """RWR on r_hat of item 1: members say 2 and 6, so 4 less 1.5 deviations of 2 is 1; over the
    mean logged reward of 3 the weight is 1/3, and the loss log(2) / 3."""
    actors = tabular.actors(scores=doubles([[2.0, 0.0]], [[6.0, 0.0]]))
    loss_N, _ = after(Pessimistic(RWR(signals.model_reward), 1.5), tabular.batch(), actors)
    torch.testing.assert_close(loss_N, doubles(1 / 3) * doubles(2.0).log())


@pytest.mark.parametrize(
    "method",
    [
        DPO(pairs=SampledPairs(4, width=1.0)),
        RWR(signals.model_reward),
        ASFT(signals.model_reward, signals.user_mean),
        OfflinePPO(baseline=signals.user_mean),
    ],
)
def test_without_a_penalty_it_is_the_method(tabular, method):
    batch, actors = tabular.random(members=3)
    plain = after(method, batch, actors)
    model = actors.reward
    for penalty, same in ((0.0, True), (2.0, False)):
        found = after(Pessimistic(method, penalty), batch, actors)
        assert actors.reward is model
        close = [torch.allclose(*each) for each in zip(plain, found, strict=True)]
        assert close == [same, same]


def test_its_method_keeps_its_heads_and_its_refresh(tabular):
    """OfflinePPO's critic is a head, and pi_old is renewed after a step."""
    method = OfflinePPO(baseline=signals.learned_value, refresh_every=1)
    algorithm = Pessimistic(method)
    assert heads_of(algorithm, 5, 5).keys() == heads_of(method, 5, 5).keys() == {"value"}
    batch, actors = tabular.random(algorithm=algorithm, members=3)
    assert algorithm.loss(batch, actors).loss_N.isfinite().all()
    assert not torch.equal(actors.old.backbone.logits, actors.policy.backbone.logits)
    algorithm.after_step(actors)
    assert torch.equal(actors.old.backbone.logits, actors.policy.backbone.logits)


@pytest.mark.parametrize(
    "method", [ExactPPO(), OfflinePPO(), ASFT(signals.model_reward, signals.reference_value)]
)
def test_sums_over_the_catalogue_are_refused(tabular, method):
    batch, actors = tabular.random(members=3)
    model = actors.reward
    with pytest.raises(UserError, match=r"no exact sum over the catalogue.* take a baseline"):
        Pessimistic(method).loss(batch, actors)
    assert actors.reward is model


def test_what_reads_no_reward_model_is_refused(tabular):
    """BC at once, the others once they have not read it."""
    with pytest.raises(UserError, match=r"Pessimistic: method=BC as it is set reads no reward"):
        Pessimistic(BC())
    for method in (RWR(), KTO()):
        batch, actors = tabular.random(members=3)
        with pytest.raises(UserError, match=rf"method={type(method).__name__} as it is set reads"):
            Pessimistic(method).loss(batch, actors)
