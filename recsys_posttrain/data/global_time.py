"""A split by one moment for everybody: nothing that is trained on happens after a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys_posttrain.config import require
from recsys_posttrain.data.split import check_shares, first_events, targets_at
from recsys_posttrain.errors import UserError
from recsys_posttrain.seeding import derived_seed

if TYPE_CHECKING:
    from torch import Tensor

    from recsys_posttrain.types import Corpus, Split, Targets


@dataclass(frozen=True)
class GlobalTime:
    """Leakage-free: cut at two moments, train before the first.

    Later events of users with at least `minimum_history` earlier ones are targets: of validation up
    to the second cut, of the test from there on. A history holds all that its user did before the
    target, after a cut too, ties in file order: the policy knows no user ids, so it can read what
    it was not trained on. One leak stays: items are filtered by their number of ratings over the
    whole time.

    train, validation, test: shares of the events; those in the second of a cut come after it.
    targets_per_user: at most so many in each of the two parts, drawn at random with `seed`; None:
    all. Many users come for one sitting of hundreds, which cost much and add little: with a SASRec
    of 150 steps and length 50 on ML-1M, all 99,805 test targets (36 million past events) took 49 s
    and the 10,806 of the default 2 s, for a standard error of NDCG@10 of .0010 and .0017.
    minimum_item_ratings: the fewest ratings with which `prepare` keeps an item in the corpus.
    """

    train: float = 0.8
    validation: float = 0.1
    test: float = 0.1
    minimum_history: int = 5
    targets_per_user: int | None = 10
    seed: int = 0
    minimum_item_ratings: int = 5

    def __post_init__(self) -> None:
        require(
            self.minimum_history >= 1,
            f"GlobalTime: minimum_history={self.minimum_history} must be at least 1.",
        )
        require(
            self.targets_per_user is None or self.targets_per_user >= 1,
            f"GlobalTime: targets_per_user={self.targets_per_user} must be at least 1, or none.",
        )

    @property
    def label(self) -> str:
        cap = self.targets_per_user
        targets = "all later targets" if cap is None else f"at most {cap} targets per user"
        shares = f"{self.train:g}/{self.validation:g}/{self.test:g}"
        return f"global time ({shares} of the events, {targets})"

    def split(self, corpus: Corpus) -> Split:
        """Split all events by time.

        Raises: UserError: the shares do not sum to 1; nothing is before the first cut; a part has
        no event of a user with enough earlier ones.
        """
        import torch

        from recsys_posttrain.types import Split

        check_shares(self, "train", "validation", "test")
        sequences = corpus.sequences
        time_E, events = corpus.times_E, len(corpus.times_E)  # exact: seconds may tie
        places = [round(events * share) for share in (self.train, self.train + self.validation)]
        first_cut, second_cut = time_E.sort().values[torch.tensor(places).clamp(max=events - 1)]
        user_E = torch.repeat_interleave(sequences.lengths_N)
        is_train_E = time_E < first_cut
        if not bool(is_train_E.any()):
            raise UserError(
                f"{corpus.name} cannot be split by time: no event is earlier than the first cut "
                f"(second {int(first_cut) / corpus.ticks_per_second:.10g}); give a larger train "
                "share or data with other times."
            )
        train = first_events(
            sequences, torch.bincount(user_E[is_train_E], minlength=len(sequences))
        )

        has_history_E = torch.arange(events) - sequences.offsets_N1[user_E] >= self.minimum_history

        def targets(part: str, is_part_E: Tensor) -> Targets:
            event_N = (is_part_E & has_history_E).nonzero().squeeze(1)
            if not len(event_N):
                raise UserError(
                    f"{corpus.name} cannot be split by time: nobody has {self.minimum_history} "
                    f"events before one in the {part} part; lower minimum_history or give data "
                    "with longer histories."
                )
            if self.targets_per_user is not None:
                seed = derived_seed(self.seed, "global time", part)
                event_N = _at_most(self.targets_per_user, event_N, user_E[event_N], seed)
            return targets_at(corpus, event_N)

        return Split(
            corpus=corpus,
            train=train,
            validation=targets("validation", ~is_train_E & (time_E < second_cut)),
            test=targets("test", time_E >= second_cut),
            reward=train,
        )


def _at_most(count: int, event_N: Tensor, user_N: Tensor, seed: int) -> Tensor:
    """A random `count` of each user's events, or all of them where there are no more; in order."""
    import torch

    shuffled_N = torch.randperm(len(event_N), generator=torch.Generator().manual_seed(seed))
    grouped_N = shuffled_N[user_N[shuffled_N].argsort(stable=True)]
    owner_N = user_N[grouped_N]
    place_N = torch.arange(len(event_N)) - torch.searchsorted(owner_N, owner_N)
    return event_N[grouped_N[place_N < count].sort().values]
