"""What a study left on disk, read for the report, for W&B and for advice.

Rows per target name users of the data and are not published, so they may be missing, as may
everything else but run.json and table.csv.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.files import read_csv, read_parquet
from recsys_posttrain.report.cells import Sheet, read_sheet
from recsys_posttrain.report.record import FIX, study_record

# What a noise achieved, see rewards/noise_report.py. Every study has the first two.
ACHIEVED = ("pairwise_accuracy", "rmse", "projected_truth", "projected_judge")
ALWAYS = ACHIEVED[:2]
TABLE = "table.csv"
JUDGED_BY = ("reward gold@5", "reward judge-rollout@5", "reward judge@10", "NDCG@10 liked")
# Of rows per target, what a seed's means are of.
METRICS = ("ndcg@10", "hr@10", "reward/proxy@10", "reward/judge@10", "reward/gold@5", "reward/gold")
# Without noise the kind is empty.
TEXTS = ("place", "kind", "strength", "noise", "reason", "stage")
TRIALS, SO_FAR = "trials.csv", "trials-so-far.csv"  # of a sweep that ended; that runs or was killed
_CELL = {
    **dict.fromkeys(("method", "column"), str),
    **dict.fromkeys(("mean", "low", "high", "difference"), float),
    "significant": bool,
}
_MAY_BE = ("difference_low", "difference_high", "p_holm")
_OF_GRID = {"place": str, "kind": str, "level": float, **dict.fromkeys(ALWAYS, float)}
COLUMNS: dict[str, dict[str, type]] = {
    TABLE: _CELL,
    TRIALS: {
        **dict.fromkeys(("algorithm", "noise", "state", "reason"), str),
        **dict.fromkeys(("trial", "value", "seconds"), float),
    },
    "curves.parquet": {
        "method": str,
        **dict.fromkeys(("seed", "step", "kl", "reward/proxy"), float),
    },
    "frontier.csv": {
        **dict.fromkeys(("place", "kind", "method", "strength"), str),
        **dict.fromkeys(("level", "value", "kl"), float),
    },
    "rows.parquet": {"method": str, "seed": float},
}
OPTIONAL = {
    "rows.parquet": "rows per target (they name users of the data and are not published)",
    "table.json": "the table as cells (`recsys-posttrain table` writes it again)",
    "reward_models.json": "the quality of the reward model",
    TRIALS: "trials of a sweep",
    "curves.parquet": "points of over-optimisation curves",
}


@dataclass(frozen=True, eq=False)
class StudyFolder:
    """record: run.json. cells: one row per method and column (and noise), unrounded. control: what
    differences are to. trials: of a sweep, one row each. missing: what the folder does not hold."""

    path: Path
    record: dict[str, Any]
    cells: pd.DataFrame
    control: str
    trials: pd.DataFrame | None
    missing: tuple[str, ...]

    @property
    def is_grid(self) -> bool:
        """Whether methods have several strengths or noises, each noise with a block of its own."""
        return "strength" in self.cells

    @property
    def name(self) -> str:
        return str(self.record.get("name", self.path.resolve().name))

    @property
    def dataset(self) -> str:
        """Of a record without it, what follows the study's name in the folder's."""
        return str(self.record.get("dataset", self.path.resolve().name.partition("-")[2]))

    def sheet(self, name: str) -> Sheet | None:
        """The cells of a table of the folder; None where there are none."""
        path = self.path / f"{name}.json"
        return read_sheet(path) if path.exists() else None

    def frame(self, name: str) -> pd.DataFrame | None:
        """A .parquet or .csv file of the folder; None where there is none."""
        path = self.path / name
        if not path.exists():
            return None
        columns = COLUMNS.get(name, {})
        if path.suffix == ".parquet":
            return read_parquet(path, columns, FIX)
        return read_csv(path, columns, TEXTS, FIX)


def study_folder(path: Path) -> StudyFolder:
    """Raises: UserError for no folder, or one without results."""
    require(path.is_dir(), f"{path}: there is no such study; give a folder such as runs/<study>.")
    require(
        has_results(path),
        f"{path} holds no results (no {TABLE}); give the folder of a study that has ended, or run "
        "the study again to finish it.",
    )
    record = study_record(path, ("commit", "command", "versions"))
    cells = read_csv(path / TABLE, COLUMNS[TABLE], TEXTS, FIX)
    is_grid = "strength" in cells  # its rows say their noise
    more = (_OF_GRID if is_grid else {}) | {name: float for name in _MAY_BE if name in cells}
    cells = read_csv(path / TABLE, COLUMNS[TABLE] | more, TEXTS, FIX)
    return StudyFolder(
        path,
        record,
        cells if is_grid else _with_noise(cells, record, path / "run.json"),
        _control(cells),
        _trials_in(path / TRIALS) if (path / TRIALS).exists() else None,
        tuple(f"{name}: {what}" for name, what in OPTIONAL.items() if not (path / name).is_file()),
    )


def trials_of(path: Path) -> pd.DataFrame | None:
    """Of a sweep's folder, those so far while it runs; None of another's."""
    there = [path / name for name in (SO_FAR, TRIALS) if (path / name).exists()]
    return _trials_in(there[0]) if there else None


def _trials_in(file: Path) -> pd.DataFrame:
    """An older file does not say in which stages a trial was trained: no name stands there."""
    trials = read_csv(file, COLUMNS[TRIALS], TEXTS, FIX)
    return trials if "stage" in trials else trials.assign(stage="")


def means_by_seed(study: StudyFolder) -> pd.DataFrame:
    """One row per method and seed: means over targets. Without rows those of the table, over all
    seeds."""
    rows = study.frame("rows.parquet")
    if rows is None or study.is_grid:  # a grid has a thousand, of which it chose some
        cells = study.cells[study.cells["place"] == ""]
        means = cells.pivot(index="method", columns="column", values="mean")
        return means.loc[cells["method"].unique()].reset_index()
    there = [name for name in METRICS if name in rows]
    rows = rows.astype({"method": str, "seed": int})
    return rows.groupby(["method", "seed"], sort=False)[there].mean().reset_index()


def has_results(path: Path) -> bool:
    return (path / TABLE).is_file()


def _control(cells: pd.DataFrame) -> str:
    """The one method that has a mean and no difference to itself."""
    alone = cells.groupby("method", sort=False)["difference"].apply(lambda d: d.isna().all())
    named = [str(method) for method in alone.index[alone]]
    return named[0] if named else str(cells["method"].iloc[0])


def _with_noise(cells: pd.DataFrame, record: Mapping[str, Any], path: Path) -> pd.DataFrame:
    """The cells with place, kind, level and what the noise achieved, from run.json's runs."""
    blank = {"method": "", "place": "", "kind": "", "level": 0.0}
    runs = [blank] + [{"method": label, **noise} for label, _, noise in runs_of(record)]
    joined = cells.merge(pd.DataFrame(runs), how="left", on="method")
    joined = joined.fillna({name: blank[name] for name in ("place", "kind", "level")})
    for name in ALWAYS if (joined["place"] != "").any() else ():
        require(name in joined, f"{path} does not say what the noise achieved ({name}): {FIX}")
    is_clean = joined["place"] == ""  # also what is no run: popularity and the pretrained policy
    for name in ACHIEVED:
        if name in joined:
            found = joined.loc[is_clean, name]
            joined.loc[is_clean, name] = found.fillna(found.max())
    return joined


