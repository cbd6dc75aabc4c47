"""Writes the findings of results.md and the table of the front page from committed results.

    python docs/findings_page.py

Each function is one finding: it checks its sentences and fills in the figures (findings.py). The
pages hold them between two marks; a test writes them again and finds no difference.
"""

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from findings import Refuted, Results, claim, is_method, plain, trained, with_interval

ROOT = Path(__file__).resolve().parents[1]
MARKS = "<!-- written by docs/findings_page.py -->", "<!-- end -->"
GOLD, LISTS = "reward gold", "reward gold@5"
TILT, REFERENCE, CONTROL = "Tilt", "Pretrained", "BC"


def tilt_leads(field: Results) -> str:
    frame = field.equal_kl
    own = frame["method"].map(is_method) & frame["gain"].notna() & (frame["column"] == GOLD)
    cells = frame[own]
    claim((cells["lead_high"] < 0).all(), "every trained method is below the tilt at every KL")
    at = field.gains(GOLD, 0.1)
    best = str(at.loc[trained(at.index), "gain"].idxmax())
    return (
        "**No trained method gains as much as the tilt at the same distance.** Expected true "
        f"reward in Jester, {cells['method'].nunique()} trained methods, five seeds: at KL .1 "
        f"`{TILT}` gains {with_interval(at.loc[TILT], 'gain')} stars, the best trained method, "
        f"`{best}`, {with_interval(at.loc[best], 'gain')}. All {len(cells)} leads that could be "
        "measured at five KLs are below 0, each with its 95% interval "
        f"([equal KL]({field.link}/equal_kl.md))."
    )


def one_list_for_everyone(field: Results) -> str:
    at = field.at()["mean"]
    names = trained(at.index)
    best, worst = str(at[names].idxmax()), str(at[names].idxmin())
    order = ["Oracle", "BestFixedList", "RewardArgmax", "ItemMean", TILT, best, REFERENCE]
    claim(at[order].is_monotonic_decreasing, f"lists of five: {' > '.join(order)}")
    marked = field.at()
    claim(not marked.loc[names, "significant"].any(), "no trained method differs from BC in lists")
    claim(
        marked.loc[["ItemMean", "RewardArgmax", TILT], "significant"].all(),
        "item mean, argmax and tilt differ from BC in lists",
    )
    value = {name: plain(at[name]) for name in order}
    return (
        f"**In lists of five, methods that train nothing are ahead of all that train.** Jester: "
        f"argmax of the reward model {value['RewardArgmax']}, item mean {value['ItemMean']}, "
        f"`{TILT}` {value[TILT]}, the best trained method (`{best}`) {value[best]}, the pretrained "
        f"policy {value[REFERENCE]}, the worst trained one (`{worst}`) {plain(at[worst])}. The "
        "first three differ from BC after correction for all pairs, no trained method does. One "
        f"list for everyone could reach {value['BestFixedList']}, a list for each person "
        f"{value['Oracle']}, so what is missing is knowledge of people, which the reward model of "
        f"this log hardly has ([table]({field.link}/table.md))."
    )


def controls_hold(field: Results) -> str:
    at = field.at()
    given = [
        str(name)
        for name in at.index
        if str(name).endswith((", shuffled reward", ", constant reward"))
    ]
    claim(
        (at.loc[given, "difference_high"].dropna() > -1).all()
        and (at.loc[given, "difference_low"].dropna() <= 0).all(),
        "no method with uninformative rewards is above BC given the same",
    )
    true, best = at.loc["OnlineRL"], at.loc[trained(at.index), "mean"].max()
    claim(true["mean"] < best, "lists of the true reward are no better than those of the model")
    means = field.rows[field.rows["place"] == ""].groupby("method")["reward/gold"].mean()
    gain = means - means[REFERENCE]
    owed = {
        name: gain[f"{name}, shuffled reward"]
        for name in trained(means.index)
        if gain.get(f"{name}, shuffled reward", 0.0) > 0.01
    }
    claim(set(owed) == {"SA2C"}, "of shuffled rewards SA2C alone gains expected reward")
    return (
        "**What methods gain they owe to the rewards, with one exception.** With shuffled or "
        f"constant rewards none of {len(given) - 2} rows is above BC given the same. In expected "
        f"reward `SA2C` gains {plain(gain['SA2C'], '+.3f')}, and "
        f"{plain(owed['SA2C'], '+.3f')} with shuffled rewards: nearly all of it is not the "
        "rewards' doing. With the *true* reward, drawn fresh in every step, lists are worth "
        f"{plain(true['mean'])}, no more than with the model's: what such a training does to a "
        f"policy holds lists back too ([table]({field.link}/table.md))."
    )


