"""Claims of the articles that this project follows, and what the committed results say of them.

Written into results.md by findings_page.py. The sources: Netflix Technology Blog, October 2025
("Post-Training Generative Recommenders with Advantage-Weighted Supervised Finetuning"), and
arXiv 2603.10279 (Exp-RSFT). Each claim is checked as a finding is (findings.py).
"""

from findings import JESTER, Results, claim, plain, trained
from findings_ml_1m import leads_over

GOLD, LIKED = "reward gold", "NDCG@10 liked"
OF_MODEL = ("OfflinePPO", "DPO", "ASFT(model)")
# Stars in lists of five, from which on a policy counts as worse than the pretrained one.
LOSS = 0.01


def over_fitted(noise: Results, kind: str) -> tuple[int, int]:
    """Of the strengths tried of OF_MODEL: how many raise their own model's opinion of validation
    lists and lose in truth; and how many there are."""
    place = "model" if kind else ""
    tried, judged = noise.frontier, noise.validation
    reference = float(noise.at().loc["Pretrained", "mean"])
    tried = tried[(tried["place"] == place) & (tried["kind"] == kind)]
    judged = judged[(judged["place"] == place) & (judged["kind"] == kind)]
    proxy = judged.groupby(["method", "level", "strength"])["proxy"].mean()
    count = lost = 0
    for row in tried[tried["method"].isin(OF_MODEL)].itertuples():
        at = row.method, row.level
        if row.strength == "do nothing" or (*at, row.strength) not in proxy:
            continue
        rises = proxy[*at, row.strength] > proxy[*at, "do nothing"]
        count, lost = count + 1, lost + int(rises and row.value < reference - LOSS)
    return lost, count


def over_fit(noise: Results) -> tuple[str, str, str]:
    (item, items), (own, owns), (clean, cleans) = (
        over_fitted(noise, kind) for kind in ("ItemBias", "Independent", "")
    )
    claim(item == items > 30, "under an item bias every strength over-fits")
    claim(own <= owns / 10 and clean == 0, "under independent errors and without noise hardly any")
    return (
        "PPO, DPO and IPO raise the reward model's opinion and over-fit it",
        "holds for some errors",
        f"Jester, {', '.join(f'`{name}`' for name in OF_MODEL)}: with errors that belong to an "
        f"item {item} of {items} strengths raise the model's opinion and lose over "
        f"{plain(LOSS, '.2f')} stars in lists, with errors of their own for each prediction {own} "
        f"of {owns}, without noise {clean} of {cleans}; so it is a matter of the model",
    )


def a_sft_is_best(noise: Results) -> tuple[str, str, str]:
    ml_1m, jester = (
        noise.beside("movielens_main-ml-1m"),
        noise.beside(JESTER),
    )
    liked = ml_1m.table[ml_1m.table["column"] == LIKED].set_index("method")["mean"]
    order = liked[trained(liked.index)].sort_values(ascending=False)
    gains = jester.gains(GOLD, 0.03)["gain"]
    gains = gains[trained(gains.index)].sort_values(ascending=False)
    claim("ASFT" in gains, "ASFT goes as far as KL .03")
    leads = leads_over(ml_1m, str(order.index[0]), LIKED)
    claim(leads.loc["ASFT", "p_holm"] > 0.05, "ASFT is not separated from the first on ML-1M")
    places = list(order.index).index("ASFT") + 1, list(gains.index).index("ASFT") + 1
    claim(min(places) > 5, "ASFT is not among the first")
    return (
        "A-SFT is best, in ranking and by the judge",
        "not reproduced",
        f"`ASFT` is number {places[0]} of {len(order)} in NDCG@10 of liked choices on ML-1M "
        f"({plain(order['ASFT'], '.4f')}; `{order.index[0]}` {plain(order.iloc[0], '.4f')}, not "
        f"separated), number {places[1]} of {len(gains)} in expected true reward at KL .03 on "
        f"Jester ({plain(gains['ASFT'])}; `{gains.index[0]}` {plain(gains.iloc[0])})",
    )


def cql_leaves_signal(noise: Results) -> tuple[str, str, str]:
    gains = noise.beside(JESTER).gains(GOLD, 0.03)["gain"]
    order = gains[trained(gains.index)].sort_values(ascending=False)
    claim("CQL" in order, "CQL goes as far as KL .03")
    place = list(order.index).index("CQL") + 1
    claim(place > len(order) / 2, "CQL gains less than most at the same distance")
    return (
        "CQL is robust but leaves signal unused",
        "second half holds, first untested",
        f"at KL .03 on Jester `CQL` gains {plain(order['CQL'])}, number {place} of {len(order)} "
        f"(`{order.index[0]}` {plain(order.iloc[0])}); it is not on the grid of errors yet",
    )


def inverted_u(noise: Results) -> tuple[str, str, str]:
    tried = noise.beside(JESTER).frontier
    values = tried[tried["method"] == "ExpRSFT"].set_index("strength")["value"]
    spread = values.max() - values.min()
    claim(spread < LOSS, "Exp-RSFT's temperatures do not differ in lists")
    return (
        "Exp-RSFT is an inverted U in its temperature",
        "not to be seen here",
        f"the {len(values)} temperatures tried on Jester lie within {plain(spread)} stars in lists",
    )


CLAIMS = (a_sft_is_best, over_fit, cql_leaves_signal, inverted_u)


def table(noise: Results) -> str:
    rows = [" | ".join(each(noise)) for each in CLAIMS]
    return "\n".join(
        ["| claim | here | evidence |", "|---|---|---|", *(f"| {row} |" for row in rows)]
    )
