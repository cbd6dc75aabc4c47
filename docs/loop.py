"""All at once, in plain torch: a log, SASRec, a reward model, A-SFT and NDCG@10, in one file.

    python docs/loop.py my_log.csv    # user_id, item_id, rating, timestamp; or MovieLens' u.data

It imports nothing of the package, so that every line of the method can be seen. It does what
`rp.pretrain`, `rp.posttrain` with `rp.ASFT()` and `rp.evaluate` do with their defaults and the same
seeds: tests/test_loop.py trains both and compares weights. What the package adds: no array of
[positions, items], other methods, resuming, statistics. Ratings are read as stars.

Shapes: B sequences, T time, V items (0 is padding), D width.
"""

import copy
import hashlib
import math
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

LENGTH, DIM, BLOCKS, FEED_FORWARD = 200, 64, 2, 256  # of SASRec
CAP, DAMPING, NEVER, SEED = 20.0, 5.0, -1e30, 0


class Log(NamedTuple):
    """Of each user the items (1..V) and rewards, oldest first."""

    items: list[Tensor]
    rewards: list[Tensor]
    num_items: int

    def until(self, left_out: int) -> "Log":
        """Without the last events of every user who has three; they are targets."""
        ends = [len(each) - left_out * (len(each) >= 3) for each in self.items]
        cut = [[each[:end] for each, end in zip(kind, ends, strict=True)] for kind in self[:2]]
        return Log(cut[0], cut[1], self.num_items)


class Batch(NamedTuple):
    """Windows of sequences: at each time the history ends and the action follows."""

    history: Tensor  # [B, T], 0: padding
    history_rewards: Tensor
    action: Tensor
    reward: Tensor
    is_real: Tensor
    not_shown: Tensor  # [B, T, V + 1]: what the user had before, and padding


def seed_of(*parts: object) -> int:
    """Randomness is a function of names, here and in the package."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def load(path: Path) -> Log:
    """Items with fewer than five ratings are left out; ties in time keep the file's order."""
    names = ["user_id", "item_id", "rating", "timestamp"]
    is_movielens = path.suffix == ".data"
    frame = pd.read_csv(path, sep="\t", names=names) if is_movielens else pd.read_csv(path)
    frame = frame[frame.groupby("item_id")["rating"].transform("size") >= 5]
    user, _ = pd.factorize(frame["user_id"])
    item, item_ids = pd.factorize(frame["item_id"])
    order = np.lexsort((frame["timestamp"].to_numpy(), user))
    lengths = np.bincount(user).tolist()
    items = torch.from_numpy(item[order] + 1).split(lengths)
    rewards = torch.from_numpy(frame["rating"].to_numpy(np.float32)[order]).split(lengths)
    return Log(list(items), list(rewards), len(item_ids))


def window(log: Log, users: list[int], skipped: list[int]) -> Batch:
    """The latest LENGTH + 1 events of each user, without the latest `skipped`, right-padded."""
    ends = [len(log.items[user]) - skip for user, skip in zip(users, skipped, strict=True)]
    starts = [max(0, end - LENGTH - 1) for end in ends]
    time = max(end - start for start, end in zip(starts, ends, strict=True))
    items, rewards = torch.zeros(len(users), time, dtype=torch.int64), torch.zeros(len(users), time)
    had = torch.zeros(len(users), time - 1, log.num_items + 1)
    for row, (user, start, end) in enumerate(zip(users, starts, ends, strict=True)):
        items[row, : end - start] = log.items[user][start:end]
        rewards[row, : end - start] = log.rewards[user][start:end]
        had[row, 0, log.items[user][:start]] = 1  # before the window
    history, past, action = items[:, :-1], rewards[:, :-1], items[:, 1:]
    not_shown = had.scatter_(2, history[..., None], 1).cumsum(dim=1) > 0
    not_shown.scatter_(2, action[..., None], False)  # the action itself always may be shown
    not_shown[..., 0] = True
    is_real = action > 0
    return Batch(history * is_real, past * is_real, action, rewards[:, 1:], is_real, not_shown)


def batch_at(log: Log, step: int, size: int, random_windows: float) -> Batch:
    """The batch of a step: a fresh order of users in every epoch."""
    usable = torch.tensor([user for user, each in enumerate(log.items) if len(each) >= 2])
    epoch, place = divmod(step, math.ceil(len(usable) / size))
    generator = torch.Generator().manual_seed(seed_of(SEED, "epoch", epoch))
    users = usable[torch.randperm(len(usable), generator=generator)].split(size)[place]
    generator = torch.Generator().manual_seed(seed_of(SEED, "windows", step))
    chosen, at = torch.rand(2, len(users), generator=generator)
    spare = torch.tensor([max(0, len(log.items[int(user)]) - LENGTH - 1) for user in users])
    skipped = torch.where(chosen < random_windows, (at * (spare + 1)).long(), 0)
    return window(log, users.tolist(), skipped.tolist())


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each on a residual branch."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(DIM)
        self.query_key_value = nn.Linear(DIM, 3 * DIM)
        self.attention_output = nn.Linear(DIM, DIM)
        self.feed_forward_norm = nn.LayerNorm(DIM)
        layers = (nn.Linear(DIM, FEED_FORWARD), nn.GELU(), nn.Linear(FEED_FORWARD, DIM))
        self.feed_forward = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query_key_value(self.attention_norm(x)).chunk(3, dim=2)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.dropout(self.attention_output(mixed))
        x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return x


