"""What MovieLens 1M says, where nobody knows the truth: see findings_page.py."""

from findings import JESTER, SEMI, Frame, Results, claim, listed, plain, trained
from scipy.stats import kendalltau

ALL, LIKED, PROXY, TILT = "NDCG@10 all", "NDCG@10 liked", "reward proxy@10", "Tilt"
LEVEL = 0.05


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
    found = {}
    for world, folder in (("jester", JESTER), ("semi-ml-100k", SEMI)):
        lists = study.beside(folder).at()["mean"]
        names = [name for name in trained(here.index) if name in lists.index]
        found[world] = {
            column: kendalltau(lists[names], here.loc[names, column]) for column in (ALL, PROXY)
        }
        count = len(names)
    jester, semi = found["jester"], found["semi-ml-100k"]
    claim(min(each.pvalue for each in jester.values()) > LEVEL, "Jester orders methods otherwise")
    claim(max(each.pvalue for each in semi.values()) < LEVEL, "the other world's order is related")
    claim(semi[ALL].statistic < 0 < semi[PROXY].statistic, "NDCG turned, predicted reward alike")
    tau = {
        name: [plain(each[column].statistic, "+.2f") for column in (ALL, PROXY)]
        for name, each in found.items()
    }
    return (
        "**The order of methods does not carry from one log to another by itself.** Kendall's tau "
        f"of {count} trained methods, ordered by the true value of their lists in a world and by "
        f"ML-1M's NDCG@10: {tau['jester'][0]} in Jester, {tau['semi-ml-100k'][0]} in semi-ml-100k, "
        f"where the better list is the less imitating one; by ML-1M's predicted reward "
        f"{tau['jester'][1]} and {tau['semi-ml-100k'][1]}. Each method is at the strength that its "
        "own study's validation chose, so the orders mix method and strength "
        f"({listed(['advise'])} asks for more than an order)."
    )