def lists_and_expectations(field: Results) -> str:
    rows = field.rows[field.rows["place"] == ""]
    means = rows.groupby("method")[["reward/gold", "reward/gold@5", "kl"]].mean()
    means = means.loc[trained(means.index)]
    rank = means.corr("spearman").loc["reward/gold", "reward/gold@5"]
    of_kl = means.corr("spearman").loc["reward/gold", "kl"]
    first, second = means["reward/gold"].idxmax(), means["reward/gold@5"].idxmax()
    claim(first != second and rank < 0.5, "lists and expectations order methods differently")
    claim(of_kl > 0.9, "the gain in expectation follows the distance")
    spread = means.max() - means.min()
    return (
        "**Lists and expectations disagree.** Over the trained methods at their chosen strengths "
        f"expected reward differs by {plain(spread['reward/gold'])}, the value of a list by "
        f"{plain(spread['reward/gold@5'])}; their rank correlation is {plain(rank, '.2f')}. The "
        "first follows the distance from the pretrained policy (rank correlation with KL "
        f"{plain(of_kl, '.2f')}), so a table of expected reward at chosen strengths mostly says "
        f"who went furthest ([rows]({field.link}/rows.parquet))."
    )


def a_sft_and_exp_rsft(field: Results) -> str:
    pairs = field.pairs
    row: Any
    (row,) = pairs[
        (pairs["method"] == "ExpRSFT") & (pairs["other"] == "ASFT") & (pairs["place"] == "")
    ].itertuples()
    claim(row.p_holm > 0.05 and row.p_equal_holm <= 0.05, "ASFT and ExpRSFT count as equal")
    at, lists = field.gains(GOLD, 0.03)["gain"], field.at()["mean"]
    apart = lists[trained(lists.index)]
    claim(row.margin > apart.max() - apart.min(), "the margin is wider than all lie apart")
    return (
        "**A-SFT and Exp-RSFT are equal here.** In lists ExpRSFT is "
        f"{plain(row.difference, '+.3f')} [{plain(row.low, '+.3f')}, {plain(row.high, '+.3f')}] "
        f"ahead: not separated, and equal within {plain(row.margin, '.1f')} stars (p "
        f"{plain(row.p_equal_holm)}, corrected), a margin that is wider than all trained methods "
        f"lie apart. At KL .03 they gain {plain(at['ExpRSFT'], '+.4f')} and "
        f"{plain(at['ASFT'], '+.4f')} in expected reward ([pairs]({field.link}/pairs.csv))."
    )


ASK = ("ASFT", "ASFT(model)", "OfflinePPO", "DPO")  # trained methods that errors of the model reach


def who_should_choose(study: Results) -> str:
    frame = study.selection
    value = study.at().loc[REFERENCE, "mean"]
    with_errors = (frame["place"] == "model") & (frame["kind"] != "TruthShare")
    kept = frame[with_errors & frame["method"].isin(ASK)]
    claim(kept["kind"].nunique() == 8, "there are eight kinds of errors")
    gain = (kept["mean"] - value).groupby(kept["rule"])
    mean, low, count = gain.mean(), gain.min(), gain.size()
    own, half = "NDCG@10 liked", "judge, errors 0.5"
    claim(low[own] > -0.02 and low["judge"] > -0.001, "NDCG and a judge of no errors lose nothing")
    claim(mean["proxy"] < -0.03 and mean["dr"] < -0.02, "the own model and DR lose")
    claim(mean[half] < -0.05, "a judge with the model's errors does not protect")
    return (
        "**A candidate that does nothing, and a rule without the model's errors, protect.** Four "
        f"methods under eight kinds of errors in the reward model, {count[own]} cases in Jester, "
        "lists of five against the pretrained policy: chosen by NDCG of liked validation targets "
        f"they change by {plain(mean[own], '+.3f')} in the mean and {plain(low[own], '+.3f')} at "
        f"worst, by a judge without errors {plain(mean['judge'], '+.3f')} and "
        f"{plain(low['judge'], '+.3f')}, by the reward model itself "
        f"{plain(mean['proxy'], '+.3f')} and {plain(low['proxy'], '+.3f')}, by the doubly robust "
        f"estimate, which reads that model, {plain(mean['dr'], '+.3f')} and "
        f"{plain(low['dr'], '+.3f')}. A judge whose errors correlate by .5 with the model's gets "
        f"{plain(mean[half], '+.3f')} in its {count[half]} cases "
        f"([who should choose]({study.link}/selection.md))."
    )


def without_a_choice(study: Results) -> str:
    levels = (0.3, 0.6, 1.2, 2.4)
    at = [study.at(("model", "ItemBias", level)) for level in levels]
    argmax = [each.loc["RewardArgmax", "mean"] for each in at]
    reference = study.at().loc[REFERENCE, "mean"]
    claim(max(argmax) < reference, "under an item bias the argmax is below the pretrained policy")
    nothing = [set(each.index[each["strength"] == "do nothing"]) for each in at]
    claim(all({"ASFT(model)", "OfflinePPO", "DPO"} <= each for each in nothing), "they do nothing")
    fitted = study.at(("model", "Independent", 2.4))["mean"]
    claim(fitted["OfflinePPO"] > reference > fitted["RewardArgmax"] + 0.2, "a fit averages errors")
    return (
        "**Errors that belong to an item make doing nothing the best choice; errors that belong "
        "to one prediction average out in a fit.** From an item bias of .3 stars on, validation "
        f"chooses to leave the policy as it is ({plain(reference)}) for every method trained on "
        "the model's rewards, and the argmax of the model falls to "
        f"{', '.join(map(plain, argmax))} at {', '.join(f'{each:g}' for each in levels)} stars. "
        "Under independent errors of 2.4 stars for each person and item `OfflinePPO` still has "
        f"{plain(fitted['OfflinePPO'])} and the argmax {plain(fitted['RewardArgmax'])} "
        f"([table]({study.link}/table.md))."
    )


