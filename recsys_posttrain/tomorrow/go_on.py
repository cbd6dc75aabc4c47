"""A saved policy, its newest events and a method: the continued policy, and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from recsys_posttrain.algorithms.base import Algorithm, reads_rewards
from recsys_posttrain.algorithms.bc import BC
from recsys_posttrain.config import require, require_kind
from recsys_posttrain.data.newest import Newest
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.evaluation.subsets import BySignal
from recsys_posttrain.fitted import Fitted
from recsys_posttrain.models.checkpoint import SavedPolicy
from recsys_posttrain.models.new_items import with_own_vectors
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.plan import Training
from recsys_posttrain.report.table import Table, comparison_table
from recsys_posttrain.rewards.control import ConstantReward
from recsys_posttrain.serve import load_policy
from recsys_posttrain.stats.columns import Column
from recsys_posttrain.tomorrow.logs import Log, Logs, source_of
from recsys_posttrain.tomorrow.reads import reads_model
from recsys_posttrain.training.posttrain import POSTTRAINING, posttrain
from recsys_posttrain.training.replay import Replayed

SAVED, CONTINUED = "saved policy", "continued"


@dataclass(frozen=True)
class Continuation:
    """How a policy goes on. replay: the share of the loss that is on events of the past.

    own_vectors: titles that stand on their features alone and now have events get vectors of their
        own, which start where the features put them (models/features.py)."""

    algorithm: Algorithm = BC()
    posttraining: Training = POSTTRAINING
    replay: float = 0.5
    seed: int = 0
    own_vectors: bool = True

    def __post_init__(self) -> None:
        require_kind("algorithm", self.algorithm, "loss", "give one such as rp.ASFT()")
        require(
            0 <= self.replay < 1,
            f"replay={self.replay} must be a share from 0 (nothing of the past) to below 1.",
        )


class Continued(NamedTuple):
    """policy: the continued one. table: it and the saved policy, on new targets (gain) and old ones
    (forgetting). fitted: how long it was trained, and what its guard says. data: what it was
    trained on; `save_policy` takes its `data`. record: what was done and reached, as JSON."""

    policy: Policy
    table: Table
    fitted: Fitted
    data: Newest
    record: dict[str, Any]


def posttrain_from(
    policy: str | Path | SavedPolicy,
    log: Log,
    algorithm: Algorithm = BC(),
    reward: RewardModel | None = None,
    training: Training = POSTTRAINING,
    *,
    replay: float = 0.5,
    past: Log | None = None,
    judge: RewardModel | None = None,
    seed: int = 0,
    device: str = "cpu",
    columns: Mapping[str, str] = MappingProxyType({}),
    own_vectors: bool = True,
    devices: int = 1,
) -> Continued:
    """A saved policy, post-trained further on the events of a log that are newer than its own.

    policy: of `load_policy`, or its folder. log: a file, a data frame or a dataset; it may hold old
    events too. reward: None, where the method reads no reward model. replay: the share of the loss
    that is on the past. past: the log that the policy was trained on; None: where that was.
    judge, devices: as for `posttrain`. columns: of data frames. own_vectors: titles that stand on
    their features alone and now have events get vectors of their own, which start there.

    Raises: UserError where the log has nothing new that the policy knows, or the method reads a
    reward model and there is none.
    """
    saved = policy if isinstance(policy, SavedPolicy) else load_policy(policy)
    how = Continuation(algorithm, training, replay, seed, own_vectors)
    check_models(how, saved, reward, judge)
    before = None if past is None else source_of(saved, past, columns)
    logs = Logs(saved, source_of(saved, log, columns), before)
    return go_on(
        saved, how, logs.newest(replay, seed), reward, judge, device=device, devices=devices
    )


def check_models(
    how: Continuation, saved: SavedPolicy, reward: RewardModel | None, judge: RewardModel | None
) -> None:
    """Raises: UserError where the method reads what is not there."""
    name = type(how.algorithm).__name__
    missing = saved.reward_scale.missing
    require(
        not missing or not reads_rewards(how.algorithm),
        f"{name} reads rewards, and the log of the policy has none: {missing}; take a method that "
        "reads none, such as BC.",
    )
    require(
        reward is not None or not reads_model(how.algorithm, saved.policy),
        f"{name} reads a reward model, and there is none: give one with --reward FOLDER (in "
        "Python reward=...), or take a method that reads none, such as BC.",
    )
    gap = how.posttraining.guard.gap
    require(
        gap is None or None not in (reward, judge),
        f"posttraining.guard.gap={gap} is between a reward model and a judge: give the folders of "
        "both, with --reward and --judge (in Python reward=..., judge=...), or guard.kl instead.",
    )


def go_on(
    saved: SavedPolicy,
    how: Continuation,
    data: Newest,
    reward: RewardModel | None = None,
    judge: RewardModel | None = None,
    folder: Path | None = None,
    device: str = "cpu",
    devices: int = 1,
) -> Continued:
    """folder, devices: as for `posttrain`."""
    split, scale = data.data, data.data.corpus.reward_scale
    require(
        not scale.missing or not reads_rewards(how.algorithm),
        f"{type(how.algorithm).__name__} reads rewards, and {split.corpus.name} has none: "
        f"{scale.missing}; take a method that reads none, such as BC.",
    )
    if reward is None:  # which the method does not read
        mean = float(split.train.rewards_E.mean())
        reward = ConstantReward(mean, split.corpus.num_items, saved.policy.max_length)
    learning_E = split.train.items_E if how.own_vectors else split.train.items_E[:0]
    start, owned = with_own_vectors(saved.policy, learning_E)
    policy, fitted = posttrain(
        start,
        split,
        Replayed(how.algorithm, how.replay),
        reward,
        how.posttraining,
        how.seed,
        folder,
        device,
        judge=judge,
        devices=devices,
    )
    parts = {"new": split.test} | ({} if data.old is None else {"old": data.old})
    rows = pd.concat(
        [
            evaluate(ranker, split, None, saved.policy, targets=targets).per_user.assign(
                method=name, seed=0, **{each: float(each == part) for each in parts}
            )
            for name, ranker in ((SAVED, saved.policy), (CONTINUED, policy.cpu()))
            for part, targets in parts.items()
        ],
        ignore_index=True,
    )
    columns = [
        Column(metric, part, metric.lower(), BySignal(part))
        for metric in ("NDCG@10", "HR@10")
        for part in parts
    ]
    table = comparison_table(
        rows, num_items=split.corpus.num_items, control=SAVED, columns=columns, scale=scale
    )
    counts = {part: len(targets.items_N) for part, targets in parts.items()}
    table = replace(table, caption=_caption(counts))
    kl_N = rows["kl"][(rows["method"] == CONTINUED) & (rows["new"] == 1)]
    record = {
        "new_events": data.new_events,
        "old_events": data.old_events,
        "new_targets": counts["new"],
        "old_targets": counts.get("old", 0),
        "replay": how.replay,
        "kl": float(kl_N.mean()),
        "titles_with_new_vectors": owned,
        **fitted.record,
    }
    return Continued(policy, table, fitted, data, record)


def _caption(counts: Mapping[str, int]) -> str:
    text = (
        f"new: {counts['new']:,} of the last events of the log, by time, on which neither learned"
    )
    if "old" in counts:
        text += (
            f"; old: {counts['old']:,} last events of users before the new ones, which were not "
            "replayed, though the saved policy may have learned from them"
        )
    return (
        f"{text}. Mean ± half of the 95% interval; † differs from the saved policy (p ≤ .05): "
        "bootstrap of users, paired. Second block: what was gained on new targets, and forgotten, "
        "where it is negative, on old ones."
    )