class SASRec(nn.Module):
    """The state after each event; its product with an item's vector is the item's logit."""

    def __init__(self, num_items: int, dropout: float) -> None:
        super().__init__()
        self.item_embedding = nn.Embedding(num_items + 1, DIM, padding_idx=0)
        self.position_embedding = nn.Embedding(LENGTH, DIM)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(dropout) for _ in range(BLOCKS))
        self.output_norm = nn.LayerNorm(DIM)
        for table in (self.item_embedding, self.position_embedding):
            nn.init.normal_(table.weight, std=DIM**-0.5 / 2)
        nn.init.zeros_(self.item_embedding.weight[0])

    def forward(self, history: Tensor) -> Tensor:
        positions = torch.arange(history.shape[1])
        x = self.dropout(self.item_embedding(history) + self.position_embedding(positions))
        for block in self.blocks:
            x = block(x)
        state: Tensor = self.output_norm(x)
        return state


def log_policy(model: SASRec, batch: Batch) -> Tensor:
    """log pi of every item that may be shown, [B, T, V + 1]."""
    logits: Tensor = model(batch.history) @ model.item_embedding.weight.T
    return logits.masked_fill(batch.not_shown, NEVER).log_softmax(dim=2)


def log_prob_of_action(model: SASRec, batch: Batch) -> Tensor:
    return log_policy(model, batch).gather(2, batch.action[..., None])[..., 0]


@torch.no_grad()
def ndcg(model: SASRec, log: Log, left_out: int) -> Tensor:
    """NDCG@10 of the first left-out event of each user, by a ranking of all unseen items."""
    model.eval()
    seen, found = log.until(left_out), []
    for user in (user for user, each in enumerate(log.items) if len(each) >= 3):
        state = model(seen.items[user][None, -LENGTH:])[0, -1]
        logits = model.item_embedding.weight @ state
        target = logits[log.items[user][-left_out]]
        logits[seen.items[user]] = logits[0] = -torch.inf
        rank = (logits > target).sum() + ((logits == target).sum() + 1) / 2
        found.append((rank <= 10) / (rank + 1).log2())
    return torch.stack(found)


def pretrain(log: Log, epochs: int = 32, dropout: float = 0.1) -> SASRec:
    """Cross-entropy; the average of the weights with the best validation NDCG@10 is kept."""
    torch.manual_seed(seed_of(SEED, "policy weights"))
    model, train, size, rate = SASRec(log.num_items, dropout), log.until(2), 32, 2e-3
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    average, best, best_ndcg, best_step = copy.deepcopy(model), copy.deepcopy(model), -1.0, 0
    per_epoch = math.ceil(sum(len(each) >= 2 for each in train.items) / size)
    every = per_epoch * math.ceil(40 / per_epoch)
    for step in range(last := per_epoch * epochs):
        batch = batch_at(train, step, size, random_windows=0.5)
        optimiser.param_groups[0]["lr"] = rate * min(1, (step + 1) / 50)
        log_prob = log_prob_of_action(model.train(), batch)
        optimiser.zero_grad()
        (-log_prob[batch.is_real]).mean().backward()
        optimiser.step()
        share = 1 - min(0.998, (2 + step) / (11 + step))
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(weight, share)
        if (step + 1) % every == 0 or step + 1 == last:
            value = float(ndcg(average, log, left_out=2).mean())
            if value > best_ndcg:
                best, best_ndcg, best_step = copy.deepcopy(average), value, step
            elif step - best_step >= 6 * every:
                break
    return best.eval()


def item_means(log: Log) -> Tensor:
    """The damped mean reward of each item, [V + 1]: the first half of the reward model."""
    item, reward = torch.cat(log.items), torch.cat(log.rewards)
    off = torch.zeros(log.num_items + 1).index_add_(0, item, reward - reward.mean())
    return reward.mean() + off / (torch.bincount(item, minlength=log.num_items + 1) + DAMPING)


def predicted_rewards(means: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """r_hat(x, v) = mean of item v + by how much user x likes items more than others, in parts:
    what depends on the item, [V + 1], and what depends on the history, [B, T, 1]."""
    is_real = batch.history > 0
    off = (batch.history_rewards - means[batch.history]) * is_real
    return means, (off.cumsum(dim=1) / (is_real.cumsum(dim=1) + DAMPING))[..., None]


def posttrain(reference: SASRec, log: Log, temperature: float, steps: int = 100) -> SASRec:
    """A-SFT: -w log pi(a | x), w = exp((r - E_{pi_ref}[r_hat]) / temperature), at most CAP."""
    train, rate, size = log.until(2), 3e-4, 64
    means, policy = item_means(train), copy.deepcopy(reference).eval()
    optimiser = torch.optim.AdamW(policy.parameters(), weight_decay=0.0)
    for step in range(steps):
        batch = batch_at(train, step, size, random_windows=0.0)
        with torch.no_grad():
            pi_ref = log_policy(reference, batch).exp()
            of_item, of_user = predicted_rewards(means, batch)
            expected = pi_ref @ of_item + of_user[..., 0]
            weight = ((batch.reward - expected) / temperature).exp().clamp(max=CAP)
        optimiser.param_groups[0]["lr"] = rate * min(1, (step + 1) / 50) * (1 - step / steps)
        loss = -weight * log_prob_of_action(policy, batch)
        optimiser.zero_grad()
        loss[batch.is_real].mean().backward()
        optimiser.step()
    return policy


def main(path: Path) -> None:
    log = load(path)
    liked = torch.stack([each[-1] >= 4 for each in log.rewards if len(each) >= 3])
    policy = pretrain(log)
    for name, model in {"Pretrained": policy, "ASFT": posttrain(policy, log, 0.5)}.items():
        value = ndcg(model, log, left_out=1)
        print(f"{name:<12} NDCG@10 all {value.mean():.4f}   liked {value[liked].mean():.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
