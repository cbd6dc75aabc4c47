"""Writes the findings of results.md and the table of the front page from committed results.

    python docs/findings_page.py

Each function is one finding: it checks its sentences and fills in the figures (findings.py). The
pages hold them between two marks; a test writes them again and finds no difference.
"""

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

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
    best = at.loc[trained(at.index), "gain"].idxmax()
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
    best, worst = at[names].idxmax(), at[names].idxmin()
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
    given = [name for name in at.index if name.endswith((", shuffled reward", ", constant reward"))]
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


FINDINGS: tuple[tuple[Callable[[Results], str], str], ...] = (
    (tilt_leads, "whole_field-jester"),
    (one_list_for_everyone, "whole_field-jester"),
    (controls_hold, "whole_field-jester"),
    (lists_and_expectations, "whole_field-jester"),
    (a_sft_and_exp_rsft, "whole_field-jester"),
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