def a_better_model(study: Results) -> str:
    at = study.at(("model", "TruthShare", 0.5))
    clean = study.at()["mean"]
    names = [*ASK[1:], TILT, "RewardArgmax"]
    gain = at.loc[names, "mean"] - clean[names]
    claim(gain[[TILT, "RewardArgmax"]].min() > 0.2, "a better model helps who asks it at serving")
    claim(gain[list(ASK[1:])].abs().max() < 0.02, "and changes nothing for trained methods")
    moved = at["projected_truth"].iloc[0], study.at()["projected_truth"].max()
    return (
        "**A better reward model helps those who ask it while serving, not those who train on "
        "it.** With half of the truth mixed in, lists of the argmax go from "
        f"{plain(clean['RewardArgmax'])} to {plain(at.loc['RewardArgmax', 'mean'])} and of the "
        f"tilt from {plain(clean[TILT])} to {plain(at.loc[TILT, 'mean'])}; "
        f"`OfflinePPO` goes from {plain(clean['OfflinePPO'])} to "
        f"{plain(at.loc['OfflinePPO', 'mean'])}. The part of the truth that this policy can "
        f"represent correlates {plain(moved[0])} with it, after {plain(moved[1])}: what is better "
        f"in the model is what the policy cannot hold ([table]({study.link}/table.md))."
    )


def which_axis(study: Results) -> str:
    frame = study.table
    kept = frame[(frame["place"] == "model") & frame["method"].isin([*ASK[1:], "RewardArgmax"])]
    gain = kept["mean"] - study.at().loc[REFERENCE, "mean"]
    by = kept.assign(gain=gain).groupby("method")
    axes = {axis: _ranks(by, axis) for axis in ("projected_truth", "pairwise_accuracy")}
    projected, pairwise = axes.values()
    fits = list(ASK[1:])
    claim(
        (projected[fits] > pairwise[fits]).all(), "the projected axis orders trained methods better"
    )
    claim(projected["RewardArgmax"] < pairwise["RewardArgmax"], "and the argmax worse")
    shown = ", ".join(
        f"`{name}` {plain(projected[name], '.2f')} and {plain(pairwise[name], '.2f')}"
        for name in fits
    )
    cases = by.size().iloc[0]
    return (
        "**What a policy can represent of a model says more of trained methods than the "
        f"model's accuracy.** Rank correlation with the gain over {cases} conditions, "
        f"projected correlation and pairwise accuracy: {shown}. The argmax fits nothing, and there "
        f"accuracy says more ({plain(projected['RewardArgmax'], '.2f')} and "
        f"{plain(pairwise['RewardArgmax'], '.2f')})."
    )


def _ranks(by: Any, axis: str) -> pd.Series:
    found: pd.Series = by.apply(lambda part: part["gain"].corr(part[axis], method="spearman"))
    return found


FINDINGS: tuple[tuple[Callable[[Results], str], str], ...] = (
    (tilt_leads, "whole_field-jester"),
    (one_list_for_everyone, "whole_field-jester"),
    (controls_hold, "whole_field-jester"),
    (lists_and_expectations, "whole_field-jester"),
    (a_sft_and_exp_rsft, "whole_field-jester"),
    (who_should_choose, "noise_vs_quality-jester"),
    (without_a_choice, "noise_vs_quality-jester"),
    (a_better_model, "noise_vs_quality-jester"),
    (which_axis, "noise_vs_quality-jester"),
)


def findings(root: Path) -> str:
    """root: the folder of the results."""
    texts = (
        f"{number}. {finding(Results(name, root))}"
        for number, (finding, name) in enumerate(FINDINGS, start=1)
    )
    return "\n".join(
        textwrap.fill(
            text, 120, subsequent_indent="   ", break_on_hyphens=False, break_long_words=False
        )
        for text in texts
    )


def between(page: str, text: str) -> str:
    """The page with a text in place of what stands between its marks."""
    start, end = (page.index(mark) for mark in MARKS)
    return f"{page[: start + len(MARKS[0])]}\n\n{text}\n\n{page[end:]}"


def main() -> int:
    try:
        text = findings(ROOT / "experiments" / "results")
    except Refuted as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    page = ROOT / "docs" / "results.md"
    page.write_text(between(page.read_text(encoding="utf-8"), text), encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
