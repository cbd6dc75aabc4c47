"""`recsys-posttrain posttrain`: a stage that recommends, goes on itself, and resumes exactly."""

import json
from pathlib import Path

import pandas as pd
import pytest
from continued import STEPS, posttrain

from recsys_posttrain.errors import UserError
from recsys_posttrain.files import sha256_of
from recsys_posttrain.histories import histories_of_dataset
from recsys_posttrain.models.checkpoint import load_policy
from recsys_posttrain.recommendation import recommend
from recsys_posttrain.training import fit as fit_file
from recsys_posttrain.training.module import TrainingModule


@pytest.fixture(scope="module")
def tuesday(drift, tmp_path_factory):
    """The folder, what was printed, and where stages are."""
    output = tmp_path_factory.mktemp("runs")
    return *posttrain(drift, output), output


def test_its_folder_says_where_it_comes_from(drift, tuesday):
    folder, printed, _ = tuesday
    record = json.loads((folder / "run.json").read_text())
    assert record["policy_sha256"] == sha256_of(drift.policy / "policy.safetensors")
    assert record["new_events"] == len(drift.tuesday) - 12
    assert record["newest_before"] == drift.monday["timestamp"].max()
    assert (record["replay"], record["steps"], record["guard"]) == (0.5, STEPS, "")
    assert record["algorithm"] == {"class": "BC"}
    assert record["posttraining"]["steps"] == STEPS
    table = (folder / "table.md").read_text()
    assert table.strip() in printed
    assert f"{record['new_events']:,} new events, {len(drift.monday):,} before" in printed
    assert f"KL to the saved policy {record['kl']:.3f} nats" in printed


def test_it_recommends_after_both_days(drift, tuesday):
    """Neither log alone knows all that a user had."""
    folder = tuesday[0]
    saved = load_policy(folder)
    users, histories = histories_of_dataset(saved, ["user 0", "new 3", "user 1"], None)
    had = pd.concat([drift.monday, drift.tuesday]).groupby("user_id")["item_id"].agg(set)
    ends = histories.offsets_N1.tolist()
    for n, user in enumerate(users):
        items = saved.item_ids[histories.items_E[ends[n] : ends[n + 1]].numpy() - 1]
        assert set(items) == had[user] - {"a film of tuesday"}
    lists = recommend(folder, list(users), None, 4, None)
    assert lists.groupby("user_id").size().eq(4).all()
    assert not any(row.item_id in had[row.user_id] for row in lists.itertuples())


def test_the_same_command_reuses_it(drift, tuesday):
    folder, _, output = tuesday
    again, printed = posttrain(drift, output)
    assert again == folder
    assert printed.rstrip().endswith("(reused)")
    other, _ = posttrain(drift, output, "--replay", "0")
    assert other != folder


def test_wednesday_goes_on_from_tuesday(drift, tuesday):
    folder, _, output = tuesday
    third = drift.tuesday.assign(
        timestamp=drift.tuesday["timestamp"] + 86_400,
        item_id=drift.tuesday["item_id"].iloc[::-1].to_numpy(),
    )
    third = third.merge(
        pd.concat([drift.monday, drift.tuesday])[["user_id", "item_id"]], how="left", indicator=True
    )
    third = third[third.pop("_merge") == "left_only"].drop_duplicates(["user_id", "item_id"])
    drift.file("wednesday.csv", third)
    last, _ = posttrain(drift, output, policy=folder, log="wednesday.csv")
    record = json.loads((last / "run.json").read_text())
    known = set(drift.monday["item_id"])
    all_old = pd.concat([drift.monday, drift.tuesday])
    assert record["old_events"] == all_old["item_id"].isin(known).sum()
    assert record["new_events"] == third["item_id"].isin(known).sum()
    source = json.loads((last / "source.json").read_text())["dataset"]
    assert [Path(each["path"]).name for each in source["logs"]] == [
        "monday.csv", "tuesday.csv", "wednesday.csv",
    ]  # fmt: skip
    cards = [json.loads((each / "policy.json").read_text()) for each in (drift.policy, last)]
    assert cards[0]["item_ids"] == cards[1]["item_ids"]
    assert cards[1]["numbered_by"] == cards[0]["content_hash"] != cards[1]["content_hash"]


class Killed(BaseException):
    pass


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(drift, tmp_path, monkeypatch):
    """Also where the guard stops it on the way."""
    words = ["--set", "posttraining.guard.kl=0.02", "--set", "posttraining.guard.every=2"]
    words += ["--set", "posttraining.learning_rate=0.02"]
    whole, _ = posttrain(drift, tmp_path / "whole", *words)
    steps = json.loads((whole / "run.json").read_text())["steps"]
    assert 2 < steps < STEPS
    monkeypatch.setattr(fit_file, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    step_of_module, died = TrainingModule.training_step, []

    def step(module, batch, index):
        if module.steps_done > 0 and module.steps_done not in died:
            died.append(module.steps_done)
            raise Killed
        return step_of_module(module, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", step)
    for _ in range(STEPS):
        try:
            resumed, _ = posttrain(drift, tmp_path / "killed", *words)
            break
        except Killed:
            assert not list((tmp_path / "killed" / "stages").glob("*")), "nothing half-written"
    assert died == list(range(1, steps))
    assert resumed.name == whole.name
    for name in ("policy.safetensors", "metrics.jsonl", "table.csv", "policy.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name


REFUSED = {
    "method": (
        ["--method", "AFST"],
        r"--method AFST: there is no such method; did you mean 'ASFT'",
    ),
    "reward": (
        ["--method", "ASFT"],
        r"ASFT reads a reward model, and there is none: give one with",
    ),
    "field": (["--set", "algorithm.temperature=1"], r"BC has no field 'temperature'"),
    "folder": (["--reward", "nowhere"], r"nowhere holds no reward model"),
    "share": (["--replay", "2"], r"replay=2.0 must be a share"),
    "gap": (
        ["--set", "posttraining.guard.gap=1"],
        r"guard.gap=1.0 is between a reward model and a judge",
    ),
    "columns": (["--columns", "user=uid"], r"uid"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mistake_is_one_sentence_and_leaves_nothing(drift, tmp_path, kind):
    words, sentence = REFUSED[kind]
    with pytest.raises(UserError, match=sentence):
        posttrain(drift, tmp_path / "runs", *words)
    assert not list(tmp_path.rglob("*"))


def test_what_is_no_policy_is_refused(drift, tmp_path):
    with pytest.raises(UserError, match=r"give the folder of a pretrained or post-trained policy"):
        posttrain(drift, tmp_path, policy=tmp_path)
    with pytest.raises(UserError, match=r"missing\.csv"):
        posttrain(drift, tmp_path, log="missing.csv")
