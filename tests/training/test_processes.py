"""Several processes take the steps of one, resume exactly, and say which of them ended."""

import json
from dataclasses import replace

import pytest
import torch

from recsys_posttrain.algorithms import BC, DPO, IQL, ExactPPO, FilteredBC
from recsys_posttrain.algorithms.pairs import SampledPairs
from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.errors import UserError
from recsys_posttrain.plan import Training
from recsys_posttrain.training import fit as fit_file
from recsys_posttrain.training.group import Group
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.pretrain import pretrain
from recsys_posttrain.training.processes import helped

# Batches of 59 and of 1 of the 60 users, so that the second process has nothing in each other step.
UNEVEN = Training(epochs=10, batch_size=59, learning_rate=0.02, warmup_steps=6)
PLAN = Training(epochs=3, batch_size=16, learning_rate=0.02, warmup_steps=6, ema_decay=0.9)


class Killed(BaseException):
    """Nobody catches it, as nobody catches SIGKILL."""


@pytest.fixture
def kill_once(monkeypatch):
    """From its call on the first training ends after step 7; the list then has that step."""

    def start():
        monkeypatch.setattr(fit_file, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
        step_of_module, killed = TrainingModule.training_step, []

        def step(module, *arguments):
            if module.steps_done == 7 and not killed:
                killed.append(module.steps_done)
                raise Killed
            return step_of_module(module, *arguments)

        monkeypatch.setattr(TrainingModule, "training_step", step)
        return killed

    return start


def curve(fitted, name):
    lines = [json.loads(line) for line in fitted.lines]
    return [line[name] for line in lines if name in line]


@pytest.mark.parametrize(("processes", "patience"), [(2, None), (3, 2)])
def test_the_steps_are_those_of_one_process(tiny, processes, patience):
    backbone, plan = replace(tiny.backbone, dropout=0.0), replace(UNEVEN, patience=patience)
    one, alone = pretrain(tiny.data, backbone, plan)
    several, shared = pretrain(tiny.data, backbone, plan, devices=processes)
    assert shared.steps == alone.steps
    assert shared.best_step == alone.best_step
    for name in ("loss", "ndcg@10"):
        found = curve(shared, name)
        assert len(found) >= 4
        assert found == pytest.approx(curve(alone, name), abs=1e-5)
    # Not every weight: the gradient of the keys' bias is 0 but for rounding, which Adam scales up.
    targets = tiny.data.test
    for values in zip(*(each.scores(targets.history) for each in (one, several)), strict=True):
        torch.testing.assert_close(*values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "algorithm",
    [BC(), ExactPPO(kl_coefficient=0.5), IQL(), FilteredBC()],
    ids=lambda each: type(each).__name__,
)
def test_post_training_takes_the_steps_of_one_process(tiny, algorithm):
    """Where nothing is drawn: a mean, the old policy, heads of its own, positions left out."""
    given = tiny.policy, tiny.data, algorithm, tiny.reward, replace(UNEVEN, epochs=6)
    (one, alone), (two, shared) = posttrain(*given), posttrain(*given, devices=2)
    assert shared.steps == alone.steps == 12
    for name in ("loss", "validation/ndcg@10", "validation/kl"):
        found = curve(shared, name)
        assert found
        assert found == pytest.approx(curve(alone, name), abs=1e-5)
    targets = tiny.data.test
    for values in zip(*(each.scores(targets.history) for each in (one, two)), strict=True):
        torch.testing.assert_close(*values, rtol=1e-4, atol=1e-4)


def test_each_process_draws_for_its_part_and_a_killed_post_training_resumes(
    tiny, tmp_path, kill_once
):
    """DPO draws candidates. Snapshots are written once, by the first."""
    algorithm, plan = DPO(pairs=SampledPairs(width=0.0)), replace(PLAN, snapshots=2)
    given = tiny.policy, tiny.data, algorithm, tiny.reward, plan, 0
    unbroken, fitted = posttrain(*given, tmp_path / "one", devices=2)
    assert fitted.kept == 1
    killed = kill_once()
    with pytest.raises(Killed):
        posttrain(*given, tmp_path / "two", devices=2)
    resumed, _ = posttrain(*given, tmp_path / "two", devices=2)
    assert killed
    for name, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    saved = [{p.name for p in (tmp_path / name).glob("step-*")} for name in ("one", "two")]
    assert saved[0] == saved[1]
    assert len(saved[0]) == 2


def test_a_killed_training_resumes_to_the_bit(tiny, tmp_path, kill_once):
    """With dropout, which each process draws for its own part, and an average of the weights."""
    unbroken, _ = pretrain(tiny.data, tiny.backbone, PLAN, 0, tmp_path / "one", devices=2)
    killed = kill_once()
    with pytest.raises(Killed):
        pretrain(tiny.data, tiny.backbone, PLAN, 0, tmp_path / "two", devices=2)
    assert killed
    resumed, fitted = pretrain(tiny.data, tiny.backbone, PLAN, 0, tmp_path / "two", devices=2)
    assert fitted.steps == 12
    for name, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("one", "two")]
    assert metrics[0] == metrics[1]


def runs_out(_group):
    raise MemoryError("no memory for this part")


def test_a_process_that_ends_is_named():
    threads = torch.get_num_threads()
    with (
        pytest.raises(UserError, match=r"^process 2 of 2 .* \(MemoryError: no memory for this"),
        helped(2, runs_out) as group,
    ):
        group.sum(torch.ones(1))
    assert torch.get_num_threads() == threads
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("devices", "device", "sentence"),
    [
        (0, "cpu", "devices=0: give a number of processes from 1 to 256"),
        (2.0, "cpu", "devices=2.0: give a number"),
        (2, "cuda", "devices=2 and device=cuda: several processes share a training on the CPU"),
    ],
)
def test_what_cannot_be_shared_is_refused(tiny, devices, device, sentence):
    with pytest.raises(UserError, match=sentence):
        pretrain(tiny.data, tiny.backbone, PLAN, device=device, devices=devices)


def test_the_parts_of_a_batch_are_the_batch(tiny):
    """Each sequence is in one part, with the window that it has in the whole batch."""

    def batches(group):
        stream = BatchStream(tiny.data.train, 4, 16, 2, seed=3, random_windows=0.5)
        stream.part = group.part
        return list(stream)

    parts = [batches(Group(rank, 3)) for rank in range(3)]
    for step, batch in enumerate(batches(Group())):
        shares = [found[step] for found in parts]
        sizes = [len(each.sequences_B) for each in shares]
        assert max(sizes) - min(sizes) <= 1
        rows = {
            int(row): items
            for each in shares
            for row, items in zip(each.sequences_B, each.actions_BT, strict=True)
        }
        assert len(rows) == len(batch.sequences_B)
        for row, items, real in zip(
            batch.sequences_B, batch.actions_BT, batch.mask_BT, strict=True
        ):
            count = int(real.sum())
            assert torch.equal(rows[int(row)][:count], items[:count])


def test_alone_nothing_is_asked_of_others():
    group = Group()
    assert group.is_first
    assert group.given(True)
    assert not group.given(False)
    values = torch.tensor([1.0, 2.0])
    assert group.sum(values).tolist() == [1, 2]
    assert group.given("this") == "this"
