"""What MovieLens 1M says, where nobody knows the truth: see findings_page.py."""

from typing import Any

from findings import JESTER, SEMI, Frame, Results, claim, listed, plain, trained
from findings_field import GOLD
from scipy.stats import kendalltau

ALL, LIKED, PROXY, TILT = "NDCG@10 all", "NDCG@10 liked", "reward proxy@10", "Tilt"
LEVEL, KL = 0.05, 0.03


def leads_over(study: Results, rival: str, column: str) -> Frame:
    """By trained method its lead over a rival, with the interval and the corrected p-value."""
    pairs = study.pairs[study.pairs["column"] == column]
    first, second = pairs[pairs["method"] == rival], pairs[pairs["other"] == rival]
    turned = first.rename(columns={"other": "name"}).assign(
        difference=-first["difference"], low=-first["high"], high=-first["low"]
    )
    both = [turned, second.rename(columns={"method": "name"})]
    leads = both[0].merge(both[1], how="outer").set_index("name")
    return leads.loc[trained(leads.index)]


def what_people_chose(study: Results) -> str:
    at = {name: rows.set_index("method")["mean"] for name, rows in study.table.groupby("column")}
    names = trained(at[ALL].index)
    best, argmax = str(at[ALL][names].idxmax()), "RewardArgmax"
    over = {rival: leads_over(study, rival, ALL) for rival in ("Pretrained", TILT)}
    over["liked"] = leads_over(study, TILT, LIKED)
    proven = {
        rival: (leads["difference"] > 0) & (leads["p_holm"] <= LEVEL)
        for rival, leads in over.items()
    }
    claim(not proven["Pretrained"].any(), "no method differs from the pretrained policy upwards")
    fell = (over["Pretrained"]["difference"] < 0) & (over["Pretrained"]["p_holm"] <= LEVEL)
    below = int(fell.sum())
    claim(not proven["liked"].any(), "no method is ahead of the tilt on liked targets")
    claim(proven[TILT].any(), "some are ahead of the tilt over all targets")
    claim(at[PROXY].idxmax() == argmax, "the argmax has the largest predicted reward")
    claim(
        at[ALL][argmax] < at[ALL]["Popularity"], "people choose less from it than from the popular"
    )
    rank = at[ALL][names].corr(at[PROXY][names], method="spearman")
    claim(rank < -0.9, "what is gained in predicted reward is lost in what people chose")
    return (
        "**On MovieLens 1M training buys nothing that the log can prove.** NDCG@10 over all 6,040 "
        f"test choices, {len(names)} trained methods, three seeds: `{best}` "
        f"{plain(at[ALL][best], '.4f')} is first, the pretrained policy has "
        f"{plain(at[ALL]['Pretrained'], '.4f')}, and after correction none is above it "
        f"and {below} are below. The tilt pays for rewards with choices "
        f"({plain(at[ALL][TILT], '.4f')}; {int(proven[TILT].sum())} methods are above it there, "
        "after correction), but on choices that people liked no method is ahead of it "
        f"(`{TILT}` {plain(at[LIKED][TILT], '.4f')}). It is one trade: the rank correlation "
        f"of NDCG@10 with the predicted reward of the lists is {plain(rank, '.2f')}, and at its "
        f"end stands the argmax, with {plain(at[PROXY][argmax], '.2f')} predicted stars in lists "
        f"from which people chose next to nothing (NDCG@10 {plain(at[ALL][argmax], '.4f')}; "
        f"[table]({study.link}/table.md))."
    )


def do_answers_carry(study: Results) -> str:
    here = study.table.pivot(index="method", columns="column", values="mean")
    gains = [study.beside(folder).gains(GOLD, KL)["gain"] for folder in (JESTER, SEMI)]
    kept = [gain[[name for name in trained(gain.index) if name in here.index]] for gain in gains]
    taus = {
        column: [kendalltau(gain, here.loc[gain.index, column]) for gain in kept]
        for column in (ALL, PROXY)
    }
    claim(max(tau.statistic for tau in taus[ALL]) < 0, "who gains in a world is lower in NDCG")
    claim(min(tau.statistic for tau in taus[PROXY]) > 0, "and higher in predicted reward")
    apart = sum(tau.pvalue <= LEVEL for each in taus.values() for tau in each)
    largest = max(abs(tau.statistic) for each in taus.values() for tau in each)
    claim(largest < 0.5, "no order carries far")
    common = kept[0].index.intersection(kept[1].index)
    between = kendalltau(kept[0][common], kept[1][common])
    claim(between.pvalue > LEVEL, "nor does one world's order foretell the other's")

    def shown(tau: Any) -> str:
        return f"{plain(tau.statistic, '+.2f')} (p {plain(tau.pvalue, '.2f')})"

    return (
        "**The order of methods carries from one log to another weakly, if at all.** Methods in "
        f"the order of their gain in expected true reward at KL {plain(KL, 'g')} in a world; "
        f"Kendall's tau with ML-1M's NDCG@10 is {shown(taus[ALL][0])} for the {len(kept[0])} of "
        f"Jester and {shown(taus[ALL][1])} for the {len(kept[1])} of semi-ml-100k, with ML-1M's "
        f"predicted reward {shown(taus[PROXY][0])} and {shown(taus[PROXY][1])}: signs of "
        "following the reward model more and the log less, of which "
        f"{apart} of 4 are apart from 0. Between the "
        f"worlds it is {shown(between)} over {len(common)} methods. On ML-1M each method is at the "
        f"strength that validation chose ({listed(['advise'])} asks for more than an order)."
    )
