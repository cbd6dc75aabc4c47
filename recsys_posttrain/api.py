"""The functions of the Python interface that no stage needs: load data, compare results, and judge
a policy from a log of another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import torch

from recsys_posttrain.config import require, require_kind, require_kinds
from recsys_posttrain.data import Dataset, LeaveOneOut, SplitConfig, prepare
from recsys_posttrain.data.available import with_windows
from recsys_posttrain.data.encode import LeftOut, as_text, encoder, numbers, some
from recsys_posttrain.data.joined import Loaded
from recsys_posttrain.data.never_shown import with_never_shown
from recsys_posttrain.data.notes import note
from recsys_posttrain.data.prepare import corpus_of
from recsys_posttrain.data.regions import windows_for
from recsys_posttrain.data.split import targets_at
from recsys_posttrain.data.table_file import interactions_of
from recsys_posttrain.eligibility import Catalogue
from recsys_posttrain.evaluation.evaluate import Evaluation, evaluate
from recsys_posttrain.evaluation.off_policy import ESTIMATORS, probability_of_target
from recsys_posttrain.evaluation.support import Support, support
from recsys_posttrain.models.checkpoint import SavedPolicy
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.report.table import Table, comparison_table
from recsys_posttrain.reward_scale import RewardScale, Thresholds
from recsys_posttrain.stats.bootstrap import bootstrap, interval
from recsys_posttrain.types import Corpus, Repeats, Split, Targets
from recsys_posttrain.worlds.catalog import dataset_named


def load(
    dataset: str | Path | pd.DataFrame | Dataset,
    data_root: str | None = None,
    split: SplitConfig = LeaveOneOut(),
    repeats: Repeats | None = None,
    thresholds: Thresholds = Thresholds(),
    catalogue: Catalogue = "eligible",
    columns: Mapping[str, str] = MappingProxyType({}),
    never_shown: Sequence[str | int] = (),
    available: str | Path = "",
) -> Split:
    """The data, split: of a named dataset ("ml-100k", "ml-1m", "jester", "semi-ml-1m", ...), a .csv
    or .parquet file, a data frame with one row per event, or a dataset or world itself, such as
    `Jester(users=2000)`.

    data_root: of a named one: a folder or zip that holds the ratings; otherwise they are downloaded
    once. columns: of a data frame: by our name (user_id, item_id, rating, timestamp, propensity,
    region), that of the frame, such as {"rating": "watch_time"}; usual names need none. thresholds:
    where its rewards count as liked, top and disliked, in place of those that its scale says
    (`data.corpus.reward_scale`). repeats: whether users choose items again, which decides what may
    be shown; None: measured in the log. catalogue: "eligible", so that policies are a softmax over
    what may be shown, or "all". never_shown: ids of items that nobody is shown, and "@masked.txt"
    for those that a file holds, one a line. available: a table of item_id, from, until and region:
    when and where items may be shown.
    """
    require_kinds(split=split, thresholds=thresholds)
    require_kind("columns", columns, "items", 'give a dict such as {"rating": "watch_time"}')
    if isinstance(dataset, pd.DataFrame):
        source: Dataset = Loaded(interactions_of(dataset, columns))
    else:
        require(
            not columns,
            f"columns={dict(columns)} is for a data frame: pd.read_csv or pd.read_parquet gives "
            "one, or rename the columns of the file.",
        )
        if isinstance(dataset, str | Path):
            dataset = dataset_named(str(dataset), data_root)
        words = "give a data frame, the name of a dataset, a path, or a dataset such as rp.Jester()"
        require_kind("dataset", dataset, "content_hash", words)
        source = dataset
    minimum = split.minimum_item_ratings
    corpus = prepare(source, minimum, repeats=repeats, thresholds=thresholds)
    corpus = with_windows(with_never_shown(corpus, never_shown), str(available))
    return split.split(replace(corpus, catalogue=catalogue))


def compare(
    results: Mapping[str, Evaluation], control: str, relative_to: str | None = None
) -> Table:
    """The table of named evaluations of the same targets, one seed each; see `comparison_table`."""
    require_kind("results", results, "items", 'give a dict such as {"BC": rp.evaluate(...), ...}')
    require(results, "results is empty: give a dict of at least one evaluation.")
    for name, result in results.items():
        require_kind(f"results[{name!r}]", result, "per_user", "give what rp.evaluate(...) returns")
    rows = [result.per_user.assign(method=name, seed=0) for name, result in results.items()]
    first = next(iter(results.values()))
    sizes = sorted({result.num_items for result in results.values()})
    require(
        len(sizes) == 1,
        f"the policies rank catalogues of {' and '.join(map(str, sizes))} items: compare those "
        "that were trained on the same data.",
    )
    return comparison_table(
        pd.concat(rows, ignore_index=True),
        num_items=first.num_items,
        control=control,
        relative_to=relative_to,
        scale=first.reward_scale,
    )


ESTIMATED = (
    "propensities are estimated, by a behaviour policy: what it gets wrong is in the estimates and "
    "in no interval"
)


@dataclass(frozen=True, eq=False)
class OffPolicy:
    """What a policy is worth by the log of another one.

    values: one row per estimator of evaluation/off_policy.py: value, low and high, the 95% interval
        over users. rows: one per target. support: how far they can be believed. is_estimated:
        whether the propensities are those of a behaviour policy, not of the log.
    """

    values: pd.DataFrame
    rows: pd.DataFrame
    support: Support
    is_estimated: bool = False

    def __str__(self) -> str:
        warning = self.support.warning
        lines = [self.values.to_string(float_format="{:.4g}".format), self.support.line]
        if self.is_estimated:
            lines.append(ESTIMATED)
        return "\n".join([*lines, f"not to be believed: {warning}"] if warning else lines)


def off_policy(
    policy: Ranker | SavedPolicy,
    frame: pd.DataFrame,
    columns: Mapping[str, str] | None = None,
    reward: RewardModel | None = None,
    scale: RewardScale | None = None,
    repeats: Repeats | None = None,
    behaviour: Ranker | None = None,
    never_shown: Sequence[str | int] = (),
    available: str | Path = "",
) -> OffPolicy:
    """The off-policy value of a policy, from a data frame with one row per logged choice: user_id,
    item_id, rating, timestamp, and propensity, the probability of that choice.

    Every event that has an earlier one of its user is a target. columns: by our name, that of the
    frame, such as {"rating": "watch_time"}; usual names need none. reward: of the same items; adds
    the estimators that need a model. scale: of the policy's own data, `data.corpus.reward_scale`,
    where its rewards are no stars; repeats, never_shown, available: as for `load`, what the policy
    may not show. One of `load_policy` brings all four with it. behaviour: for a frame without
    propensities, a policy that was pretrained on the choices of *other* users, whose probabilities
    stand in for them; the result says so.

    Raises: UserError where a column is missing or holds what it cannot, or no user has two events.
    """
    interactions = interactions_of(frame, columns or {})
    has_propensity = "propensity" in interactions.frame
    require(
        has_propensity or behaviour is not None,
        "the data frame has no column propensity: off-policy estimates need the probability with "
        'which each item was chosen; name it with columns={"propensity": ...}, or estimate it with '
        "behaviour=, a policy that was pretrained on the choices of other users.",
    )
    require(
        not (has_propensity and behaviour is not None),
        "the data frame has propensities, so that behaviour= is not needed: leave one of them out.",
    )
    saved, policy = (policy, policy.policy) if isinstance(policy, SavedPolicy) else (None, policy)
    corpus = corpus_of(interactions)
    if saved is not None:
        scale, repeats = scale or saved.reward_scale, repeats or saved.repeats
    if saved is not None or never_shown or available:
        corpus = _masked(corpus, policy.item_ids, saved, never_shown, str(available))
    scale = scale or RewardScale()
    rewards_E = scale.to_stars(corpus.sequences.rewards_E.numpy())
    sequences = replace(corpus.sequences, rewards_E=torch.from_numpy(rewards_E))
    corpus = replace(
        corpus, sequences=sequences, reward_scale=scale, repeats=repeats or corpus.repeats
    )
    is_first_E = torch.zeros(len(rewards_E), dtype=torch.bool)
    is_first_E[sequences.offsets_N1[:-1][sequences.lengths_N > 0]] = True
    targets = targets_at(corpus, (~is_first_E).nonzero().squeeze(1))
    if targets.masked:
        note(
            f"{corpus.name}: {targets.masked:,} of {int((~is_first_E).sum()):,} targets are left "
            "out: their item may not be shown then, or no other may; estimates that are not "
            "self-normalised are too high by about that share"
        )
    if behaviour is not None:
        targets = replace(targets, propensities_N=_estimated(behaviour, corpus, targets))
    data = Split(corpus, sequences, targets, targets, sequences)
    rows = evaluate(policy, data, reward, targets=targets).per_user
    names = [name for name in ESTIMATORS if name in rows]
    users = rows.groupby("user_id", sort=False)[names]
    mean_K, draws_RK = bootstrap(
        users.mean().to_numpy().T[:, None],
        weights_KN=users.size().to_numpy(np.float64),
        rng=np.random.default_rng(0),
    ).mean_and_draws
    found = [interval(mean, draws_R) for mean, draws_R in zip(mean_K, draws_RK.T, strict=True)]
    values = pd.DataFrame(found, index=[name.removeprefix("reward/") for name in names])
    result = OffPolicy(values, rows, support(rows), behaviour is not None)
    if result.support.warning:
        note(f"off-policy estimates are not to be believed: {result.support.warning}")
    return result


def _masked(
    corpus: Corpus,
    item_ids: np.ndarray | None,
    saved: SavedPolicy | None,
    never_shown: Sequence[str | int],
    available: str,
) -> Corpus:
    """In the numbering of the policy, which may know items that nobody chose here, with its mask or
    with what is given in its place."""
    found = None if item_ids is None else encoder(corpus, item_ids, len(item_ids))
    if found is not None:
        before, corpus = corpus, found.corpus(corpus)
        note(f"{corpus.name}: items are matched by id; {LeftOut().add(before, corpus)}")
    if saved is not None:
        # Those that are given below take the place of the policy's.
        windows = None if available else windows_for(corpus, saved.windows, "the policy")
        corpus = replace(corpus, never_shown_M=saved.never_shown_M, windows=windows)
    return with_windows(with_never_shown(corpus, never_shown), available)


def _estimated(behaviour: Ranker, corpus: Corpus, targets: Targets) -> torch.Tensor:
    """The propensities of targets, [N], by a behaviour policy that may number items otherwise.

    Raises: UserError for an item that it does not know, of which it cannot say a probability.
    """
    require_kind("behaviour", behaviour, "scores", "give a policy of rp.pretrain on other users")
    ids = corpus.item_ids if behaviour.item_ids is None else behaviour.item_ids
    found = encoder(corpus, ids, len(ids))
    asked = targets if found is None else found.targets(targets)
    number_V = numbers(ids, corpus.item_ids)[1:]
    unknown = corpus.item_ids[(number_V == 0).numpy()]
    require(
        len(unknown) == 0,
        f"behaviour does not know {len(unknown):,} of {corpus.num_items:,} items of the data frame "
        f"({some(as_text(unknown))}), so that their propensities cannot be estimated: leave their "
        "rows out, or pretrain it on a log that has them.",
    )
    scores = behaviour.scores(asked.history, asked.times_N, asked.users_N)
    return probability_of_target(*scores, asked)