def runs_of(record: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Of each run of run.json its title, its description, and its noise: place, kind, level and
    what that achieved (of a run without noise, what the clean reward model did)."""
    reports = record.get("noise", {})
    models = [report["model"] for report in reports.values() if "model" in report]
    of_clean = models[0] if models else {}
    clean = {name: of_clean[f"clean_{name}"] for name in ACHIEVED if f"clean_{name}" in of_clean}
    for run in record.get("runs", []):
        title = run.get("title") or label_of(run)
        place, kind, level = noise_of(run.get("noise") or {})
        part = "model" if place == "shared" else place
        achieved = reports.get(title, {}).get(part, {}) if place else clean
        noise = {"place": place, "kind": kind, "level": level}
        yield title, run, noise | {name: achieved[name] for name in ACHIEVED if name in achieved}


def label_of(run: Mapping[str, Any]) -> str:
    """`Run.label` of a described run."""
    return str(run.get("name") or run["algorithm"]["class"])


def families_of(record: Mapping[str, Any]) -> dict[str, str]:
    """By label the family of the methods; empty of a record without them."""
    runs = [run for run in record.get("runs", []) if "family" in run]
    return {label_of(run): str(run["family"]) for run in runs}


def pairs_text(record: Mapping[str, Any]) -> str:
    """For the caption: of how many positions the pair counts, by method; empty where none has
    pairs, and of an older record. Over runs and seeds of a method the least and the most."""
    labels = {str(run.get("title")): label_of(run) for run in record.get("runs", [])}
    shares: dict[str, list[float]] = {}
    for name, stage in record.get("stages", {}).items():
        kept, title = (stage.get("record") or {}).get("kept"), name.rpartition("/")[0]
        if kept is not None and title in labels:
            shares.setdefault(labels[title], []).append(kept)
    texts = []
    for label, found in shares.items():
        low, high = f"{min(found):.2%}", f"{max(found):.2%}"
        texts.append(f"{label} {low}" + ("" if low == high else f" to {high}"))
    return f"pairs that count: {', '.join(texts)} of the positions" if texts else ""


def noise_of(described: Mapping[str, Any]) -> tuple[str, str, float]:
    """Place, kind and level of a described RewardNoise: the model's, otherwise the log's."""
    for place in ("model", "log"):
        noise = described.get(place)
        if noise and noise.get("level"):
            place = "shared" if place == "log" and described.get("shared") else place
            return place, str(noise["class"]), float(noise["level"])
    return "", "", 0.0


def by_line(study: StudyFolder, column: str) -> pd.DataFrame:
    """The cells of one column, for figures of noise: runs that differ in their noise alone are one
    method there, called by the longest label of a run without noise that theirs begins with. A
    method of a sweep that was not run under errors of the reward model does not use that model, so
    it has its value without noise there."""
    cells = study.cells[study.cells["column"] == column]
    clean = [label for label, _, noise in runs_of(study.record) if not noise["place"]]

    def line(label: str, place: str) -> str:
        begun = [name for name in clean if label.startswith(name)] if place else []
        return max(begun, key=len, default=label)

    named = [line(*pair) for pair in cells[["method", "place"]].itertuples(index=False, name=None)]
    lines = cells.assign(method=named)
    return _with_unaffected(lines) if "sweep" in study.record else lines


def _with_unaffected(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines, and what they are without noise again under each noise that they do not have."""
    of_model, clean = lines[lines["place"] == "model"], lines[lines["place"] == ""]
    unaffected = clean[~clean["method"].isin(of_model["method"])]
    noise = ["place", "kind", "level", *(name for name in ACHIEVED if name in lines)]
    conditions = of_model[noise].drop_duplicates(["place", "kind", "level"])
    return pd.concat([lines, unaffected.drop(columns=noise).merge(conditions, how="cross")])


def value_columns(study: StudyFolder) -> list[str]:
    """The columns of the table, the one that policies are judged by first: the truth, otherwise
    the judge, otherwise liked targets. Those that have nothing to show are left out."""
    shown = study.cells[study.cells["mean"].notna()]
    there = [str(name) for name in shown["column"].unique()]
    first = next((name for name in JUDGED_BY if name in there), there[0])
    return [first, *(name for name in there if name != first)]


def without_outlier(cells: pd.DataFrame) -> pd.DataFrame:
    """Without popularity where it is further from the others than they are from one another: it
    would press them together. It stays in the table."""
    others = cells[cells["method"] != "Popularity"]
    low, high = others["low"].min(), others["high"].max()
    is_near = cells["mean"].between(2 * low - high, 2 * high - low)
    return cells[is_near | (cells["method"] != "Popularity")]
