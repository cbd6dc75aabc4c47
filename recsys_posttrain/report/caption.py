"""The caption of a comparison table: all that is needed to read and repeat it."""

from dataclasses import dataclass

import pandas as pd

from recsys_posttrain.evaluation.subsets import BySignal
from recsys_posttrain.report.cells import counted
from recsys_posttrain.report.pairs import tests_text
from recsys_posttrain.report.study_folder import JUDGED_BY
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats.bootstrap import FEW_USERS
from recsys_posttrain.stats.columns import Column
from recsys_posttrain.stats.comparison import Comparison


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from, for the caption; empty parts are left out."""

    dataset: str = ""
    split: str = ""
    steps: str = ""
    tuning: str = ""
    commit: str = ""
    command: str = ""
    left_out: str = ""  # methods without a row, and why
    seeds: str = ""  # what they are of
    sums: str = ""  # of training, over a large catalogue, that were estimated
    pairs: str = ""  # the share that counts, of methods that learn from pairs
    chosen: str = ""  # the methods asked for, where these are not all of the study


def variance_sentence(variance: pd.DataFrame, control: str) -> str:
    """Of the control in the column that policies are judged by first."""
    of_control = variance[variance["method"] == control].set_index("column")
    shown = [name for name in (*JUDGED_BY, *of_control.index) if name in of_control.index]
    if not shown:
        return ""
    shares = of_control.loc[shown[0], ["share_users", "share_seeds", "share_rest"]]
    users, seeds, rest = (f"{float(share):.0%}" for share in shares)
    return (
        f"Variance of {control}'s mean in {shown[0]}: users {users}, seeds {seeds}, both together "
        f"{rest} (variance.csv has all)."
    )


def caption_of(
    comparison: Comparison,
    columns: tuple[Column, ...],
    control: str,
    relative: bool,
    provenance: Provenance,
    scale: RewardScale,
) -> str:
    seeds, shown = comparison.seeds, {column.name for column in columns}
    source = [
        ", ".join(part for part in (provenance.dataset, provenance.split) if part),
        counted(comparison.num_users, "user"),
        counted(comparison.num_targets, "target"),
        (f"{len(seeds)} seeds: " if comparison.over_seeds else "seed ")
        + ", ".join(map(str, seeds))
        + (f" {provenance.seeds}" if provenance.seeds else ""),
        f"{provenance.steps} post-training steps" if provenance.steps else "",
        provenance.sums,
        provenance.pairs,
        f"tuning budget: {provenance.tuning}" if provenance.tuning else "",
        f"chosen: {provenance.chosen}" if provenance.chosen else "",
        f"left out: {provenance.left_out}" if provenance.left_out else "",
        f"commit {provenance.commit}" if provenance.commit else "",
        f"command: {provenance.command}" if provenance.command else "",
    ]
    sentences = ["; ".join(part for part in source if part) + "."]
    sentences.append(
        "Mean ± half of the 95% interval (bootstrap of users"
        + (", a t distribution over seeds)." if comparison.over_seeds else ").")
    )
    if few := ", ".join(f"{n} ({size})" for n, size in comparison.few.items() if n in shown):
        sentences.append(
            f"Where fewer than {FEW_USERS} users count, a t distribution over users, with one "
            f"degree of freedom less, in place of the bootstrap: {few}."
        )
    if not comparison.over_seeds:
        sentences.append(
            "With one seed no interval over seeds is possible: intervals and tests are over users "
            "alone, and another seed may differ by more."
        )
    if comparison.num_targets > comparison.num_users:
        sentences.append("Means are over targets; the targets of a user are drawn together.")
    if comparison.single_run:
        sentences.append(f"One run stands for all seeds: {', '.join(comparison.single_run)}.")
    sentences.append(
        f"Second block: {'change in percent of' if relative else 'minus'} {control}, paired on the "
        "same users and seeds."
    )
    sentences.append("↑ higher is better, ↓ lower is better.")
    plain = [c.name for c in columns if not (c.bold or isinstance(c.subset, BySignal))]
    sentences.append(
        "Bold: best of the column, every row is eligible"
        + (f" (not used for {', '.join(plain)}: a useless ranker can win these)." if plain else ".")
    )
    sentences.append(f"† differs from {control} (p ≤ .05, {tests_text(comparison)}).")
    undefined = {
        name: count for name, count in comparison.undefined.items() if count and name in shown
    }
    if undefined:
        counts = ", ".join(
            f"{counted(count, 'target')} ({name})" for name, count in undefined.items()
        )
        sentences.append(f"Left out, because a method has no value there: {counts}.")
    sentences += _of_rewards(scale)
    if by_signal := [column.over for column in columns if isinstance(column.subset, BySignal)]:
        sentences.append(
            f"NDCG@10 {', '.join(by_signal)}: over all targets, each weighted by that signal."
        )
    nothing = {name: why for name, why in comparison.nothing.items() if name in shown}
    for why in dict.fromkeys(nothing.values()):
        names = ", ".join(name for name, each in nothing.items() if each == why)
        sentences.append(f"Nothing to show in {names}: {why}.")
    if any(column.of_lists for column in columns):
        lists = ", ".join(column.name for column in columns if column.of_lists)
        sentences.append(f"No interval or test for {lists} (mean over seeds).")
    return " ".join(sentences)


def _of_rewards(scale: RewardScale) -> list[str]:
    """Which targets count as what, and in what temperatures are given."""
    if scale.missing:
        return []
    shown = scale.shown
    above = f" above {shown(scale.zero)}" if scale.zero else ""
    targets = (
        f"Targets: liked: reward ≥ {shown(scale.liked)}; top: ≥ {shown(scale.top)}; disliked: "
        f"≤ {shown(scale.disliked)}; weighted: by reward{above}."
    )
    stars = (
        f"Rewards are in the log's own unit; temperatures count in stars of {shown(scale.unit)}."
    )
    return [targets] if scale.is_stars else [targets, stars]
