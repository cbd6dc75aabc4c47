"""What all methods without noise say: findings of results.md, see findings_page.py."""

import pandas as pd
from findings import SEMI, Frame, Results, claim, is_method, plain, trained, with_interval

from recsys_posttrain.stats.significance import holm

GOLD, TILT, REFERENCE = "reward gold", "Tilt", "Pretrained"


def tilt_leads(field: Results) -> str:
    frame = field.equal_kl
    own = frame["method"].map(is_method) & frame["gain"].notna() & (frame["column"] == GOLD)
    cells = frame[own]
    claim((cells["lead_high"] < 0).all(), "every trained method is below the tilt at every KL")
    at = field.gains(GOLD, 0.1)
    best = str(at.loc[trained(at.index), "gain"].idxmax())
    return (
        "**No trained method gains as much as the tilt at the same distance.** Expected true "
        f"reward in Jester, {cells['method'].nunique()} trained methods, {field.seeds_in_words}: "
        f"at KL .1 `{TILT}` gains {with_interval(at.loc[TILT], 'gain')} stars, the best trained "
        f"method, `{best}`, {with_interval(at.loc[best], 'gain')}. All {len(cells)} leads that "
        "could be measured at five KLs are below 0, each with its 95% interval "
        f"([equal KL]({field.link}/equal_kl.md))."
    )


def one_list_for_everyone(field: Results) -> str:
    marked = field.at()
    at = marked["mean"]
    names = trained(at.index)
    best, worst = str(at[names].idxmax()), str(at[names].idxmin())
    order = ["Oracle", "BestFixedList", "RewardArgmax", TILT, "ItemMean", best, REFERENCE]
    claim(at[order].is_monotonic_decreasing, f"lists of five: {' > '.join(order)}")
    claim(not marked.loc[names, "significant"].any(), "no trained method differs from BC in lists")
    idle = int((marked.loc[names, "strength"] == "do nothing").sum())
    proven = []
    for first in ("RewardArgmax", TILT, "ItemMean"):
        leads = _leads(field, first).loc[names]
        claim((leads["low"] > 0).all(), f"{first} is ahead of every trained method")
        proven.append(int((leads["p_holm"] <= 0.05).sum()))
    value = {name: plain(at[name]) for name in order}
    chosen = by_rule(field)
    most = chosen["hindsight"].max()
    claim(most < at["ItemMean"], "no rule, hindsight included, takes one to the item mean")
    return (
        f"**In lists of five, methods that train nothing are ahead of all that train.** Jester: "
        f"argmax of the reward model {value['RewardArgmax']}, `{TILT}` {value[TILT]}, item mean "
        f"{value['ItemMean']}, the best trained method (`{best}`) {value[best]}, the pretrained "
        f"policy {value[REFERENCE]}, where the judge left {idle} of {len(names)} trained methods, "
        f"the worst (`{worst}`) {plain(at[worst])}; had the truth chosen each strength, the best "
        "would "
        f"have {plain(most)}. Each of the first three is ahead of each "
        f"trained method with its 95% interval; after correction for all pairs of the table of "
        f"{proven[0]}, {proven[1]} and {proven[2]} of them, and no trained method is apart from "
        f"BC. One list for everyone could reach {value['BestFixedList']}, a list for each person "
        f"{value['Oracle']}, so what is missing is knowledge of people, which the reward model of "
        f"this log hardly has ([table]({field.link}/table.md))."
    )


def by_rule(field: Results) -> dict[str, Frame]:
    """By rule, without noise, what each trained method is worth in lists at the strength that the
    rule chose."""
    frame = field.selection[(field.selection["place"] == "")]
    frame = frame[frame["method"].map(is_method)]
    return {str(rule): part.set_index("method")["mean"] for rule, part in frame.groupby("rule")}


def _leads(field: Results, first: str) -> Frame:
    """Of one row over each other, by their name: low, the end of the interval, and p_holm."""
    pairs = field.pairs[field.pairs["place"] == ""]
    own, turned = pairs[pairs["method"] == first], pairs[pairs["other"] == first]
    # A pair's difference is that of `method` minus `other`.
    lows, p_values = [*own["low"], *-turned["high"]], [*own["p_holm"], *turned["p_holm"]]
    index = [*own["other"], *turned["method"]]
    return pd.DataFrame({"low": lows, "p_holm": p_values}, index=index)


