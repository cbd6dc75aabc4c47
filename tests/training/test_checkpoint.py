"""What a checkpoint of post-training holds."""

import pytest
import torch

from recsys_posttrain.algorithms import OfflinePPO
from recsys_posttrain.algorithms.signals import learned_value
from recsys_posttrain.plan import Training
from recsys_posttrain.tensors import load_tensors
from recsys_posttrain.training import fit as fit_file
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.training.posttrain import posttrain

PLAN = Training(epochs=2, batch_size=16, learning_rate=0.02, warmup_steps=3, patience=5)
ALGORITHM = OfflinePPO(baseline=learned_value, refresh_every=3)


class Interrupted(Exception):
    pass


def test_a_checkpoint_holds_what_changes_and_nothing_else(tiny, tmp_path, monkeypatch):
    """Policy, pi_old and head, the best of them, and the optimiser; neither the reference nor the
    reward model, which whoever resumes has. The resumed run ends in the weights of an unbroken."""
    unbroken, fitted = posttrain(tiny.policy, tiny.data, ALGORITHM, tiny.reward, PLAN)
    monkeypatch.setattr(fit_file, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    step_of_module = TrainingModule.training_step
    last = fitted.steps - 1  # in the second epoch, after a validation

    def step(module, batch, index):
        if module.steps_done == last:
            raise Interrupted
        return step_of_module(module, batch, index)

    arguments = tiny.policy, tiny.data, ALGORITHM, tiny.reward, PLAN, 0, tmp_path
    monkeypatch.setattr(TrainingModule, "training_step", step)
    with pytest.raises(Interrupted):
        posttrain(*arguments)
    monkeypatch.setattr(TrainingModule, "training_step", step_of_module)
    names = load_tensors(tmp_path / "checkpoint.safetensors").keys()
    parts = {tuple(name.replace("/", ".").split(".")[:2]) for name in names if "/" in name}
    optimizer = {part for part in parts if part[0] == "optimizer"}
    assert parts - optimizer == {
        (kind, part) for kind in ("model", "best") for part in ("policy", "old", "heads")
    }
    assert optimizer

    resumed, again = posttrain(*arguments)
    assert again == fitted
    expected = unbroken.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())


def test_a_checkpoint_without_a_part_that_changes_is_refused():
    module = TrainingModule(
        torch.nn.ModuleDict({"policy": torch.nn.Linear(2, 1), "reward": torch.nn.Linear(2, 1)}),
        lambda batch: None,
        PLAN,
        0,
        dropout=False,
        fixed=("reward",),
    )
    assert module.changing_weights().keys() == {"policy.weight", "policy.bias"}
    module.load_changing_weights({"policy.weight": torch.ones(1, 2), "policy.bias": torch.ones(1)})
    with pytest.raises(RuntimeError, match=r"missing: \['policy.bias'\]"):
        module.load_changing_weights({"policy.weight": torch.ones(1, 2)})
