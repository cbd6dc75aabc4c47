"""What is read back from a study's folder, with and without its parts."""

import json
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.report.study_folder import (
    by_line,
    noise_of,
    pairs_text,
    study_folder,
    value_columns,
)

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"
NOISY = "PPO, item bias 0.6"


def test_cells_have_the_noise_of_their_run_and_what_it_achieved(finished_study: Path) -> None:
    study = study_folder(finished_study)
    assert study.control == "BC"
    names = ["place", "kind", "level", "pairwise_accuracy"]
    found = study.cells.drop_duplicates("method").set_index("method")[names]
    assert found.loc[NOISY].tolist() == ["model", "ItemBias", 0.6, 0.55]
    assert found.loc["PPO"].tolist() == ["", "", 0.0, 0.7]  # the clean model's accuracy
    assert found.loc["Popularity"].tolist() == ["", "", 0.0, 0.7]


def test_runs_that_differ_in_noise_alone_are_one_line(finished_study: Path) -> None:
    lines = by_line(study_folder(finished_study), "NDCG@10 all")
    assert lines["method"].tolist() == ["Popularity", "Pretrained", "BC", "PPO", "PPO"]
    assert lines["place"].tolist() == ["", "", "", "", "model"]


def test_in_a_sweep_what_does_not_ask_the_model_stays_as_it_is(finished_study: Path) -> None:
    """Under the errors of the model it has its own value, at the accuracy that they leave."""
    path = finished_study / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sweep": {}}))
    lines = by_line(study_folder(finished_study), "NDCG@10 all")
    noisy = lines[lines["place"] == "model"].set_index("method")
    assert noisy.index.tolist() == ["PPO", "Popularity", "Pretrained", "BC"]
    assert set(noisy["kind"]) == {"ItemBias"}
    assert set(noisy["level"]) == {0.6}
    assert set(noisy["pairwise_accuracy"]) == {0.55}
    clean = lines[lines["place"] == ""].set_index("method")
    for column in ("mean", "low", "high", "difference"):
        for name in ("Pretrained", "BC"):
            assert noisy.loc[name, column] == pytest.approx(clean.loc[name, column], nan_ok=True)
    assert clean.loc["PPO", "mean"] != noisy.loc["PPO", "mean"]


def test_the_longest_name_that_a_noisy_run_begins_with_is_its_line(finished_study: Path) -> None:
    """ASFT and "ASFT, model reward" are two methods."""
    path = finished_study / "run.json"
    record = json.loads(path.read_text())
    record["runs"].append(record["runs"][0] | {"name": "P"})
    path.write_text(json.dumps(record))
    assert by_line(study_folder(finished_study), "NDCG@10 all")["method"].iloc[-1] == "PPO"


def test_the_truth_judges_before_liked_targets(finished_study: Path) -> None:
    assert value_columns(study_folder(finished_study))[:2] == ["reward gold@5", "NDCG@10 all"]
    assert value_columns(study_folder(RESULTS / "movielens_main-ml-1m"))[0] == "NDCG@10 liked"


@pytest.mark.parametrize("name", ["noise_vs_quality-ml-1m", "movielens_main-ml-1m"])
def test_published_folders_of_people_have_no_rows_and_say_so(name: str) -> None:
    study = study_folder(RESULTS / name)
    assert study.control == "BC"
    assert study.dataset == name.partition("-")[2]
    assert any(line.startswith("rows.parquet") for line in study.missing)
    assert study.cells["kind"].notna().all()


def test_a_noise_of_level_zero_is_none() -> None:
    described = {
        "model": {"class": "ItemBias", "level": 0.0},
        "log": {"class": "Flips", "level": 1},
    }
    assert noise_of(described) == ("log", "Flips", 1.0)
    assert noise_of({}) == ("", "", 0.0)


def test_the_share_of_pairs_that_count_by_hand() -> None:
    """Of a method's runs and seeds the least and the most; BC has none, nor has an older record."""
    runs = [
        {"title": "DPO, beta 2", "name": "DPO", "algorithm": {"class": "DPO"}},
        {"title": "DPO, beta 8", "name": "DPO", "algorithm": {"class": "DPO"}},
        {"title": "IPO", "algorithm": {"class": "IPO"}},
        {"title": "BC", "algorithm": {"class": "BC"}},
    ]
    kept = {"DPO, beta 2/0": 0.3, "DPO, beta 2/1": 0.25, "DPO, beta 8/0": 0.0001, "IPO/0": 0.5}
    stages = {name: {"record": {"kept": share}} for name, share in kept.items()}
    stages |= {"BC/0": {"record": {}}, "pretrained": {}}
    text = pairs_text({"runs": runs, "stages": stages})
    assert text == "pairs that count: DPO 0.01% to 30.00%, IPO 50.00% of the positions"
    assert pairs_text({}) == pairs_text({"runs": runs, "stages": {"DPO, beta 2/0": {}}}) == ""


def test_no_study_and_no_results_are_one_sentence(tmp_path: Path, finished_study: Path) -> None:
    with pytest.raises(UserError, match="there is no such study"):
        study_folder(tmp_path / "nowhere")
    (finished_study / "table.csv").unlink()
    with pytest.raises(UserError, match="holds no results"):
        study_folder(finished_study)


def test_results_without_a_record_are_refused(finished_study: Path) -> None:
    (finished_study / "run.json").unlink()
    with pytest.raises(UserError, match=r"run\.json does not exist"):
        study_folder(finished_study)
    assert len(pd.read_csv(finished_study / "table.csv"))  # untouched
