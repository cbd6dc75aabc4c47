"""What errors of the reward model do: findings of results.md, see findings_page.py."""

from typing import Any

import numpy as np
import pandas as pd
from findings import Results, claim, listed, plain
from findings_field import REFERENCE, TILT
from scipy.stats import rankdata

ASK = ("ASFT", "ASFT(model)", "OfflinePPO", "DPO")  # trained methods that errors of the model reach


def who_should_choose(study: Results) -> str:
    frame = study.selection
    value = study.at().loc[REFERENCE, "mean"]
    with_errors = (frame["place"] == "model") & (frame["kind"] != "TruthShare")
    kept = frame[with_errors & frame["method"].isin(ASK)]
    claim(kept["kind"].nunique() == 8, "there are eight kinds of errors")
    idle = int((kept["strength"][kept["rule"] == "NDCG@10 liked"] == "do nothing").sum())
    gain = (kept["mean"] - value).groupby(kept["rule"])
    mean, low, count = gain.mean(), gain.min(), gain.size()
    own, half = "NDCG@10 liked", "judge, errors 0.5"
    claim(low[own] > -0.02 and low["judge"] > -0.001, "NDCG and a judge of no errors lose nothing")
    claim(mean["proxy"] < -0.03 and mean["dr"] < -0.02, "the own model and DR lose")
    claim(mean[half] < -0.05, "a judge with the model's errors does not protect")
    return (
        f"**A candidate that does nothing, and a rule without the model's errors, protect.** "
        f"{listed(ASK)} under eight kinds of errors in the reward model, {count[own]} cases in "
        f"Jester (NDCG chose to do nothing in {idle}), "
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
    sure = [each.loc["RewardArgmax", "difference_high"] < 0 for each in at]
    claim(sure == [False, False, True, True], "from 1.2 stars on it is below BC, with its interval")
    reference = study.at().loc[REFERENCE, "mean"]
    claim(max(argmax) < reference, "under an item bias the argmax is below the pretrained policy")
    nothing = set.intersection(*({*each.index[each["strength"] == "do nothing"]} for each in at))
    left = ASK[1:]
    claim({*left} <= nothing, f"under an item bias {listed(left)} do nothing")
    fitted = study.at(("model", "Independent", 2.4))["mean"]
    claim(fitted["OfflinePPO"] > reference > fitted["RewardArgmax"] + 0.2, "a fit averages errors")
    return (
        "**Errors that belong to an item make doing nothing the best choice; errors that belong "
        "to one prediction average out in a fit.** From an item bias of .3 stars on, validation "
        f"chooses to leave the policy as it is ({plain(reference)}) for {listed(left)}, "
        "and the argmax of the model falls to "
        f"{', '.join(map(plain, argmax))} at {', '.join(map(str, levels))} stars (three draws of "
        "the errors; from 1.2 on its 95% interval, uncorrected, leaves BC above). "
        "Under independent errors of 2.4 stars for each person and item `OfflinePPO` still has "
        f"{plain(fitted['OfflinePPO'])} and the argmax {plain(fitted['RewardArgmax'])} "
        f"([table]({study.link}/table.md))."
    )


def a_better_model(study: Results) -> str:
    at = study.at(("model", "TruthShare", 0.5))
    clean = study.at()["mean"]
    names = [*ASK[1:], TILT, "RewardArgmax"]
    gain = at.loc[names, "mean"] - clean[names]
    claim(
        gain[[TILT, "RewardArgmax"]].min() > 0.2,
        "a better model helps the methods that use it while serving",
    )
    claim(gain[list(ASK[1:])].abs().max() < 0.02, "and changes nothing for trained methods")
    moved = at["projected_truth"].iloc[0], study.at()["projected_truth"].max()
    return (
        "**A better reward model helps methods that use it while serving, not methods trained on "
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
    chance = [_interval(part) for name, part in by if name in fits]
    claim(all(low < 0 < high for low, high in chance), "conditions drawn again may say otherwise")
    idle = [int((part["strength"] == "do nothing").sum()) for name, part in by if name in fits]
    return (
        "**What a policy can represent of a model seems to say more of trained methods than "
        f"the model's accuracy.** Rank correlation with the gain over {cases} conditions, "
        f"projected correlation and pairwise accuracy: {shown}. The argmax fits nothing, and there "
        f"accuracy says more ({plain(projected['RewardArgmax'], '.2f')} and "
        f"{plain(pairwise['RewardArgmax'], '.2f')}). The differences point one way; drawn "
        "again, the conditions may say otherwise (each 95% interval holds 0), since in "
        f"{min(idle)} to {max(idle)} of them a trained method did nothing."
    )


def _interval(part: pd.DataFrame) -> tuple[float, float]:
    """Of the difference between the rank correlations by the two axes, conditions drawn again."""
    names = ["gain", "projected_truth", "pairwise_accuracy"]
    values_CX, rng = part[names].to_numpy(), np.random.default_rng(0)
    found = []
    for _ in range(1000):
        drawn_CX = values_CX[rng.integers(len(values_CX), size=len(values_CX))]
        rank_XX = np.atleast_2d(np.corrcoef(rankdata(drawn_CX, axis=0).T))
        found.append(rank_XX[0, 1] - rank_XX[0, 2])
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def _ranks(by: Any, axis: str) -> pd.Series:
    found: pd.Series = by.apply(lambda part: part["gain"].corr(part[axis], method="spearman"))
    return found
