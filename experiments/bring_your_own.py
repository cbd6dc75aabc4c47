"""A policy of another library and a gradient-boosting reward model in one study.

    python experiments/bring_your_own.py ml-100k     # stands for the other library: trains, saves
    recsys-posttrain run experiments/bring_your_own.py

The first writes what such a library leaves, weights and the ids of the items in an order of its
own, to runs/outside (or to the folder that the variable OUTSIDE names). The second starts from it:
PRETRAINED reads the files, and is all that the study asks for. Boosting scores given items only, so
the methods are those that ask no more.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.ensemble import HistGradientBoostingRegressor  # type: ignore[import-untyped]
from torch import nn

import recsys_posttrain as rp
from recsys_posttrain.algorithms.pairs import SampledPairs
from recsys_posttrain.algorithms.signals import model_reward, user_mean
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.rewards.own import RewardRegressor
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.types import History

FOLDER = Path(os.environ.get("OUTSIDE", "runs/outside"))
LENGTH = 100


class OutsideSASRec(nn.Module):
    """As other libraries write it: sessions of item numbers [B, L], 0 is padding, to states; it
    knows nothing of rewards and times. The item table is also the output table."""

    def __init__(self, num_items: int, factors: int = 48, blocks: int = 2) -> None:
        super().__init__()
        self.item_model = nn.Embedding(num_items + 1, factors, padding_idx=0)
        self.pos_encoding = nn.Embedding(LENGTH, factors)
        layer = nn.TransformerEncoderLayer(
            factors, 2, 4 * factors, dropout=0.2, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, blocks, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(factors)

    def forward(self, sessions: torch.Tensor) -> torch.Tensor:
        length = sessions.shape[1]
        x = self.item_model(sessions) + self.pos_encoding.weight[:length]
        mask = nn.Transformer.generate_square_subsequent_mask(length).to(x)
        states: torch.Tensor = self.norm(self.layers(x, mask=mask, is_causal=True))
        return states


class Encoder(nn.Module):
    """What the framework calls, with a History, around what the other library calls."""

    def __init__(self, net: OutsideSASRec) -> None:
        super().__init__()
        self.net = net

    def forward(self, history: History) -> torch.Tensor:
        states: torch.Tensor = self.net(history.items_BT)
        return states


def outside_sasrec() -> Policy:
    item_ids = json.loads((FOLDER / "item_ids.json").read_text())
    net = OutsideSASRec(len(item_ids))
    net.load_state_dict(load_file(FOLDER / "sasrec.safetensors"))
    return rp.policy_of(net.item_model, Encoder(net), item_ids, max_length=LENGTH)


def boosting() -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(max_iter=60)


def features(frame):  # type: ignore[no-untyped-def]
    """Of the item its number; of the history its length, mean and spread of rewards, and how long
    ago its last event was."""
    past, last = frame["history_rewards"], frame["history_times"].map(lambda times: times[-1])
    columns = [past.map(len), past.map(np.mean), past.map(np.std), frame["time"] - last]
    return np.stack([frame["item_id"].astype(float), *columns], axis=1)


PRETRAINED, REWARD_MODEL = outside_sasrec, RewardRegressor(boosting, features)
SETUP = Setup(pretrained=PRETRAINED, reward=REWARD_MODEL)
BASE = Run(setup=SETUP, algorithm=rp.BC())
RUNS = [
    BASE,
    replace(BASE, algorithm=rp.ASFT(reward=model_reward, baseline=user_mean), name="ASFT(model)"),
    replace(BASE, algorithm=rp.DPO(pairs=SampledPairs(width=0))),
    replace(BASE, algorithm=rp.WBC()),
]


def main(dataset: str, epochs: int = 20) -> None:
    """Trains the outside model on the training part of a log, and writes it."""
    data = rp.load(dataset)
    torch.manual_seed(0)
    order = torch.randperm(data.corpus.num_items)  # its own order of the items
    number = torch.cat([torch.zeros(1, dtype=torch.int64), order.argsort() + 1])
    sessions = [
        number[items[-LENGTH - 1 :]]
        for items in data.train.items_E.split(data.train.lengths_N.tolist())
        if len(items) > 1
    ]
    net = OutsideSASRec(len(order))
    nn.init.normal_(net.item_model.weight, std=0.05)
    adam = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(sessions)).split(64):
            x = nn.utils.rnn.pad_sequence([sessions[row] for row in rows], batch_first=True)
            logits = net(x[:, :-1]) @ net.item_model.weight[1:].T
            loss = nn.functional.cross_entropy(
                logits.flatten(0, 1), x[:, 1:].flatten() - 1, ignore_index=-1
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "item_ids.json").write_text(json.dumps(data.corpus.item_ids[order].tolist()))
    save_file(net.state_dict(), FOLDER / "sasrec.safetensors")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "ml-100k")
