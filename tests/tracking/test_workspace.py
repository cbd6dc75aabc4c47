"""The workspace, from its specification; nothing is sent anywhere."""

import pytest

from recsys_posttrain.report.study_folder import study_folder
from recsys_posttrain.tracking.workspace import workspace

pytest.importorskip("wandb_workspaces", reason="the extra `workspaces` is not installed")


def test_every_panel_reads_what_is_logged(finished_study):
    made = workspace(study_folder(finished_study), "somebody", "project")._to_model()
    spec = made.model_dump()["spec"]["section"]
    sections = {each["name"]: each["panels"] for each in spec["panel_bank_config"]["sections"]}
    assert list(sections) == ["Noise against quality", "Over-optimisation", "Leaderboard", "Trials"]

    def of_kind(name, kind):
        return [each["config"] for each in sections[name] if each["view_type"] == kind]

    by_quality, by_level = of_kind("Noise against quality", "Run History Line Plot")
    assert by_quality["x_axis"] == "reward_model/quality"
    assert "by_quality/model ItemBias/PPO" in by_quality["metrics"]
    assert by_level["x_axis"] == "noise/level"
    assert "by_level/model ItemBias/PPO" in by_level["metrics"]
    scattered = {each["y_axis"] for each in of_kind("Noise against quality", "Scatter Plot")}
    assert scattered >= {"summary:ndcg@10", "summary:reward/gold@5"}
    (curves,) = of_kind("Over-optimisation", "Media Browser")
    assert curves["media_keys"] == ["over_optimisation/PPO"]
    (forest,) = of_kind("Leaderboard", "Media Browser")
    assert forest["media_keys"][0] == "differences/reward gold@5"
    (parallel,) = of_kind("Trials", "Parallel Coordinates Plot")
    axes = [column["accessor"] for column in parallel["columns"]]
    # A key with a dot is a path in W&B: the config of a trial is nested likewise.
    parameters = ["config:param.value.temperature"]
    assert axes == ["config:algorithm.value", "config:noise.value", *parameters, "summary:value"]
    (filtered,) = spec["run_sets"][0]["filters"]["filters"]
    assert (filtered["key"]["name"], filtered["value"]) == ("group", "drawn")
