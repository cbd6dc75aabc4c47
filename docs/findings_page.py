"""Writes the findings of results.md from committed results.

    python docs/findings_page.py

Each function of findings_field.py, findings_noise.py and findings_ml_1m.py is one finding: it
checks its sentences and fills in the figures (findings.py). The page holds them between two marks;
a test writes them again and finds no difference.
"""

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from findings import JESTER, SEMI, Refuted, Results
from findings_claims import table
from findings_field import (
    a_sft_and_exp_rsft,
    another_world,
    controls_hold,
    lists_and_expectations,
    one_list_for_everyone,
    tilt_leads,
)
from findings_ml_1m import do_answers_carry, what_people_chose
from findings_noise import a_better_model, which_axis, who_should_choose, without_a_choice

ROOT = Path(__file__).resolve().parents[1]
MARKS = "<!-- written by docs/findings_page.py -->", "<!-- end -->"
CLAIM_MARKS = "<!-- claims, written by docs/findings_page.py -->", "<!-- end of claims -->"
CLAIMS_OF = "noise_vs_quality-jester"

FINDINGS: tuple[tuple[Callable[[Results], str], str], ...] = (
    (tilt_leads, JESTER),
    (one_list_for_everyone, JESTER),
    (controls_hold, JESTER),
    (lists_and_expectations, JESTER),
    (a_sft_and_exp_rsft, JESTER),
    (another_world, SEMI),
    (who_should_choose, "noise_vs_quality-jester"),
    (without_a_choice, "noise_vs_quality-jester"),
    (a_better_model, "noise_vs_quality-jester"),
    (which_axis, "noise_vs_quality-jester"),
    (what_people_chose, "movielens_main-ml-1m"),
    (do_answers_carry, "movielens_main-ml-1m"),
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


def between(page: str, text: str, marks: tuple[str, str] = MARKS) -> str:
    """The page with a text in place of what stands between its marks."""
    start, end = (page.index(mark) for mark in marks)
    return f"{page[: start + len(marks[0])]}\n\n{text}\n\n{page[end:]}"


def written(page: str, root: Path) -> str:
    """The page as the results in this folder give it."""
    page = between(page, findings(root))
    return between(page, table(Results(CLAIMS_OF, root)), CLAIM_MARKS)


def main() -> int:
    page = ROOT / "docs" / "results.md"
    try:
        text = written(page.read_text(encoding="utf-8"), ROOT / "experiments" / "results")
    except Refuted as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    page.write_text(text, encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
