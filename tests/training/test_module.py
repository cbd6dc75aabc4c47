"""One step at a time: the mean over real positions, the learning rate, the modes, the seeds."""

import pytest
import torch
from data_factory import made_sequences, random_sequences
from torch import nn

from recsys_posttrain.data.batching import BatchStream, batch_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.models import SASRec, embedding
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.plan import Training
from recsys_posttrain.training.fit import fit
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.types import LossOutput

SEQUENCES = made_sequences([4, 3], [1, 2, 3, 4, 1, 2, 3])


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))


def module_of(objective, training=None, **options):
    training = training or Training(epochs=4, batch_size=1, learning_rate=0.1, warmup_steps=4)
    return TrainingModule(Scale(), objective, training, 0, **{"dropout": False, **options})


def stream_of(module):
    plan = module.training_plan
    return BatchStream(SEQUENCES, 5, plan.batch_size, plan.epochs, seed=0)


def test_the_mean_is_over_real_positions_or_over_those_that_count():
    batch = batch_of(SEQUENCES, torch.tensor([0, 1]), max_length=5)
    assert batch.mask_BT.tolist() == [[True, True, True], [True, True, False]]
    loss_N = torch.tensor([1.0, 0.0, 3.0, 5.0, 1.0])
    step = module_of(lambda _: LossOutput(loss_N, {})).training_step(batch, 0)
    assert float(step) == 2.0, "a loss of 0 counts"
    counted_N = torch.tensor([True, False, False, True, False])
    step = module_of(lambda _: LossOutput(loss_N, {}, counted_N)).training_step(batch, 0)
    assert float(step) == 3.0


def test_metrics_are_kept_beside_the_loss_without_its_graph():
    batch = batch_of(SEQUENCES, torch.tensor([0, 1]), max_length=5)
    metrics = {"mine": torch.tensor(7.0)}
    module = module_of(lambda _: LossOutput(module.model.weight * torch.ones(5), metrics))
    assert module.training_step(batch, 0).requires_grad
    assert {name: float(value) for name, value in module.latest.items()} == {"loss": 1, "mine": 7}
    assert not module.latest["loss"].requires_grad


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_learning_rate(value, tmp_path):
    def objective(batch):
        bad = module.steps_done == 3
        number = torch.full_like(batch.reward_N, value if bad else 1.0)
        return LossOutput(module.model.weight * number, {})

    module = module_of(objective)
    with pytest.raises(UserError, match=rf"became {value} at step 3; lower the learning rate.*0.1"):
        fit(module, stream_of(module), tmp_path)
    assert module.steps_done == 3


def test_learning_rate_modes_and_seeds_of_every_step():
    rates, modes, seeds, after, draws = [], [], [], [], []

    def train(dropout):
        def objective(batch):
            rates.append(module.trainer.optimizers[0].param_groups[0]["lr"])
            modes.append(module.model.training)
            draws.append(float(torch.rand(())))
            return LossOutput(module.model.weight * torch.ones_like(batch.reward_N), {})

        module = module_of(
            objective,
            dropout=dropout,
            reseed=lambda step, seed: seeds.append((step, seed)),
            after_step=lambda steps: after.append((steps, module.model.weight.item())),
        )
        fit(module, stream_of(module), None)

    train(dropout=True)
    train(dropout=False)
    warm = [0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.1, 0.1]
    assert rates == pytest.approx(2 * warm)
    assert modes == [True] * 8 + [False] * 8
    assert [step for step, _ in seeds] == 2 * list(range(8))
    assert seeds[:8] == seeds[8:], "a function of the run's seed and the step"
    assert len({seed for _, seed in seeds}) == 8
    assert draws[:8] == draws[8:], "the global generator, which dropout draws from, too"
    assert len(set(draws)) == 8
    assert [steps for steps, _ in after] == 2 * list(range(1, 9))
    assert after[0][1] == pytest.approx(0.975), "called with the step taken: Adam's first is lr"


def test_the_learning_rate_falls_linearly_after_the_warm_up():
    """0.1 x min(1, (s + 1) / 2) x (1 - s / 5) for s = 0..4."""
    module = module_of(
        lambda _: None, Training(steps=5, learning_rate=0.1, warmup_steps=2, decay=True)
    )
    module.total_steps = 5
    rates = []
    for step in range(5):
        module.steps_done = step
        rates.append(module._learning_rate())
    assert rates == pytest.approx([0.05, 0.08, 0.06, 0.04, 0.02])


def test_frozen_parameters_are_left_to_themselves():
    module = module_of(lambda _: None)
    module.model.frozen = nn.Parameter(torch.tensor(2.0), requires_grad=False)
    (group,) = module.configure_optimizers().param_groups
    assert [parameter.item() for parameter in group["params"]] == [1.0]


def test_impossible_plans_are_refused():
    for field in ("epochs", "batch_size", "learning_rate"):
        with pytest.raises(UserError, match=f"{field}=0"):
            Training(**{"epochs": 1, field: 0})
    with pytest.raises(UserError, match="epochs and steps are both none"):
        Training()


def test_weight_decay_leaves_some_parameters_alone():
    """Without a gradient the decayed weight shrinks by rate times decay a step, the other stays."""
    plan = Training(epochs=1, batch_size=1, learning_rate=0.1, warmup_steps=1, weight_decay=1.0)
    for undecayed, expected in ((), 0.9**2), (("weight",), 1.0):
        module = module_of(lambda batch: batch, plan, undecayed=undecayed)
        weight = module.model.weight
        module.objective = lambda batch, weight=weight: LossOutput(0 * weight * batch.reward_N, {})
        fit(module, stream_of(module), None)
        assert float(weight.detach()) == pytest.approx(expected)


def test_a_sparse_gradient_of_a_large_item_embedding_is_dense_for_the_optimiser(monkeypatch):
    """It is that of a dense look-up, and AdamW decays rows that nobody looked up."""
    batch = batch_of(random_sequences([9, 5, 3], 8, seed=1), torch.arange(3), 8)

    def after_one_step(sparse_from):
        monkeypatch.setattr(embedding, "SPARSE_FROM", sparse_from)
        policy = new_policy(
            SASRec(dim=8, blocks=1, feed_forward=8, max_length=8), 20, seed=0
        ).eval()
        table = policy.backbone.item_embedding
        assert table.sparse == (sparse_from == 20)
        plan = Training(steps=2, learning_rate=0.1, weight_decay=0.5, warmup_steps=0)

        def objective(batch):
            return LossOutput(policy.hidden_states(batch).sigmoid().square().sum(dim=1), {})

        module = TrainingModule(policy, objective, plan, seed=0, dropout=False)
        optimizer = module.configure_optimizers()
        module.training_step(batch, 0).backward()
        assert table.weight.grad.is_sparse == table.sparse
        module.on_after_backward()
        gradient, before = table.weight.grad.clone(), table.weight.detach().clone()
        optimizer.step()
        torch.testing.assert_close(table.weight[9:].detach(), 0.95 * before[9:])
        return gradient

    dense, sparse = after_one_step(21), after_one_step(20)
    assert not sparse.is_sparse
    assert sparse.abs().sum() > 0
    torch.testing.assert_close(sparse, dense, rtol=1e-5, atol=1e-7)
