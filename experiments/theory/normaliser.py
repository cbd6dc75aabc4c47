"""(e) What dropping Z(x) does to a policy that cannot tell contexts apart, with our own losses.

Two equally likely contexts; the behaviour policy takes action 1 with probability 0.9 in the first
and 0.1 in the second; every reward is 1 in the first and 0 in the second, so no action is better
than another. The best state-blind policy of the normalised loss is even. Without Z(x) the rewarded
context outvotes the other: pi(1) = (0.9 e^(1/lambda) + 0.1) / (e^(1/lambda) + 1).
"""

from typing import Any

import torch
from theory.claims import Check, Claim
from torch import Tensor, nn

from recsys_posttrain.algorithms import ASFT, ExpRSFT
from recsys_posttrain.algorithms.actors import Actors, LoggedRewards
from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.algorithms.signals import ReferenceSoftValue, observed_reward, reference_value
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Batch, History
from recsys_posttrain.worlds.tabular import Tabular

WORLD = Tabular(
    reward=((1.0, 1.0), (0.0, 0.0)), reference=((0.9, 0.1), (0.1, 0.9)), contexts=(0.5, 0.5)
)
TOLERANCE = 1e-6  # of a share: L-BFGS stops at gradients of 1e-9


class TableBackbone(nn.Module):
    """A row of logits for each context, or one for all (`is_blind`); item x stands for context x.

    The item embedding is the identity, so that a state is its row of logits.
    """

    def __init__(self, logits_XV: Tensor, is_blind: bool) -> None:
        super().__init__()
        items = logits_XV.shape[1]
        self.dim, self.max_length, self.is_blind = items, 1, is_blind
        item_embedding_VD = torch.eye(items + 1, dtype=logits_XV.dtype)[:, 1:]
        self.item_embedding = nn.Embedding.from_pretrained(item_embedding_VD)
        self.logits_XV = nn.Parameter(logits_XV.clone())

    def forward(self, history: History) -> Tensor:
        context_BT = (history.items_BT - 1).clamp(min=0)
        return self.logits_XV[context_BT * (not self.is_blind)]


class TableReward(RewardModel):
    """Knows r* of every context and action."""

    def __init__(self, reward_XV: Tensor) -> None:
        super().__init__()
        self.reward_XV = reward_XV

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        state_NR = self.reward_XV[batch.real(batch.history_BT) - 1]
        return state_NR[None], torch.eye(self.reward_XV.shape[1], dtype=state_NR.dtype)[None]


def enumerated_log() -> Batch:
    """Ten events in each context, each action as often as the behaviour policy takes it."""
    context_B, action_B = torch.tensor([[1] * 10 + [2] * 10, [1] * 9 + [2] + [1] + [2] * 9])
    context_BT, action_BT = context_B[:, None], action_B[:, None]
    rewards_BT = torch.tensor(WORLD.reward_XV)[context_BT - 1, action_BT - 1]
    zero_BT = torch.zeros_like(context_BT)
    return Batch(
        history_BT=context_BT,
        history_rewards_BT=torch.zeros_like(rewards_BT),
        history_times_BT=zero_BT,
        actions_BT=action_BT,
        rewards_BT=rewards_BT,
        action_times_BT=zero_BT,
        mask_BT=context_BT > 0,
        sequences_B=torch.arange(len(context_B)),
    )


def trained_share(algorithm: Algorithm) -> float:
    """pi(1) of the state-blind policy at which the algorithm's mean loss over the log is least."""
    batch = enumerated_log()
    start = torch.tensor([[2.0, -1.0]], dtype=torch.float64)  # far from every answer: pi(1) = .95
    blind = FrozenPolicy(Policy(TableBackbone(start, is_blind=True)))
    rewards = batch.reward_N
    actors = Actors(
        blind,
        TableReward(torch.tensor(WORLD.reward_XV)),
        LoggedRewards(rewards, torch.full((2,), 0.5, dtype=torch.float64)),
    )
    behaviour = TableBackbone(torch.tensor(WORLD.reference_XV).log(), is_blind=False)
    actors.reference = FrozenPolicy(Policy(behaviour))
    logits: Tensor = actors.policy.backbone.logits_XV  # type: ignore[assignment]
    optimizer = torch.optim.LBFGS(
        [logits],
        max_iter=200,
        tolerance_grad=1e-9,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        actors.clear_cache()
        optimizer.zero_grad()
        loss = algorithm.loss(batch, actors).loss_N.mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return logits.detach().softmax(dim=1)[0, 0].item()


def state_blind(temperatures: tuple[float, ...]) -> Claim:
    table: list[dict[str, Any]] = []
    for temperature in temperatures:
        weight = torch.tensor(1 / temperature, dtype=torch.float64).exp().item()
        soft = ASFT(observed_reward, ReferenceSoftValue(temperature), temperature, weight_cap=None)
        mean = ASFT(observed_reward, reference_value, temperature, weight_cap=None)
        table.append(
            {
                "lambda": temperature,
                "ExpRSFT": trained_share(ExpRSFT(temperature, weight_cap=None)),
                "closed form": (0.9 * weight + 0.1) / (weight + 1),
                "ASFT, soft value": trained_share(soft),
                "ASFT, reference value": trained_share(mean),
                "normalised": 0.5,
            }
        )
    errors = {
        name: max(abs(row[name] - row[expected]) for row in table)
        for name, expected in (
            ("ExpRSFT", "closed form"),
            ("ASFT, soft value", "normalised"),
            ("ASFT, reference value", "normalised"),
        )
    }
    return Claim(
        "Without Z(x) a state-blind policy prefers what the rewarded context does",
        "Two contexts, behaviour .9 / .1 and .1 / .9, rewards always 1 and always 0: no action "
        "is better. Share of action 1 after training a state-blind policy to the minimum of the "
        "framework's own loss (L-BFGS, float64, the enumerated log).",
        table,
        {},
        [
            Check(
                f"{name}: the trained policy is that of theory",
                f"Largest difference {error:.1e}.",
                error < TOLERANCE,
            )
            for name, error in errors.items()
        ],
    )
