"""Evaluation of a ranker on held-out targets: one row of metrics per target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.config import require, require_kinds
from recsys_posttrain.data.encode import encode, encoder
from recsys_posttrain.data.repeats import excluded_for, had_before, removed_for
from recsys_posttrain.data.signals import own_unit
from recsys_posttrain.errors import did_you_mean, nearest
from recsys_posttrain.evaluation.metrics import CUTOFF_LENGTH, LIST_LENGTH, LISTS, per_user_frame
from recsys_posttrain.evaluation.off_policy import off_policy_columns
from recsys_posttrain.evaluation.ranking import ranks_and_lists
from recsys_posttrain.evaluation.reference import scores_of
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.models.reward_model import RewardModel, score_next
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.rewards.renumbered import in_numbering
from recsys_posttrain.types import Split, Targets


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The metrics of one ranker.

    per_user: one row per target (a user may have several), rewards in the log's own unit;
        `metrics.per_user_frame` has the columns. Items of lists are 1..V.
    num_items: V, for coverage.
    reward_scale: of the data.
    item_ids: of the items 1..V.
    """

    per_user: pd.DataFrame
    num_items: int
    reward_scale: RewardScale
    item_ids: np.ndarray

    @property
    def per_target(self) -> pd.DataFrame:
        """`per_user` with the ids of the log in its lists too: best first, without empty places."""
        lists = {name: self.per_user[name] for name in LISTS if name in self.per_user}
        ids = self.item_ids
        named = {name: [ids[row[row > 0] - 1].tolist() for row in lists[name]] for name in lists}
        return self.per_user.assign(**named)

    def __repr__(self) -> str:
        mean, count = f"{self.mean():.4f}".lstrip("0"), len(self.per_user)
        return f"Evaluation({count:,} targets, {self.num_items:,} items, NDCG@10 {mean})"

    def mean(self, metric: str = "ndcg@10") -> float:
        """The mean of a metric over targets."""
        close = did_you_mean(nearest(metric, self.per_user.columns.astype(str)))
        require(metric in self.per_user, f"there is no metric {metric!r}{close}.")
        return float(self.per_user[metric].mean())


def evaluate(
    ranker: Ranker,
    data: Split,
    reward: RewardModel | None = None,
    reference: Policy | None = None,
    *,
    targets: Targets | None = None,
    judge: RewardModel | None = None,
) -> Evaluation:
    """The metrics of a ranker (a policy, or a method without training), by full ranking of every
    target, over the items that may be shown to its user then.

    Items are matched by id (data/encode.py): data, reward, judge and reference may number them
    otherwise than the ranker. Events and targets on items that it does not know are left out.

    reward: adds `reward/proxy@10`, its mean prediction for the ten items shown.
    reference: adds `kl`, the exact KL(softmax of the ranker's logits || reference) after each
        history, and `entropy`, both in nats and over the eligible items; NaN where none is.
    targets: None: data.test.
    judge: adds `reward/judge@10`, the mean prediction of a model that no training has read.

    Where the log has propensities: adds the columns of off_policy.py, those of a model by `reward`.
    Where it has signals: `signal/NAME`, that of the target, in the log's own unit.

    Raises: UserError where a model does not know an item, a score is not finite, or a target is in
    its own history although the log does not repeat items.
    """
    others = {"reward": reward, "reference": reference, "targets": targets, "judge": judge}
    require_kinds(others, ranker=ranker, data=data)
    targets, ids = data.test if targets is None else targets, ranker.item_ids
    if ids is not None and (found := encoder(data.corpus, ids, len(ids))) is not None:
        data, targets = encode(data, ids), found.targets(targets)
    scores = ranker.scores(targets.history, targets.times_N, targets.users_N)
    if ids is None:
        encoder(data.corpus, None, len(scores[1]))  # refuses another number of items
    reward, judge = (each and in_numbering(each, ids) for each in (reward, judge))
    frame = _frame(*scores, data, targets, reward, judge)
    corpus = data.corpus
    if targets.propensities_N is not None and not corpus.reward_scale.missing:
        columns = off_policy_columns(*scores, targets, corpus, reward)
        frame = frame.assign(**columns)
    if targets.signals is not None:
        frame = frame.assign(**own_unit(targets.signals, corpus.signal_scales))
    if reference is not None:
        of_reference = scores_of(reference, ids, targets)
        kl_N2 = ops.kl_and_entropy(*scores, *of_reference, excluded=excluded_for(targets))
        frame["kl"], frame["entropy"] = kl_N2.double().cpu().numpy().T
    return Evaluation(frame, corpus.num_items, corpus.reward_scale, corpus.item_ids)


def _frame(
    state_NR: Tensor,
    factor_VR: Tensor,
    data: Split,
    targets: Targets,
    reward: RewardModel | None,
    judge: RewardModel | None,
) -> pd.DataFrame:
    """The rows of `Evaluation.per_user`, from a ranker's scores."""
    if targets.repeats == "never":
        seen = int(had_before(targets.history, targets.items_N).sum())
        require(
            not seen,
            f"{seen:,} of {len(targets.items_N):,} targets are of items that their users had "
            'before, which repeats="never" does not show: leave them out, or give the targets '
            'repeats="allowed".',
        )
    rank_N, lists_NK, _ = ranks_and_lists(
        *(state_NR, factor_VR, targets.items_N),
        min(CUTOFF_LENGTH, len(factor_VR)),
        removed_for(targets),
    )
    top_NK = lists_NK[:, :LIST_LENGTH]
    users_N, scale = targets.users_N.numpy(), data.corpus.reward_scale
    reward_E = scale.from_stars(data.train.rewards_E.double().numpy())
    total_reward_U = np.add.reduceat(
        np.append(reward_E, 0.0), data.train.offsets_N1[:-1].numpy()
    ) * (data.train.lengths_N.numpy() > 0)
    frame = per_user_frame(
        rank_N.numpy(),
        lists_NK.numpy(),
        user_id=data.corpus.user_ids[users_N],
        item_id=data.corpus.item_ids[targets.items_N.numpy() - 1],
        reward_N=scale.from_stars(targets.rewards_N.double().numpy()),
        total_reward_N=total_reward_U[users_N],
        count_V=torch.bincount(data.train.items_E - 1, minlength=len(factor_VR)).numpy(),
        proxy_reward_N=None if reward is None else shown_reward(reward, targets, top_NK, scale),
    )
    if judge is not None:
        frame[f"reward/judge@{LIST_LENGTH}"] = shown_reward(judge, targets, top_NK, scale)
    return frame


def shown_reward(
    model: RewardModel, targets: Targets, top_NK: Tensor, scale: RewardScale
) -> np.ndarray:
    """The model's mean prediction for the items shown, [N], in the log's unit; NaN where no item
    is shown."""
    shown_NK = top_NK.clamp(min=1)
    score_NK = score_next(model, targets.history, shown_NK, targets.times_N, targets.users_N)
    is_shown_NK = top_NK > 0
    mean_N = torch.where(is_shown_NK, score_NK, 0).sum(dim=1) / is_shown_NK.sum(dim=1)
    return np.asarray(scale.from_stars(mean_N.double().numpy()))