def controls_hold(field: Results) -> str:
    at = field.at()
    given = [
        str(name)
        for name in at.index
        if str(name).endswith((", shuffled reward", ", constant reward"))
    ]
    claim(
        (at.loc[given, "difference_low"].dropna() <= 0).all(),
        "no method with uninformative rewards is above BC given the same",
    )
    true, best = at.loc["OnlineRL"], at.loc[trained(at.index), "mean"].max()
    claim(true["mean"] - best < 0.01, "lists of the true reward are as those of the model")
    means = field.rows[field.rows["place"] == ""].groupby("method")["reward/gold"].mean()
    gain = means - means[REFERENCE]
    moved = field.rows[field.rows["method"].isin(given)].groupby("method")["kl"].max()
    still = int((moved == 0).sum())
    owed = {
        name: gain[f"{name}, shuffled reward"]
        for name in trained(means.index)
        if gain.get(f"{name}, shuffled reward", 0.0) > 0.01
    }
    claim(set(owed) == {"SA2C"}, "of shuffled rewards SA2C alone gains expected reward")
    of_other = field.beside(SEMI).strengths.groupby("method")["reward/gold"].mean()
    other = of_other - of_other[REFERENCE]
    shuffled = {name: other.get(f"{name}, shuffled reward", 0.0) for name in trained(other.index)}
    again = {name: value for name, value in shuffled.items() if value > 0.01}
    claim(max(again, key=lambda name: again[name]) == "SA2C", "there it is first too")
    few = sorted(value for name, value in again.items() if name != "SA2C")
    in_lists = field.beside(SEMI).at().loc["SA2C, shuffled reward"]
    claim(in_lists["difference_low"] > 0 >= in_lists["significant"], "in lists too, uncorrected")
    return (
        "**What methods gain they owe to the rewards; `SA2C` does not.** Jester: with shuffled or "
        f"constant rewards none of {len(given) - 2} rows is above BC given the same ({still} of "
        "them did not move at all, so they are no evidence). In expected reward `SA2C` gains "
        f"{plain(gain['SA2C'], '+.3f')}, and {plain(owed['SA2C'], '+.3f')} with shuffled rewards: "
        "nearly all of it is not the rewards' doing. In semi-ml-100k it gains "
        f"{plain(again['SA2C'], '+.3f')} with shuffled rewards (in lists "
        f"{plain(in_lists['difference'], '+.3f')}, apart from BC before correction, not after), "
        f"and {len(few)} others {plain(few[0], '+.3f')} to {plain(few[-1], '+.3f')}. In Jester, "
        "with the *true* reward "
        f"(row `OnlineRL`: drawn fresh in every step), lists are worth {plain(true['mean'])}, as "
        f"with the model's at best ({plain(best)}): what such a training does to a policy holds "
        f"lists back too ([table]({field.link}/table.md))."
    )


def lists_and_expectations(field: Results) -> str:
    frame = field.strengths
    names = ["reward/gold", "reward/gold@5", "kl"]
    kept = frame[frame["method"].map(is_method) & (frame["place"] == "")]
    means = kept.groupby(["method", "strength"])[names].mean()
    rank = means.corr("spearman")
    lists, of_kl = rank.loc["reward/gold", ["reward/gold@5", "kl"]]
    claim(lists < 0.5, "lists and expectations order the settings differently")
    claim(of_kl > 0.9, "the gain in expectation follows the distance")
    same = [field.gains(column, 0.1)["gain"] for column in (GOLD, f"{GOLD}@5")]
    common = [name for name in trained(same[0].index) if name in same[1].index]
    near = same[0][common].corr(same[1][common], method="spearman")
    claim(near > lists + 0.2, "at the same distance they agree better")
    spread = means.max() - means.min()
    return (
        "**Lists and expectations disagree, because expectation measures distance.** Over "
        f"{len(means)} settings of trained methods expected reward differs by "
        f"{plain(spread['reward/gold'])}, the value of a list by {plain(spread['reward/gold@5'])}; "
        f"their rank correlation is {plain(lists, '.2f')}. The first follows the distance from the "
        f"pretrained policy (rank correlation with KL {plain(of_kl, '.2f')}), so a table of "
        "expected reward at chosen strengths mostly says who went furthest. At the same distance, "
        f"KL .1, the two orders of {len(common)} methods correlate {plain(near, '.2f')} "
        f"([strengths]({field.link}/strengths.csv), [equal KL]({field.link}/equal_kl.md))."
    )


