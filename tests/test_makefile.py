"""The Makefile: help is complete, flags reach the command, and a wrong Python is refused."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VARIABLES = [
    *("DATASET", "SPLIT", "SEEDS", "METHODS", "DEVICE", "DATA_ROOT", "STUDY", "WORKERS", "TRIALS"),
    *("STORAGE", "SET", "PYTHON", "PIP_ARGS"),
]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def _make(*arguments, folder=ROOT, path=None):
    """Exit code and everything printed; variables of this process's own make do not reach it."""
    unwanted = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", *VARIABLES}
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment |= {"PATH": path or environment["PATH"]}
    done = subprocess.run(
        [str(shutil.which("make")), "--no-print-directory", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def _command(*arguments):
    code, printed = _make("-n", *arguments)
    assert code == 0, printed
    return " ".join(printed.replace("\\\n", " ").split())


def _flags(*arguments):
    return _command("benchmark", *arguments).partition("recsys_posttrain run ")[2]


def test_make_alone_lists_every_target_and_variable():
    code, printed = _make()
    assert code == 0
    assert printed == _make("help")[1]
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    listed = re.findall(r"^  ([a-z-]+) +\S", printed, re.MULTILINE)
    assert listed == phony[1].split()
    assert re.findall(r"^  ([A-Z_]+)=", printed, re.MULTILINE) == VARIABLES
    assert set(VARIABLES) == set(re.findall(r"^([A-Z_]+) \?=", makefile, re.MULTILINE))


def test_benchmark_passes_its_variables_as_flags():
    study = "experiments/movielens_main.py"
    assert _flags() == f'{study} --dataset "ml-100k"'
    assert _flags("DATASET=ml-1m") == f'{study} --dataset "ml-1m"'
    assert _flags("METHODS=ASFT(model),DPO") == (
        f'{study} --dataset "ml-100k" --methods "ASFT(model),DPO"'
    )
    assert _flags("SPLIT=global-time") == f'{study} --dataset "ml-100k" --split "global-time"'
    assert _flags(
        "SEEDS=3", "WORKERS=2", "DEVICE=cuda", "DATA_ROOT=a b/c.zip", "SET=a.b=1 c=2"
    ) == (
        f'{study} --dataset "ml-100k" --seeds "3" --workers "2" --device "cuda" '
        '--data-root "a b/c.zip" '
        '--set "a.b=1" --set "c=2"'
    )


def test_sweep_is_small_on_ml_100k_alone_and_ends_in_the_page():
    sweep = "recsys_posttrain sweep experiments/sweep_noise.py"
    assert _command("sweep").endswith(
        f'{sweep} --dataset "ml-100k" --workers "2" --trials "3" --seeds "2" --report'
    )
    for dataset in ("a/my log.csv", "log.v1.csv", "a/ml-100k ml-100k.csv"):
        assert _command("sweep", f"DATASET={dataset}").endswith(
            f'{sweep} --dataset "{dataset}" --workers "2" --report'
        )
    assert _command(
        "sweep", "TRIALS=9", "SEEDS=1", "WORKERS=4", "STORAGE=postgresql://a/b"
    ).endswith(f'{sweep} --dataset "ml-100k" --workers "4" --trials "9" --seeds "1" --report')


def test_dashboard_serves_the_file_or_the_server():
    dashboard = "recsys_posttrain dashboard experiments/sweep_noise.py"
    assert _command("dashboard", "DATASET=a/my log.v1.csv").endswith(
        f'{dashboard} --dataset "a/my log.v1.csv"'
    )
    assert _command("dashboard", "STORAGE=postgresql://a@c/d").endswith(
        f'{dashboard} --dataset "ml-100k"'
    )


def test_the_live_bench_writes_the_committed_result():
    command = _command("live-bench")
    assert command.endswith("benchmarks/live_bench.py --output benchmarks/results/live_bench")


def _checkout(folder):
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def _python(path, answer, code):
    """A stand-in for an interpreter: `code` is how it answers whether it fits."""
    path.write_text(f'#!/bin/sh\nif [ "$1" = -V ]; then echo "{answer}"; exit 0; fi\nexit {code}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_python_that_does_not_fit_is_refused_in_one_sentence(tmp_path):
    checkout = _checkout(tmp_path / "a folder")
    _python(tmp_path / "python3", "Python 3.9.18", 1)
    code, printed = _make("setup", f"PYTHON={tmp_path}/python3", folder=checkout)
    assert code == 2
    assert "is Python 3.9.18: Python 3.11, 3.12 or 3.13 (with venv) is needed" in printed
    code, printed = _make("setup", "PYTHON=no-such-python", folder=checkout)
    assert code == 2
    assert "PYTHON=no-such-python is" in printed
    for tool in ("sh", "rm", "touch"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    code, printed = _make("setup", folder=checkout, path=str(tmp_path))
    assert code == 2
    assert "no Python 3.11, 3.12 or 3.13 (with venv) was found, python3 is Python 3.9.18" in printed
    assert not (checkout / ".venv").exists()


def test_a_failed_installation_leaves_no_stamp_and_a_good_one_is_not_repeated(tmp_path):
    checkout = _checkout(tmp_path / "a folder")
    python = tmp_path / "python3"
    # `-m venv --clear .venv` copies the stand-in; `-m pip` fails while the file `broken` is there.
    python.write_text(
        '#!/bin/sh\ncase "$1 $2" in\n"-V ") echo "Python 3.12.1" ;;\n'
        '"-m venv") echo VENV; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;\n'
        '"-m pip") [ ! -e broken ] && echo "PIP $*" ;;\nesac\n'
    )
    python.chmod(0o755)
    stamp = checkout / ".venv" / ".stamp"
    (checkout / "broken").touch()
    setup = ("setup", f"PYTHON={python}", "PIP_ARGS=--some-index")
    assert _make(*setup, folder=checkout)[0] == 2
    assert not stamp.exists()
    (checkout / "broken").unlink()
    code, printed = _make(*setup, folder=checkout)
    assert code == 0, printed
    assert "VENV" in printed.split()  # what the failed attempt left is not trusted
    installed = [line for line in printed.splitlines() if line.startswith("PIP")]
    unchecked, checked, rest, ours = (line.split("-version-check ")[1] for line in installed)
    assert re.fullmatch(r"--some-index --no-deps torch==[\d.]+", unchecked)
    assert checked == "--some-index --require-hashes --no-deps -r requirements.lock"
    assert re.fullmatch(r"--some-index torch==[\d.]+", rest)
    assert ours.endswith("-e .")
    assert stamp.exists()
    code, printed = _make(*setup, folder=checkout)
    assert (code, "PIP" in printed, "VENV" in printed) == (0, False, False)
    later = stamp.stat().st_mtime + 10
    os.utime(checkout / "requirements.lock", (later, later))
    (checkout / "broken").touch()
    assert _make(*setup, folder=checkout)[0] == 2
    assert not stamp.exists()


def test_another_python_than_the_environments_is_refused(tmp_path):
    checkout = _checkout(tmp_path / "checkout")
    (checkout / ".venv" / "bin").mkdir(parents=True)
    _python(checkout / ".venv" / "bin" / "python", "Python 3.11.7", 0)
    _python(tmp_path / "python3", "Python 3.12.1", 0)
    (checkout / ".venv" / ".stamp").touch()
    code, printed = _make("setup", f"PYTHON={tmp_path}/python3", folder=checkout)
    assert code == 2
    assert "error: .venv is Python 3.11.7 and PYTHON=" in printed
    assert "is Python 3.12.1: run make clean first to change it" in printed
