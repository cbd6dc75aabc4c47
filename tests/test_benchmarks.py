"""The benchmarks run: the synthetic log has its shape, and both steps do the same work."""

import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch
from benchmark_runs import FOLDER, printed, record_in
from data_factory import made_sequences

from recsys_posttrain.algorithms import OfflinePPO
from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.data.batching import BatchStream, batch_of


@pytest.fixture
def train_step(script):
    return script("benchmarks/train_step.py")


@pytest.fixture
def batch():
    sequences = made_sequences([4, 3], [1, 2, 3, 4, 5, 3, 1])
    return batch_of(sequences, torch.tensor([0, 1]), 200)


def test_the_synthetic_log_has_the_shape_of_ml_1m(train_step):
    """ML-1M under protocol A: 6,040 users, 999,611 events, median 96, at most 2,277 to 2,314."""
    corpus = sys.modules["shared.workload"].synthetic()
    lengths_N = corpus.sequences.lengths_N
    assert len(lengths_N) == 6040
    assert abs(int(lengths_N.median()) - 96) <= 5
    assert int(lengths_N.min()) >= 20
    assert 1500 <= int(lengths_N.max()) <= 2300
    assert abs(len(corpus.sequences.items_E) / 999_611 - 1) < 0.1
    count_V = torch.bincount(corpus.sequences.items_E, minlength=3417)[1:]
    assert len(count_V) == corpus.num_items == 3416
    assert count_V[0] > 5 * count_V[9] > 25 * count_V[999]
    stream = BatchStream(corpus.sequences, 200, 128, 1, 0)
    assert next(iter(stream)).mask_BT.shape == (128, 200)


def test_both_steps_have_the_same_gradient(train_step, batch, monkeypatch):
    """Without dropout and from the same weights: they differ in how, not in what is computed."""
    policies = []

    def without_dropout(backbone, num_items, seed):
        policy = original(replace(backbone, dropout=0.0), num_items, seed)
        policies.append(policy)
        return policy

    original = train_step.new_policy
    monkeypatch.setattr(train_step, "new_policy", without_dropout)
    monkeypatch.setattr(train_step.Training, "logits_dtype", lambda plan, device: None)
    for make in train_step.STEPS.values():
        make(5)(batch)
    naive, ours = ({n: p.grad for n, p in policy.named_parameters()} for policy in policies)
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, naive[name], rtol=1e-4, atol=1e-6)
        query_key_value = gradient.chunk(3) if "query_key_value" in name else (gradient,)
        for part, each in enumerate(query_key_value):
            is_key_bias = part == 1 and name.endswith("bias")  # softmax does not depend on it
            assert (each.abs().max() > 1e-6) != is_key_bias, (name, part)


@pytest.mark.parametrize("kind", ["naive", "ours"])
def test_a_step_lowers_the_loss(train_step, batch, kind, monkeypatch):
    policies = []
    original = train_step.new_policy
    monkeypatch.setattr(
        train_step,
        "new_policy",
        lambda *args, **kw: policies.append(original(*args, **kw)) or policies[-1],
    )
    step = train_step.STEPS[kind](5)
    policy = policies[-1]

    def loss():
        policy.clear_cache()
        with torch.no_grad():
            return -float(policy.eval().log_prob(batch).sum())

    before = loss()
    for _ in range(5):
        policy.train()
        step(batch)
    assert loss() < before


def test_materialising_writes_and_looks_up(script):
    result = script("benchmarks/materialize.py").measure(30)
    assert result["users"] == 30
    assert result["seconds"] > 0
    assert result["look_ups_per_second"] > 0


def test_recommending_and_loading_in_small(script, tmp_path):
    recommending, loading = script("benchmarks/recommend.py"), script("benchmarks/load.py")
    recommending.write_policy(tmp_path / "policy")
    events = recommending.write_log(tmp_path / "log.parquet", 300)
    assert 2500 < events < 6000
    assert recommending.measure(tmp_path)["seconds"] > 0
    assert len(pd.read_parquet(tmp_path / "top.parquet")) == 3000
    (tmp_path / "logs").mkdir()
    loading.write_logs(tmp_path / "logs", 2000, 50, 100)
    for end in ("csv", "parquet"):
        result = loading.measure(tmp_path / "logs" / f"log.{end}")
        assert (result["users"], result["items"], result["events"]) == (100, 50, 2000)
    for name in ("recommend", "load"):
        assert record_in(FOLDER / "results", name)["machine"]["threads"] == 1


