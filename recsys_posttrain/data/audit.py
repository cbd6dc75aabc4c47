"""The facts about a dataset that decide what an experiment on it can show."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from recsys_posttrain.data.signals import SIGNAL, own_unit
from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    from recsys_posttrain.types import Corpus

HOUR = 3600  # seconds
MOST = 20  # numbers in a line
LENGTH_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)


def audit(corpus: Corpus) -> dict[str, float]:
    """Size, reward and time figures of a corpus.

    Prepare it with minimum_item_ratings=1 to audit the dataset itself.

    `density` is the share of pairs (user, item) that the log has. `repeated` is the share of events
    on an item that their user had before. Ties: `tied_with_previous` is the share of events that
    carry the same time as their user's event before (their order is the file's, not time's);
    `shares_time` is the share that carry the same time as any other event of their user.
    `users_within_an_hour` is the share of users whose first and last event are at most 3600 s
    apart. `last_event_liked` is the share of users whose last event has at least the reward that
    counts as liked, which is `liked`; neither these nor ratings where the log has no rewards.
    `train_after_test` is the share of pairs (leave-one-out training event of any user, test
    target of any user) in which the training event is strictly later: what a model trained on
    that split knows of the target's future; NaN when nobody has 3 events. `rating/R` counts the
    events of reward R, and `length/q` is the q-quantile of events per user.
    """
    import numpy as np

    from recsys_posttrain.data.repeats import repeated_share

    # In ticks, so that times in one second are told apart.
    sequences = replace(corpus.sequences, timestamps_E=corpus.times_E)
    lengths_N = sequences.lengths_N.numpy()
    first_N, last_N = sequences.offsets_N1[:-1].numpy(), sequences.offsets_N1[1:].numpy() - 1
    scale, timestamp_E = corpus.reward_scale, sequences.timestamps_E.numpy()
    reward_E = scale.from_stars(sequences.rewards_E.double().numpy())

    tied_E = np.zeros(len(timestamp_E) + 1, dtype=bool)
    tied_E[1:-1] = np.diff(timestamp_E) == 0
    tied_E[first_N] = False  # a first event has no event of the same user before it
    tied_with_previous_E, tied_with_next_E = tied_E[:-1], tied_E[1:]

    lasted_N = timestamp_E[last_N] - timestamp_E[first_N]
    repeated = repeated_share(sequences)
    figures = {
        "rows": float(len(reward_E)),
        "users": float(len(lengths_N)),
        "items": float(corpus.num_items),
        "density": len(reward_E) * (1 - repeated) / (len(lengths_N) * corpus.num_items),
        "repeated": repeated,
        "tied_with_previous": float(tied_with_previous_E.mean()),
        "shares_time": float((tied_with_previous_E | tied_with_next_E).mean()),
        "users_within_an_hour": float((lasted_N <= HOUR * corpus.ticks_per_second).mean()),
        "train_after_test": _train_after_test(replace(corpus, sequences=sequences)),
    }
    if not scale.missing:
        figures["liked"] = scale.liked
        figures["last_event_liked"] = float((reward_E[last_N] >= scale.liked).mean())
        rewards, counts = np.unique(reward_E, return_counts=True)
        figures |= {f"rating/{r:g}": float(n) for r, n in zip(rewards, counts, strict=True)}
    quantiles = np.quantile(lengths_N, LENGTH_QUANTILES)
    return figures | {
        f"length/{q:g}": float(n) for q, n in zip(LENGTH_QUANTILES, quantiles, strict=True)
    }


def _train_after_test(corpus: Corpus) -> float:
    import numpy as np

    from recsys_posttrain.data.split import LeaveOneOut

    try:
        # Times are compared here: what could be shown does not matter.
        split = LeaveOneOut(minimum_item_ratings=1).split(replace(corpus, repeats="allowed"))
    except UserError:
        return float("nan")
    train_E = np.sort(split.train.timestamps_E.numpy())
    target_position_N = corpus.sequences.offsets_N1[1:][split.test.users_N] - 1
    target_N = corpus.sequences.timestamps_E[target_position_N].numpy()
    later_N = len(train_E) - np.searchsorted(train_E, target_N, side="right")
    return float(later_N.mean() / len(train_E))


def audit_lines(name: str, figures: dict[str, float]) -> list[str]:
    """The figures of `audit` as lines of text, one fact each."""
    share = {key: f"{value:.1%}" for key, value in figures.items()}
    ratings, last = [], []
    if "liked" in figures:
        counts = ", ".join(f"{n} of {r}" for r, n in _histogram(figures, "rating/"))
        ratings = [f"ratings: {counts}"]
        last = [
            f"{share['last_event_liked']} of users' last events are rated {figures['liked']:g} or "
            "more: likelihood and reward are different goals"
        ]
    lengths = ", ".join(f"{q}: {n}" for q, n in _histogram(figures, "length/"))
    return [
        f"{name}: {figures['rows']:,.0f} events, {figures['users']:,.0f} users, "
        f"{figures['items']:,.0f} items, density {figures['density']:.2%}",
        *ratings,
        f"events per user, by quantile: {lengths}",
        f"{share['tied_with_previous']} of events carry the same time as the user's event "
        f"before ({share['shares_time']} as any other of the user): file order breaks the tie",
        f"{share['repeated']} of choices repeat an item that the user had before",
        f"{share['users_within_an_hour']} of users rated everything within an hour",
        *last,
        f"{share['train_after_test']} of leave-one-out training events happen after the tested "
        "target (over all pairs): prefer a split by time for claims about the future",
    ]


def rewards_line(corpus: Corpus) -> str:
    """How the rewards of a corpus are understood."""
    scale = corpus.reward_scale
    return scale.line(scale.from_stars(corpus.sequences.rewards_E.double().numpy()))


def signal_lines(corpus: Corpus) -> list[str]:
    """The range of each signal, and of how many events it is not 0."""
    if corpus.sequences.signals is None:
        return []
    own = own_unit(corpus.sequences.signals, corpus.signal_scales)
    return [
        f"signal {name.removeprefix(SIGNAL)}: {each.min():.4g} to {each.max():.4g}, mean "
        f"{each.mean():.4g}, not 0 in {(each != 0).mean():.1%} of events"
        for name, each in own.items()
    ]


def _histogram(figures: dict[str, float], kind: str) -> list[tuple[str, str]]:
    """One a person can read: continuous rewards would fill the screen."""
    found = [(key.removeprefix(kind), n) for key, n in figures.items() if key.startswith(kind)]
    if len(found) > MOST:
        found[MOST - 1 :] = [("other values", sum(n for _, n in found[MOST - 1 :]))]
    return [(name, f"{n:,.0f}") for name, n in found]
