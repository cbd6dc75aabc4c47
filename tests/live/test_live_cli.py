"""`recsys-posttrain live ...`: its verbs, and what every ending exits with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_posttrain.live.cli import EXTRA, app
from recsys_posttrain.live.materialized import Materialized


@pytest.fixture
def end(end, capsys):
    """(exit code, stdout, stderr) of `recsys-posttrain live ARGUMENTS`, in this process."""
    return lambda *arguments: (end("live", *arguments), *capsys.readouterr())


@pytest.fixture
def rules_file(tmp_path):
    path = tmp_path / "final.json"
    rules = {"event": "final", "live_title": "7", "stages": {"before": None, "live": 1}}
    path.write_text(json.dumps(rules))
    return path


def test_materialize_writes_what_servers_read(end, policy_folder, rules_file, tmp_path):
    output = tmp_path / "final"
    options = ("--rules", rules_file, "--output", output)
    code, out, _ = end("materialize", policy_folder, *options, "--k", 4, "--users", "3, 12")
    assert code == 0
    lists = Materialized.open(output)
    assert out == (
        f"{output}: event final, stages before, live; 2 users, at most 4 items each; "
        f"version {lists.version[:16]}\n"
    )
    assert lists.of("12")["live"][0] == "7"
    assert lists.of("4") is None


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ("--k 1 --users 99", "small has no user '99'"),
        ("--rules none.json", "none.json does not exist: give a file such as"),
        ("--k 40", "--k 40: give at most 39"),
        ("--k 0", "--k"),
    ],
)
def test_a_users_mistake_is_one_sentence(end, policy_folder, rules_file, tmp_path, words, printed):
    options = ("--rules", rules_file, "--output", tmp_path / "final")
    code, _, error = end("materialize", policy_folder, *options, *words.split())
    assert code == 2
    assert printed in error
    assert "Traceback" not in error
    code, _, error = end("materialize", tmp_path, *options)
    assert code == 2
    assert error.startswith(f"error: {tmp_path}/policy.json does not exist: give the folder of")


@pytest.mark.parametrize("package", [*EXTRA, "other"])
def test_a_package_of_the_extra_that_is_missing_is_one_sentence(end, monkeypatch, package):
    def show():
        raise ModuleNotFoundError(f"No module named {package!r}", name=f"{package}.inner")

    monkeypatch.setattr(app, "registered_commands", [])
    app.command("show")(show)
    code, _, error = end("show")
    if package == "other":
        assert code == 1
        assert "ModuleNotFoundError: No module named 'other'" in error
        return
    assert code == 2
    needs = f"error: `live show` needs {package}, which is not installed: "
    assert f"{needs}pip install 'recsys-posttrain[live]'\n" in error


@pytest.mark.parametrize("name", ["bench", "demo", "device", "gateway"])
def test_a_script_of_the_rig_without_the_extra_is_one_sentence(name):
    path = Path(__file__).parents[2] / "benchmarks" / f"live_{name}.py"
    program = (
        f"import runpy, sys; sys.path.insert(0, {str(path.parent)!r})\n"
        "sys.modules['websockets'] = None  # as where nothing finds it\n"
        f"runpy.run_path({str(path)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    needs = "error: benchmarks/live needs websockets, which is not installed: "
    assert done.stderr == f"{needs}pip install 'recsys-posttrain[live]'\n"