def a_sft_and_exp_rsft(field: Results) -> str:
    at = field.at()
    pairs = field.pairs[field.pairs["place"] == ""].set_index(["method", "other"])
    both = pairs.loc[("ExpRSFT", "ASFT")]
    claim(both["low"] < 0 < both["high"], "their lists are not apart at the judge's strengths")
    lists = field.frontier[field.frontier["place"] == ""].groupby("method")["value"]
    low, high = lists.min(), lists.max()
    claim(
        low["ASFT"] < high["ExpRSFT"] and low["ExpRSFT"] < high["ASFT"],
        "the strengths of ASFT and ExpRSFT overlap in lists",
    )
    gains = field.gains(GOLD, 0.03)
    ends = gains.loc[["ASFT", "ExpRSFT"]]
    claim(ends["low"].max() < ends["high"].min(), "their gains at KL .03 overlap")
    pretrained = at.at[REFERENCE, "mean"]

    def ranged(name: str) -> str:
        return f"{plain(low[name])} to {plain(high[name])}"

    return (
        "**A-SFT and Exp-RSFT cannot be told apart here.** At the strengths of the judge lists are "
        f"worth {plain(at.at['ASFT', 'mean'])} with A-SFT and {plain(at.at['ExpRSFT', 'mean'])} "
        f"with Exp-RSFT (95% interval of the difference {plain(-both['high'], '+.4f')} to "
        f"{plain(-both['low'], '+.4f')}), over all strengths {ranged('ASFT')} and "
        f"{ranged('ExpRSFT')} ({plain(pretrained)} before); at KL .03 they gain "
        f"{with_interval(ends.loc['ASFT'], 'gain')} and "
        f"{with_interval(ends.loc['ExpRSFT'], 'gain')} in expected reward ([strengths]"
        f"({field.link}/frontier.csv), [equal KL]({field.link}/equal_kl.md))."
    )


def another_world(field: Results) -> str:
    frame = field.equal_kl
    in_block = frame[(frame["column"] == GOLD) & (frame["place"] == "")]
    corrected = in_block.assign(p_holm=holm(in_block["p_value"].to_numpy(dtype=float)))
    leads = corrected[corrected["method"].map(is_method) & corrected["lead"].notna()]
    below = leads[leads["lead_high"] < 0]
    claim((leads["lead_low"] <= 0).all(), "no trained method is above the tilt")
    best = leads.loc[leads["lead"].idxmax()]
    tilt = field.gains(GOLD, best["kl"]).loc[TILT]
    marked, users = field.at(), field.rows["user"].nunique()
    at, names = marked["mean"], trained(marked.index)
    chosen = by_rule(field)
    own, judge = chosen["NDCG@10 liked"], chosen["judge"]
    gain = {rule: values[names] - at[REFERENCE] for rule, values in chosen.items()}
    first, bold = str(own.idxmax()), str(judge.idxmax())
    unmoved = [name for name in names if gain["judge"][name] <= 0]
    claim(unmoved == ["BC"] and gain["judge"]["BC"] == 0, "all but BC gain, which did nothing")
    claim(gain["judge"].mean() > 10 * gain["NDCG@10 liked"].mean(), "NDCG gives that away")
    apart = marked.loc[names, "significant"]
    claim((at[names][apart] > at["BC"]).all(), "those apart from BC are above it")
    at_edge = int((marked.loc[names, "at_edge"].astype(str) == "True").sum())
    proven = []
    for untrained in ("RewardArgmax", TILT, "ItemMean"):
        ahead = _leads(field, untrained).loc[names]
        claim((ahead["low"] > 0).all(), f"{untrained} is ahead of every trained method")
        proven.append(int((ahead["p_holm"] <= 0.05).sum()))
    value = [plain(at[name]) for name in ("RewardArgmax", TILT, "ItemMean")]
    picked = field.selection[field.selection["rule"] == "NDCG@10 liked"].set_index("method")
    idle = int((picked.loc[names, "strength"] == "do nothing").sum())
    return (
        "**In another world training pays, where the rule that chooses lets it; the tilt is as "
        f"good at the same distance, and what trains nothing is ahead.** In semi-ml-100k, "
        f"{field.seeds_in_words}, {users} test users, lists of five are worth "
        f"{plain(at[REFERENCE])} from the pretrained policy. At the strengths of the judge all "
        f"{len(names)} methods but `BC`, which it left as it was, gain, "
        f"{plain(gain['judge'].mean(), '+.3f')} in the mean, and {int(apart.sum())} are apart from "
        f"`BC` after correction (the best, `{bold}`, {plain(judge.max())}; on the *true* reward, "
        f"at one strength, {plain(at['OfflinePPO, true reward'])}); {at_edge} stand at the last "
        "strength that was tried, so there may be more. NDCG of liked validation targets left "
        f"{idle} of them as they were (the best, `{first}`, {plain(own.max())}; "
        f"[rules]({field.link}/selection.md)). In expected reward at the same KL {len(below)} of "
        f"{len(leads)} leads over the tilt are below 0 "
        f"({int((below['p_holm'] <= 0.05).sum())} after correction), none above; the nearest is "
        f"`{best['method']}` at KL {plain(best['kl'], 'g')}, {with_interval(best, 'gain')} against "
        f"{with_interval(tilt, 'gain')} ([equal KL]({field.link}/equal_kl.md)). In lists the "
        f"argmax of the model ({value[0]}), the tilt ({value[1]}) and the item mean ({value[2]}) "
        "are ahead of each trained method with their 95% intervals; after correction of "
        f"{proven[0]}, {proven[1]} and {proven[2]} of them ([table]({field.link}/table.md))."
    )