def test_the_script_for_a_gpu_on_the_cpu_in_small(script, monkeypatch):
    """All that is compared is equal, since both places are the same."""
    gpu = script("benchmarks/gpu.py")
    monkeypatch.setattr(gpu, "METHODS", (OfflinePPO(samples=2),))
    corpus = sys.modules["shared.workload"].synthetic(users=40, items=200, longest=60)
    data = LeaveOneOut(minimum_item_ratings=1).split(corpus)
    found = gpu.measure(data, "cpu", steps=7, side=64)
    assert found["right"] == {"pretraining": 0, "ndcg@10": 0, "OfflinePPO": 0}
    assert {"SASRec", "HSTU", "OfflinePPO"} < found["fast"].keys()
    for name in ("SASRec", "HSTU"):
        assert found["fast"][name]["events_per_second"] > 0
        assert found["fast"][name]["share_of_products"] > 0
    assert "RecTools" in found["rectools"]["skipped"] or found["rectools"]["seconds"] > 0


@pytest.mark.parametrize(
    "name",
    ["train_step", "evaluation", "noise", "coverage", "bootstrap", "growth", "peers", "sampled"],
)
def test_help_and_committed_results(name):
    options, record = printed(name, "--help"), record_in(FOLDER / "results", name)
    if name == "growth":
        assert len(list((FOLDER / "results").glob("growth-*.png"))) == 4
    elif name in ("peers", "sampled"):
        assert (FOLDER / "results" / f"{name}.png").exists()
    elif name in ("coverage", "bootstrap"):
        assert not record["commit"].endswith("-dirty")
        assert record["versions"]["numpy"]
    else:
        assert "--data-root" in options
        assert {"cores", "threads"} <= record["machine"].keys()
        assert record["versions"]["torch"]


def test_the_table_of_costs_is_that_of_the_committed_figures(script):
    """And each method keeps to the bound of its kind, in steps of BC."""
    posttrain_step = script("benchmarks/posttrain_step.py")
    record = record_in(FOLDER / "results", "posttrain_step")
    assert not record["commit"].endswith("-dirty")
    committed = (FOLDER / "results" / "posttrain_step.md").read_text(encoding="utf-8")
    assert posttrain_step.table(record) == committed
    labels = [run.label for run in (*posttrain_step.RUNS, *posttrain_step.ON_REQUEST)]
    assert list(record["ratio_to_bc_median"]) == list(record["memory_mib"]) == labels


def test_the_table_of_costs_by_hand(script):
    record = {
        "dataset": "toy",
        "rounds": 3,
        "batches": 2,
        "commit": "abc",
        "command": "python x",
        "family": {"BC": "likelihood", "DPO": "pairs"},
        "ratio_to_bc_median": {"BC": 1.0, "DPO": 1.256},
        "memory_mib": {"BC": 90.2, "DPO": 1130.9},
    }
    text = script("benchmarks/posttrain_step.py").table(record)
    assert text.partition("\n\n")[2] == (
        "| method | step, in steps of BC | MiB | MiB beyond BC |\n|:--|--:|--:|--:|\n"
        "| *likelihood* |  |  |  |\n| BC | 1.00 | 90 | +0 |\n"
        "| *pairs* |  |  |  |\n| DPO | 1.26 | 1,131 | +1,041 |\n"
    )
    assert "on toy: CPU time in units of a step of BC (median over 3 rounds of 2 batches" in text
    assert text.partition("\n\n")[0].endswith("Commit abc; command: python x.")


def test_the_peak_of_memory_is_what_is_held_at_once(script):
    """Two of three tensors of 4 MiB, and then a sum."""

    def work():
        one = torch.zeros(1024, 1024)
        two = one + 1
        del one
        return (two * 2).sum()

    assert script("benchmarks/posttrain_step.py").peak_mib(work) == pytest.approx(8, abs=0.01)
