"""What all methods without noise say: findings of results.md, see findings_page.py."""

import pandas as pd
from findings import Results, claim, is_method, listed, plain, trained, with_interval

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
    claim(marked.at["BC", "strength"] == "do nothing", "validation left BC as it was")
    pairs = field.pairs[(field.pairs["place"] == "") & (field.pairs["p_holm"] <= 0.05)]
    apart = [{*pair} for pair in zip(pairs["method"], pairs["other"], strict=True)]
    ahead = {
        first: sum({first, name} in apart for name in names)
        for first in ("RewardArgmax", "ItemMean", TILT)
    }
    claim(
        marked.loc[["ItemMean", "RewardArgmax", TILT], "significant"].all(),
        "item mean, argmax and tilt differ from BC in lists",
    )
    value = {name: plain(at[name]) for name in order}
    return (
        f"**In lists of five, methods that train nothing are ahead of all that train.** Jester: "
        f"argmax of the reward model {value['RewardArgmax']}, item mean {value['ItemMean']}, "
        f"`{TILT}` {value[TILT]}, the best trained method (`{best}`) {value[best]}, the pretrained "
        f"policy {value[REFERENCE]}, the worst trained one (`{worst}`) {plain(at[worst])}. After "
        f"correction for all pairs the first three are apart from {ahead['RewardArgmax']}, "
        f"{ahead['ItemMean']} and {ahead[TILT]} of the {len(names)} trained methods, and from "
        "BC, which validation left as it was; no trained method is apart from that. One "
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
        (at.loc[given, "difference_low"].dropna() <= 0).all(),
        "no method with uninformative rewards is above BC given the same",
    )
    true, best = at.loc["OnlineRL"], at.loc[trained(at.index), "mean"].max()
    claim(true["mean"] < best, "lists of the true reward are no better than those of the model")
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
    return (
        "**What methods gain they owe to the rewards, with one exception.** With shuffled or "
        f"constant rewards none of {len(given) - 2} rows is above BC given the same ({still} of "
        "them did not move at all, so they say nothing). In expected "
        f"reward `SA2C` gains {plain(gain['SA2C'], '+.3f')}, and "
        f"{plain(owed['SA2C'], '+.3f')} with shuffled rewards: nearly all of it is not the "
        "rewards' doing. With the *true* reward (row `OnlineRL`: drawn fresh in every step) "
        f"lists are worth {plain(true['mean'])}, no more than with the model's: what such a "
        f"training does to a policy holds lists back too ([table]({field.link}/table.md))."
    )


def lists_and_expectations(field: Results) -> str:
    rows = field.rows[field.rows["place"] == ""]
    names = ["reward/gold", "reward/gold@5", "kl"]
    means = rows.groupby("method")[names].mean()
    still = sorted(set(trained(field.at().index)) - set(means.index))
    claim((field.at().loc[still, "strength"] == "do nothing").all(), "who has no rows did nothing")
    every = pd.concat([means.loc[trained(means.index)], means.loc[[REFERENCE] * len(still)]])
    means = means.loc[trained(means.index)]
    rank, of_all = (
        each.corr("spearman").loc["reward/gold", "reward/gold@5"] for each in (means, every)
    )
    of_kl = means.corr("spearman").loc["reward/gold", "kl"]
    by_seed = [
        part.groupby("method")[names].mean().corr("spearman").loc["reward/gold", "reward/gold@5"]
        for _, part in rows[rows["method"].isin(means.index)].groupby("seed")
    ]
    first, second = means["reward/gold"].idxmax(), means["reward/gold@5"].idxmax()
    claim(first != second and of_all < 0.7, "lists and expectations order methods differently")
    claim(of_kl > 0.9, "the gain in expectation follows the distance")
    spread = means.max() - means.min()
    return (
        f"**Lists and expectations disagree.** Over the {len(means)} trained methods that "
        f"validation did not leave as they were expected reward differs by "
        f"{plain(spread['reward/gold'])}, the value of a list by "
        f"{plain(spread['reward/gold@5'])}; their rank correlation is {plain(rank, '.2f')} (of "
        f"single seeds {plain(min(by_seed), '.2f')} to {plain(max(by_seed), '.2f')}; with "
        f"{listed(still)}, which did nothing, {plain(of_all, '.2f')}). The "
        "first follows the distance from the pretrained policy (rank correlation with KL "
        f"{plain(of_kl, '.2f')}), so a table of expected reward at chosen strengths mostly says "
        f"who went furthest ([rows]({field.link}/rows.parquet))."
    )


def a_sft_and_exp_rsft(field: Results) -> str:
    at = field.at()
    claim(at.at["ASFT", "strength"] == "do nothing", "validation left A-SFT as it was")
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
        "**A-SFT and Exp-RSFT cannot be told apart here.** Validation left A-SFT as it was, so the "
        f"table compares nothing. Over their strengths lists are worth {ranged('ASFT')} with A-SFT "
        f"and {ranged('ExpRSFT')} with Exp-RSFT ({plain(pretrained)} before); at KL .03 they gain "
        f"{with_interval(ends.loc['ASFT'], 'gain')} and "
        f"{with_interval(ends.loc['ExpRSFT'], 'gain')} in expected reward ([strengths]"
        f"({field.link}/frontier.csv), [equal KL]({field.link}/equal_kl.md))."
    )


def another_world(field: Results) -> str:
    frame = field.equal_kl
    in_block = frame[(frame["column"] == GOLD) & (frame["place"] == "")]
    corrected = in_block.assign(p_holm=holm(in_block["p_value"].to_numpy(dtype=float)))
    leads = corrected[corrected["method"].map(is_method) & corrected["lead"].notna()]
    above, below = leads[leads["lead_low"] > 0], leads[leads["lead_high"] < 0]
    claim(above["p_holm"].min() > 0.05, "no lead above the tilt survives correction")
    claim(len(below) > len(leads) / 2 and len(above) > 0, "most leads are below 0, a few above")
    best = above.loc[above["p_holm"].idxmin()]
    tilt = field.gains(GOLD, best["kl"]).loc[TILT]
    at = field.at()["mean"]
    first = str(at[trained(at.index)].idxmax())
    order = ["RewardArgmax", "ItemMean", "OfflinePPO, true reward", first, TILT, REFERENCE]
    claim(at[order].is_monotonic_decreasing, f"lists of five: {' > '.join(order)}")
    value = {name: plain(at[name]) for name in order}
    return (
        f"**The other world agrees in part.** In semi-ml-100k, with {field.seeds} seeds and few "
        f"test users, {len(below)} of {len(leads)} leads over the tilt are below 0 "
        f"({int((below['p_holm'] <= 0.05).sum())} after correction) and {len(above)} above, of "
        f"{listed(sorted(set(above['method'])))}, none after correction: the nearest is "
        f"`{best['method']}` at KL {plain(best['kl'], 'g')}, {with_interval(best, 'gain')} against "
        f"{with_interval(tilt, 'gain')}, p {plain(best['p_holm'])}, which rests on a few of the "
        f"draws ([equal KL]({field.link}/equal_kl.md)). The plan asks for two neighbouring KL "
        "levels in two worlds before a win is called one. In lists argmax "
        f"({value['RewardArgmax']}) and item mean ({value['ItemMean']}) are ahead of every trained "
        f"method (`{first}` {value[first]}), as in Jester. But training on the *true* reward gives "
        f"{value['OfflinePPO, true reward']} where the pretrained policy has {value[REFERENCE]}: "
        "here it is the reward model that holds trained lists back "
        f"([table]({field.link}/table.md))."
    )
