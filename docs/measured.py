"""What committed results say of one method: its rows, beside rows to compare them with."""

from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "experiments" / "results"
# Folder and file, a line that stands before the table, rows to compare with, columns (None: all),
# and what the table is.
TABLES = (
    (
        "movielens_main-ml-100k/table.md",
        "",
        ("Pretrained", "Tilt", "BC"),
        ("NDCG@10 all", "NDCG@10 liked", "NDCG@10 disliked", "reward proxy@10"),
        "MovieLens 100K, leave-one-out, one seed. †: differs from BC.",
    ),
    (
        "whole_field-jester-full-seeds/equal_kl.md",
        "reward gold, without noise:",
        ("Tilt",),
        None,
        "Jester, gain in expected true reward over the pretrained policy, at the same KL to it. "
        "A dash (to x): it never goes further than x.",
    ),
    (
        "noise_vs_quality-jester/table.md",
        "ItemBias, in the reward model's predictions:",
        ("Pretrained",),
        None,
        "Jester, true reward of lists of five while errors that belong to an item are added to the "
        "reward model (level: their sd in stars). Three seeds; validation chose the strength, and "
        "may choose to do nothing.",
    ),
    (
        "noise_vs_quality-jester/table.md",
        "ItemBias, in the logged rewards:",
        ("Pretrained",),
        None,
        "The same, with the errors in the logged rewards.",
    ),
)


def measured(name: str, root: str) -> str:
    """A section, or nothing where no committed table has the method.

    root: the way from the page to the root of the repository.
    """
    parts = []
    for file, before, beside, columns, caption in TABLES:
        rows = _rows((RESULTS / file).read_text(encoding="utf-8"), before, columns)
        own = [label for label in rows if label.partition("(")[0] == name]
        if own:
            shown = [*rows][:1] + [label for label in rows if label in {*own, *beside}]
            lines = [f"| {' | '.join([label, *rows[label]])} |" for label in shown]
            lines.insert(1, "|:--" + "|--:" * len(rows[shown[0]]) + "|")
            link = f"[Whole table]({root}/experiments/results/{file})."
            parts += [f"{caption.format(root=root)} {link}", "\n".join(lines)]
    return "\n\n".join(["## What was measured", *parts]) if parts else ""


def _rows(text: str, before: str, columns: tuple[str, ...] | None) -> dict[str, list[str]]:
    """Cells by the first one of their row, of the first table after a line; the head first."""
    after = text.partition(before)[2] if before else text
    block = after[after.index("\n|") + 1 :].partition("\n\n")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()]
    head = lines[0]
    kept = [
        place
        for place, title in enumerate(head)
        if place and (columns is None or title.rstrip(" ↑↓") in columns)
    ]
    return {line[0]: [line[place] for place in kept] for line in [head, *lines[2:]]}
