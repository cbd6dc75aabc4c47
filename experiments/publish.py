"""Copies of a finished study what may be published into experiments/results/.

    python experiments/publish.py runs/whole_field-jester

Tables, captions and the record go as they are. Rows per target name people of the data, whose
licences forbid passing them on; of a world go the rows of what its table compares, with users
numbered from 0, the true values and the distance to the pretrained policy, rounded to `DIGITS`.
From them every mean of the table can be computed again:

    rows.groupby(["place", "kind", "level", "method", "strength"])["reward/gold@5"].mean()

`strengths.csv` has the means over users of all strengths and seeds, also of those that no table
shows; what is gained at equal KL follows from them. docs/results.md describes the columns.
"""

import shutil
import sys
from pathlib import Path

import pandas as pd

from recsys_posttrain.errors import UserError
from recsys_posttrain.files import write_parquet, write_text
from recsys_posttrain.report.study_folder import study_folder
from recsys_posttrain.studies.choose import TRIAL

RESULTS = Path(__file__).resolve().parent / "results"
TABLES = ("table", "equal_kl", "selection", "pairs", "cutoffs", "frontier", "validation")
MODELS = ("reward_models", "judge")
PUBLISHED = (
    "run.json",
    "definition.json",
    "quality.png",
    "frontier.png",
    *(f"{name}{ending}" for name in TABLES for ending in (".csv", ".json", ".md", ".tex")),
    *(f"{name}{ending}" for name in MODELS for ending in (".json", ".md")),
)
VALUES = ["reward/gold", "reward/gold@5", "kl"]
DIGITS = 4


def published_rows(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """One row per condition of the table, seed and user. rows: one target of each user.

    A method that the noise cannot change has no rows under it, nor has "do nothing": the table
    takes theirs from without noise, and from the pretrained policy.
    """
    compared = table[TRIAL].drop_duplicates()
    found = rows[[*TRIAL, "seed", "user_id", *VALUES]].merge(compared, on=TRIAL)
    found["user"] = pd.factorize(found.pop("user_id"), sort=True)[0]
    found[VALUES] = found[VALUES].round(DIGITS).astype("float32")
    return found[[*TRIAL, "seed", "user", *VALUES]]


def strength_means(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per condition, strength and seed: means over users."""
    return rows.groupby([*TRIAL, "seed"], as_index=False, sort=False)[VALUES].mean().round(6)


def publish(folder: Path, results: Path = RESULTS) -> Path:
    """Returns the folder written, in place of what stood there. Raises: UserError."""
    study = study_folder(folder)
    rows = study.frame("rows.parquet")
    target = results / folder.resolve().name
    target.mkdir(parents=True, exist_ok=True)
    for old in target.iterdir():
        old.unlink()
    for name in PUBLISHED:
        if (folder / name).exists():
            shutil.copy(folder / name, target / name)
    if rows is not None and "reward/gold" in rows:
        found = published_rows(rows, study.cells)
        write_parquet(found, target / "rows.parquet")
        text = strength_means(rows).to_csv(index=False)
        write_text(target / "strengths.csv", text)
    return target


def main(folders: list[str]) -> int:
    for folder in folders:
        try:
            print(publish(Path(folder)))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
