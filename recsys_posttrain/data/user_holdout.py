"""A split by users: what is learned from some is asked about others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys_posttrain.config import require, require_at_least
from recsys_posttrain.data.split import check_shares, events_before, first_events, targets_at
from recsys_posttrain.errors import UserError
from recsys_posttrain.seeding import derived_seed

if TYPE_CHECKING:
    from torch import Tensor

    from recsys_posttrain.types import Corpus, Sequences, Split, Targets


@dataclass(frozen=True)
class UserHoldout:
    """Disjoint users: for the policy, its reward model, the judge, validation and test.

    The users are dealt at random. Validation and test: each user's last events are the targets,
    each with everything before it as history, so that a policy is asked about histories of users
    that nothing was trained on. Who has a single event has no target.

    validation_positions: how many of a validation user's last events are targets; of a test user's
        one is. Few users choose better by several events each.
    train, reward, judge, validation, test: shares of the users.
    minimum_item_ratings: the fewest ratings with which `prepare` keeps an item in the corpus.
    """

    train: float = 0.4
    reward: float = 0.15
    judge: float = 0.15
    validation: float = 0.1
    test: float = 0.2
    seed: int = 0
    minimum_item_ratings: int = 5
    validation_positions: int = 5

    def __post_init__(self) -> None:
        require_at_least(self, 1, "validation_positions")

    @property
    def label(self) -> str:
        return (
            f"disjoint users ({self.train:g} policy, {self.reward:g} reward model, {self.judge:g} "
            f"judge, {self.validation:g} validation with {self.validation_positions} events each, "
            f"{self.test:g} test)"
        )

    def split(self, corpus: Corpus) -> Split:
        """Split the users.

        Raises: UserError: the shares do not sum to 1; too few users for a part to have one with two
        events.
        """
        import torch

        from recsys_posttrain.types import Split

        names = ("train", "reward", "judge", "validation", "test")
        check_shares(self, *names)
        sequences, users = corpus.sequences, len(corpus.sequences)
        share_P = torch.tensor([getattr(self, name) for name in names], dtype=torch.float64)
        bounds = (share_P.cumsum(0)[:-1] * users).round().long()
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "user holdout"))
        dealt = torch.randperm(users, generator=generator).tensor_split(bounds)
        for name, users_N in zip(names, dealt, strict=True):
            if not bool((sequences.lengths_N[users_N] >= 2).any()):
                raise UserError(
                    f"{corpus.name} cannot be split by users: of its {users}, {len(users_N)} fall "
                    f"into the {name} part and none of them has two events; give it a larger share "
                    "or data with more users."
                )
        train_N, reward_N, judge_N, validation_N, test_N = dealt
        return Split(
            corpus=corpus,
            train=_all_events(sequences, train_N),
            validation=_last_events(corpus, validation_N, self.validation_positions),
            test=_last_events(corpus, test_N),
            reward=_all_events(sequences, reward_N),
            judge=_all_events(sequences, judge_N),
        )


def both_logs(data: Split) -> Sequences:
    """The events that the policy learns from and those that the reward model does.

    Raises: UserError where a split does not keep their users apart.
    """
    train_N, reward_N = data.train.lengths_N, data.reward.lengths_N
    require(
        not bool(((train_N > 0) & (reward_N > 0)).any()),
        f"the split of {data.corpus.name} has the same users for policy and reward model, so there "
        "is no second log to learn from; use UserHoldout, or leave out with_reward_log.",
    )
    return first_events(data.corpus.sequences, train_N + reward_N)


def _all_events(sequences: Sequences, users_N: Tensor) -> Sequences:
    keep_N = sequences.lengths_N.new_zeros(len(sequences))
    keep_N[users_N] = sequences.lengths_N[users_N]
    return first_events(sequences, keep_N)


def _last_events(corpus: Corpus, users_N: Tensor, most: int = 1) -> Targets:
    users_N = users_N.sort().values
    count_N = (corpus.sequences.lengths_N[users_N] - 1).clamp(min=0, max=most)
    return targets_at(corpus, events_before(corpus.sequences.offsets_N1[1:][users_N], count_N))
