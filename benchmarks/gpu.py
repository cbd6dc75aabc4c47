"""Is it right on this device, and how fast? One short script for a machine with a GPU.

    python benchmarks/gpu.py [--device cuda] [--steps 60] [--data-root ml-1m.zip] [--threads 2]

right: the same three steps of pretraining and of each post-training on the CPU and on the device,
    from one seed, with float32 products: the largest difference of a weight, and of NDCG@10 of
    the pretrained policy over the test targets.
fast: real events/s and seconds for an epoch of SASRec and of HSTU (public code of HSTU: 54 s on an
    H100), with the default products; events/s of post-training; seconds for the ranks of all
    users. The share of the device's matrix products is of the floating point operations that the
    step does, by the rate of one large product of the same type. memory_mib: the most that PyTorch
    held there.
RecTools, where it is installed, trains its SASRec for the same steps. With --device cpu all of it
runs without a GPU. Nothing is compared with a committed figure: the machines differ.
"""

import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from shared.workload import (
    BATCH_SIZE,
    LENGTH,
    machine,
    ml_1m_or_synthetic,
    parsed,
    parser_of,
    show_result,
)
from torch.utils.flop_counter import FlopCounterMode

from recsys_posttrain.algorithms import ASFT, BC, DPO, GRPO, OfflinePPO
from recsys_posttrain.config import require_trainer
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.models import HSTU, SASRec
from recsys_posttrain.models.backbone import BackboneConfig
from recsys_posttrain.models.policy import Policy, new_policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.pretrain import pretrain
from recsys_posttrain.training.reward import train_reward
from recsys_posttrain.types import Batch, Split

METHODS = (BC(), ASFT(), DPO(), GRPO(), OfflinePPO())
FEW = 3  # steps that are compared; rounding grows with every further one
SIDE = 4096  # of the product that the device's rate is measured by


class Clock(Callback):
    """Seconds and real events of the steps after the first few, which allocate."""

    def __init__(self, device: str, skipped: int = 5) -> None:
        self.device, self.skipped = device, skipped
        self.events, self.steps, self.seconds = 0, 0, 0.0
        self.began = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        settle(self.device)
        if batch_idx + 1 < self.skipped:
            return
        if batch_idx + 1 > self.skipped:
            self.events += len(batch.action_N)
            self.steps += 1
            self.seconds += time.perf_counter() - self.began
        self.began = time.perf_counter()


def settle(device: str) -> None:
    """Waits for what the device still computes."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def plan(steps: int, bfloat16: bool) -> Training:
    return Training(steps=steps, batch_size=BATCH_SIZE, bfloat16=bfloat16)


def largest_difference(one: Policy, other: Policy) -> float:
    """Of two policies' weights, by the largest weight."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    apart = [float((a.cpu() - b.cpu()).abs().max()) / float(a.abs().max()) for a, b in pairs]
    return max(apart)


def is_right(data: Split, reward: RewardModel, device: str) -> dict[str, float]:
    trained = {
        place: pretrain(data, SASRec(), plan(FEW, False), 0, None, place)[0]
        for place in ("cpu", device)
    }
    here, there = trained["cpu"], trained[device]
    found = {"pretraining": largest_difference(here, there)}
    values = [evaluate(each, data).mean("ndcg@10") for each in (here, here.to(device))]
    found["ndcg@10"] = abs(values[0] - values[1])
    here.to("cpu")
    for method in METHODS:
        both = [
            posttrain(here, data, method, reward, plan(FEW, False), 0, None, place)[0]
            for place in ("cpu", device)
        ]
        found[type(method).__name__] = largest_difference(*both)
    return found


def rate(device: str, dtype: torch.dtype, side: int = SIDE) -> float:
    """Floating point operations per second of one large product."""
    square = torch.ones(side, side, dtype=dtype, device=device)
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        _ = square @ square
        settle(device)
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds[1:])


def operations(data: Split, backbone: BackboneConfig) -> float:
    """Of a step of pretraining, forward and backward, per real event."""
    policy = new_policy(backbone, data.corpus.num_items, seed=0)
    (batch,) = Training(steps=1, batch_size=BATCH_SIZE).batches(data.train, LENGTH, seed=0)
    with FlopCounterMode(display=False) as counter:
        policy.weighted_nll(batch, torch.ones_like(batch.reward_N)).sum().backward()
    return float(counter.get_total_flops()) / len(batch.action_N)


def speed(
    data: Split, device: str, train: Callable[[Clock], object], per_event: float, product: float
) -> dict[str, float]:
    clock = Clock(device)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
    train(clock)
    events = clock.events / clock.seconds
    found = {
        "events_per_second": round(events),
        "epoch_seconds": round(len(data.train.items_E) / events, 2),
    }
    if per_event:
        found["share_of_products"] = round(events * per_event / product, 3)
    if device != "cpu":
        found["memory_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    return found


def of_rectools(data: Split, steps: int) -> dict[str, Any]:
    if importlib.util.find_spec("rectools") is None:
        return {"skipped": "RecTools is not installed here"}
    sys.path.insert(0, str(Path(__file__).parent / "peers"))
    its, side = (importlib.import_module(name) for name in ("with_rectools", "side"))
    items, offsets = data.train.items_E.numpy(), data.train.offsets_N1.numpy()
    peer = its.RecTools(side.Log(data.corpus.num_items, items, offsets, items, offsets))
    return {**peer.train(steps), **peer.describe()}


def measure(data: Split, device: str, steps: int, side: int = SIDE) -> dict[str, Any]:
    reward, _ = train_reward(data, RewardFactors(rounds=5))
    found: dict[str, Any] = {"right": is_right(data, reward, device), "fast": {}}
    dtype = plan(1, True).logits_dtype(device) or torch.float32
    product = rate(device, dtype, side)
    found["products"] = {"dtype": str(dtype), "teraflops": round(product / 1e12, 3)}
    policies = {}
    for name, backbone in (("SASRec", SASRec()), ("HSTU", HSTU())):

        def train(clock: Clock, name: str = name, backbone: BackboneConfig = backbone) -> None:
            policies[name], _ = pretrain(
                data, backbone, plan(steps, True), 0, None, device, callbacks=[clock]
            )

        found["fast"][name] = speed(data, device, train, operations(data, backbone), product)
    policy = policies["SASRec"]
    for method in METHODS:

        def further(clock: Clock, method: Any = method) -> None:
            posttrain(
                *(policy, data, method, reward, plan(steps, True), 0, None, device),
                callbacks=[clock],
            )

        found["fast"][type(method).__name__] = speed(data, device, further, 0.0, product)
    began = time.perf_counter()
    evaluate(policy.to(device), data)
    settle(device)
    found["fast"]["ranks of all users, s"] = round(time.perf_counter() - began, 2)
    found["rectools"] = of_rectools(data, steps)
    return found


def main() -> None:
    parser = parser_of(__doc__, reads_data=True, steps=60)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parsed(parser)
    require_trainer(arguments.device, ())
    data = ml_1m_or_synthetic(arguments.data_root)
    print(f"{data.corpus.name} on {arguments.device}; {machine()}", flush=True)
    found = measure(data, arguments.device, arguments.steps)
    name = "cpu" if arguments.device == "cpu" else torch.cuda.get_device_name(arguments.device)
    show_result(Path(__file__), {"device": name, "dataset": data.corpus.name, **found})


if __name__ == "__main__":
    main()
