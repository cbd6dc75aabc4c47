"""--methods: which rows a study then has, and that a partial table is never taken for the whole."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain import algorithms
from recsys_posttrain.algorithms.base import family_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.studies.choose import NOTHING
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.folder import claim
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.studies.record import command_of
from recsys_posttrain.studies.study import run_study

ROOT = Path(__file__).resolve().parents[2]
STUDY = (ROOT / "tests" / "small_study.py").read_text(encoding="utf-8")
ON_REQUEST = (
    "\nfrom recsys_posttrain.algorithms import DPO, RWR"
    "\nRUNS += [replace(BASE, name='A, b', algorithm=RWR())]"
    "\nON_REQUEST = [replace(BASE, algorithm=DPO())]\n"
)
FILTERED = "\nfrom recsys_posttrain.algorithms import FilteredBC\nBASELINES = [FilteredBC()]\n"
MAIN = Path("experiments/movielens_main.py")
STRENGTHS = "strengths-ml-100k*-validation"


def labels(runs):
    return [run.label for run in runs]


@pytest.fixture
def load(tmp_path, small_ratings_csv):
    def load_with(methods, text=STUDY + ON_REQUEST, *overrides):
        (tmp_path / "other.py").write_text(text)
        return load_study(
            tmp_path / "other.py", overrides, str(small_ratings_csv), None, None, methods=methods
        )

    return load_with


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (None, ["BC", "ExpRSFT", "OfflinePPO", "A, b"]),
        ("OfflinePPO", ["BC", "OfflinePPO"]),
        (" DPO , ExpRSFT,BC", ["BC", "ExpRSFT", "DPO"]),
        ("A, b", ["BC", "A, b"]),
        ("ExpRSFT,A, b", ["BC", "ExpRSFT", "A, b"]),
        ("Popularity", ["BC"]),
    ],
)
def test_the_control_and_those_asked_for_in_the_order_of_the_study(methods, expected, load):
    study = load(methods)
    assert labels(study.runs) == expected
    assert labels(study.baselines) == ["Popularity", "Pretrained"]


def test_a_study_without_bc_keeps_its_first_trained_method(load):
    text = STUDY + "RUNS = RUNS[1:]\n"
    assert labels(load("OfflinePPO", text).runs) == ["ExpRSFT", "OfflinePPO"]


def test_a_trained_row_above_the_others_is_there_where_it_is_asked_for(load):
    text = STUDY + FILTERED
    untrained = ["Popularity", "Pretrained"]
    assert labels(load(None, text).baselines) == [*untrained, "FilteredBC"]
    assert labels(load("ExpRSFT", text).baselines) == untrained
    assert labels(load("FilteredBC", text).baselines) == [*untrained, "FilteredBC"]
    assert labels(load("FilteredBC", text).runs) == ["BC"]


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ("ExpRFST", "no method 'ExpRFST'; did you mean 'ExpRSFT'?"),
        ("BC,dpo", "no method 'dpo'; did you mean 'DPO'?"),
        ("BC,,DPO", "no method ''"),
        ("", "no method ''"),
        ("BCDPO", "no method 'BCDPO'"),
    ],
)
def test_an_unknown_method_is_named_with_the_nearest_and_all(methods, said, load):
    with pytest.raises(UserError) as refusal:
        load(methods)
    text = str(refusal.value)
    assert text.startswith(f"--methods {methods}: the study has {said}")
    known = "Popularity; Pretrained; BC; ExpRSFT; OfflinePPO; A, b; DPO"
    assert text.endswith(f"(its methods: {known})")
    assert "\n" not in text


def test_a_change_that_reaches_no_method_asked_for_is_refused(load):
    with pytest.raises(UserError, match="no run of the study has this field"):
        load("OfflinePPO", STUDY, "algorithm.temperature=0.3")
    assert load("ExpRSFT", STUDY, "algorithm.temperature=0.3").runs[1].algorithm.temperature == 0.3


def test_what_is_on_request_must_be_runs(load):
    with pytest.raises(UserError, match=r"ON_REQUEST=\[3\] must be a list of Run"):
        load("BC", STUDY + "ON_REQUEST = [3]")


def test_a_partial_table_is_not_the_whole_one(load, tmp_path):
    whole, part = load(None), load("DPO")
    assert part.name.startswith(f"{whole.name}-")
    assert part.name == load("BC, DPO").name
    assert part.name != load("ExpRSFT").name
    claim(tmp_path / "folder", whole.definition(()))
    with pytest.raises(UserError, match="methods none there and BC,DPO here"):
        claim(tmp_path / "folder", part.definition(()))
    assert "methods" not in whole.definition(())  # folders of before the option stay theirs


def test_the_command_gives_the_same_table_again(load, monkeypatch):
    command = command_of(load("A, b"), Options())
    assert command.endswith("--seeds 1 --methods 'BC,A, b'")
    monkeypatch.chdir(ROOT)
    main = Options(methods="DPO,ASFT").study(MAIN)
    assert command_of(main, Options()) == (
        "make benchmark DATASET=ml-100k SEEDS=1 METHODS=BC,ASFT,DPO"
    )
    assert labels(main.runs) == ["BC", "ASFT", "DPO"]
    shared = command_of(load("A, b"), Options(devices=2))
    assert shared.endswith("--seeds 1 --devices 2 --methods 'BC,A, b'")
    assert command_of(main, Options(devices=2)).startswith("recsys-posttrain run ")


def test_what_devices_cannot_share_is_refused_before_anything_is_read(world, tmp_path):
    options = Options(dataset="no_such.csv", output=tmp_path / "runs", devices=2, device="cuda")
    with pytest.raises(UserError, match=r"^devices=2 and device=cuda: "):
        run_study(Path("study.py"), options)
    assert not (tmp_path / "runs").exists()


def test_devices_share_pretraining_and_the_stage_says_so(world, small_ratings_csv, tmp_path):
    options = Options(
        dataset=str(small_ratings_csv), seeds=1, workers=1, output=tmp_path, methods="BC", devices=2
    )
    record = json.loads((run_study(Path("study.py"), options) / "run.json").read_text())
    assert record["stages"]["pretrained"]["record"]["devices"] == 2
    assert "--devices 2" in record["command"]


def test_the_caption_says_that_no_pair_counted(world, small_ratings_csv, tmp_path):
    """Over the table and in the record; in a study of several strengths too."""
    text = Path("study.py").read_text() + (
        "from recsys_posttrain.algorithms import DPO\n"
        "from recsys_posttrain.algorithms.pairs import SampledPairs\n"
        "LONG = replace(SHORT, epochs=4)\n"
        "RUNS = [BASE] + [\n"
        "    Run(DPO(beta=beta, pairs=SampledPairs(width=1e6)), SETUP, 'DPO', LONG,\n"
        "        strength=f'beta {beta}') for beta in BETAS\n"
        "]\n"
    )
    for name, betas in {"one": "(1.0,)", "several": "(1.0, 2.0)"}.items():
        Path(f"{name}.py").write_text(f"BETAS = {betas}\n{text}")
        options = Options(dataset=str(small_ratings_csv), seeds=1, workers=1, output=tmp_path)
        folder = run_study(Path(f"{name}.py"), options)
        caption = (folder / "table.md").read_text()
        assert "airs that count: DPO 0.00% of the positions" in caption, name
        record = json.loads((folder / "run.json").read_text())
        assert 0 in [stage["record"].get("kept") for stage in record["stages"].values()]


def test_the_caption_and_the_record_say_what_was_chosen(world, small_ratings_csv, tmp_path):
    options = Options(
        dataset=str(small_ratings_csv), seeds=1, workers=1, output=tmp_path, methods="ExpRSFT"
    )
    folder = run_study(Path("study.py"), options)
    record = json.loads((folder / "run.json").read_text())
    assert record["methods"] == ["BC", "ExpRSFT"]
    families = {each["algorithm"]["class"]: each["family"] for each in record["runs"]}
    assert families == {
        "Popularity": "no training",
        "Pretrained": "no training",
        "BC": "weighted likelihood",
        "ExpRSFT": "weighted likelihood",
    }
    table = (folder / "table.md").read_text()
    assert "; chosen: BC, ExpRSFT; commit" in table
    assert table.count("| *no training* |") == table.count("| *weighted likelihood* |") == 2


def test_the_main_study_has_the_strengths_that_validation_chose():
    """The best of each method that is trained, doing nothing apart; what has no trials is named in
    the caption."""
    results = sorted((ROOT / "experiments" / "results").glob(STRENGTHS))
    tried = pd.concat([pd.read_csv(folder / "validation.csv") for folder in results])
    tried = tried[tried["strength"] != NOTHING].drop_duplicates(["method", "strength"])
    tried = tried.reset_index(drop=True)
    best = tried.loc[tried.groupby("method")["NDCG@10 liked"].idxmax()]
    runs = load_study(ROOT / "experiments" / "strengths.py", [], None, None, None).runs
    known = {(run.label, run.strength): run for run in runs}
    main = {run.label: run for run in load_study(ROOT / MAIN, [], None, None, None).runs}
    study = load_study(ROOT / MAIN, [], None, None, None, methods="ExactPPO")
    untuned = {*main, "ExactPPO"} - set(best["method"])
    said = study.tuning.partition("; none for ")[2].partition(";")[0]
    assert set(re.split(", | and ", said)) == untuned
    for label, strength in zip(best["method"], best["strength"], strict=True):
        chosen = known[label, strength]
        assert main[label].algorithm == chosen.algorithm, label
        assert main[label].posttraining.steps == chosen.posttraining.steps, label
    trials = tried.groupby("method").size()
    assert trials.between(4, 6).all()


def test_the_main_study_has_every_algorithm_and_each_a_family(monkeypatch):
    monkeypatch.chdir(ROOT)
    study = Options(methods="ExactPPO").study(MAIN)
    assert labels(study.runs) == ["BC", "ExactPPO"]
    runs = Options().study(MAIN).runs
    exported = {
        name for name, kind in vars(algorithms).items() if isinstance(kind, type) and name.isalnum()
    }
    there = {type(run.algorithm).__name__ for run in runs} | {"ExactPPO"}
    assert exported == there
    assert all(run.family for run in (*runs, *study.runs))
    assert family_of(algorithms.Pessimistic(algorithms.GRPO())) == family_of(algorithms.GRPO())
    assert family_of(object()) == ""
