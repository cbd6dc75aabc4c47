"""What errors of the reward model do: findings of results.md, see findings_page.py."""

from typing import Any

import numpy as np
import pandas as pd
from findings import SEMI, Frame, Results, claim, listed, plain
from findings_field import REFERENCE, TILT, by_rule
from scipy.stats import rankdata

ASK = ("ASFT", "ASFT(model)", "OfflinePPO", "DPO")  # trained methods that errors of the model reach


def who_should_choose(study: Results) -> str:
    frame = study.selection
    value = study.at().loc[REFERENCE, "mean"]
    with_errors = (frame["place"] == "model") & (frame["kind"] != "TruthShare")
    kept = frame[with_errors & frame["method"].isin(ASK)]
    claim(kept["kind"].nunique() == 8, "there are eight kinds of errors")
    own, judge = "NDCG@10 liked", "judge"
    idle = int((kept["strength"][kept["rule"] == own] == "do nothing").sum())
    mean, low, count = _by_rule(kept, value)
    claim(low[own] > -0.02 and low[judge] > -0.001, "NDCG and a judge of no errors lose nothing")
    claim(mean["proxy"] < -0.03 and mean["dr"] < -0.02, "the own model and DR lose")
    # Where judges that err were tried too.
    case = ["kind", "level", "method"]
    erring = kept[kept["rule"] == "judge, errors 0.5"][case]
    same, worst, cases = _by_rule(kept.merge(erring, on=case), value)
    apart, half = "judge, errors 0", "judge, errors 0.5"
    claim(same[half] < -0.05, "a judge with the model's errors does not protect")
    claim(worst[apart] < -0.1, "errors of its own cost a judge too")
    other = study.beside(SEMI)
    clean = {
        rule: means - other.at().at[REFERENCE, "mean"] for rule, means in by_rule(other).items()
    }
    claim(clean[judge].mean() > clean[own].mean() + 0.1, "without errors NDCG gives much away")

    def said(rule: str) -> str:
        return f"{plain(mean[rule], '+.3f')} and {plain(low[rule], '+.3f')}"

    return (
        "**A judge without the model's errors chose best; NDCG protects and gives much away; "
        "the reward model itself loses where it errs.** Lists of five against the pretrained "
        "policy, "
        f"in the mean and at worst. {listed(ASK)} under eight kinds of errors in the reward model, "
        f"{count[own]} cases in Jester: chosen by the judge {said(judge)}, by NDCG of liked "
        f"validation targets {said(own)} (it did nothing in {idle}), by the reward model itself "
        f"{said('proxy')}, by the doubly robust estimate, which reads that model, {said('dr')}. "
        f"In {cases[half]} of the cases judges with errors of the same size were tried: errors of "
        f"its own leave the judge {plain(same[apart], '+.3f')} and {plain(worst[apart], '+.3f')}, "
        f"errors that correlate by .5 with the model's {plain(same[half], '+.3f')} and "
        f"{plain(worst[half], '+.3f')} (NDCG there {plain(same[own], '+.3f')}; [who should choose]"
        f"({study.link}/selection.md)). Without errors, in semi-ml-100k, {len(clean[own])} methods "
        f"get {plain(clean[own].mean(), '+.3f')} by NDCG and {plain(clean[judge].mean(), '+.3f')} "
        f"by the judge ([rules]({other.link}/selection.md))."
    )


def _by_rule(kept: Frame, value: float) -> tuple[Frame, Frame, Frame]:
    """Of the gains by rule: mean, least, and how many."""
    gain = (kept["mean"] - value).groupby(kept["rule"])
    return gain.mean(), gain.min(), gain.size()


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
    tried = study.frontier[
        study.frontier["method"].isin(left) & (study.frontier["kind"] == "ItemBias")
    ]
    most = tried.groupby("place")["value"].max()
    claim(most["model"] < reference, "no strength that was tried is above it, by the truth either")
    claim(most["log"] > reference, "with such errors in the log some are")
    return (
        "**Errors of the reward model that belong to an item make doing nothing the best choice; "
        "errors that belong to one prediction average out in a fit.** From an item bias of .3 "
        "stars on, validation "
        f"chooses to leave the policy as it is ({plain(reference)}) for {listed(left)}, rightly "
        "(the "
        f"best strength that was tried has {plain(most['model'])}), and the argmax of the model "
        "falls to "
        f"{', '.join(map(plain, argmax))} at {', '.join(map(str, levels))} stars (three draws of "
        "the errors; from 1.2 on its 95% interval, uncorrected, leaves BC above). With an item "
        "bias "
        f"in the log, from which the model learns, the best strength has {plain(most['log'])}. "
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
        "in the model is what the policy cannot hold. Trained methods had the strength that was "
        f"chosen without noise, others were not tried there ([table]({study.link}/table.md))."
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
