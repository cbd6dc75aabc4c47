"""The command line: how each command calls the framework, and what every ending exits with."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from recsys_posttrain import endings
from recsys_posttrain.cli import app
from recsys_posttrain.data.table_file import FileRules
from recsys_posttrain.errors import UserError
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.studies import execute
from recsys_posttrain.studies.own_files import OwnFiles
from recsys_posttrain.sweep import run as sweep_run


@pytest.fixture
def calls(monkeypatch):
    """Stands in for the functions behind the commands; each call is recorded."""
    made = []
    for module, name in (
        ("studies.study", "run_study"),
        ("studies.study", "study_table"),
        ("studies.agreement", "study_agreement"),
        ("sweep.run", "run_sweep"),
        ("recommendation", "recommend"),
    ):

        def record(*arguments, name=name):
            made.append((name, *arguments))

        monkeypatch.setattr(f"recsys_posttrain.{module}.{name}", record)
    return made


def _verbs(command, words=""):
    for name, inner in getattr(command, "commands", {}).items():
        yield from _verbs(inner, f"{words} {name}".strip())
    if not hasattr(command, "commands"):
        yield words


VERBS = list(_verbs(typer.main.get_command(app)))


def test_the_verbs_are_found():
    assert {"doctor", "data fetch", "run", "sweep", "table"} <= {*VERBS}
    live = {verb.removeprefix("live ") for verb in VERBS if verb.startswith("live ")}
    assert live == {"materialize", "serve", "produce", "gateway"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys, end):
    assert end(*verb.split(), "--help") == 0
    assert f"Example:\n    recsys-posttrain {verb}" in capsys.readouterr().out


HELP = "from recsys_posttrain.__main__ import main\ntry: main()\nexcept SystemExit: pass\n"
DATA = "import recsys_posttrain.data\n"


@pytest.mark.parametrize(("words", "code"), [([], HELP), (["live"], HELP), ([], DATA)])
def test_help_and_the_data_package_import_nothing_slow(words, code):
    script = (
        f"import sys; sys.argv = ['x', *{words}, '--help']\n{code}"
        "slow = {'torch', 'pandas', 'numpy', 'rich', 'pyarrow', 'redis', 'starlette', 'datasets'}\n"
        "print('SLOW', sorted(slow & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "SLOW []", done.stderr


GIVEN = {
    "run": (
        "--set a=1 --set b.c=2 --dataset ml-1m --seeds 3 --workers 4 --output ~/out "
        "--eval-split validation --split global-time --liked 80% --reward-zero -3 "
        "--duplicates first --repeats never --data-root=~/x.zip --available ~/w.csv "
        "--item-features v.parquet --reward-model m.py --pretrained=~/p.py",
        execute.Options(),
        execute.Options(
            overrides=(
                *("a=1", "b.c=2", "repeats=never"),
                *("available=/home/me/w.csv", "item_features=v.parquet"),
            ),
            dataset="ml-1m",
            seeds=3,
            workers=4,
            data_root="/home/me/x.zip",
            output=Path("/home/me/out"),
            eval_split="validation",
            split="global-time",
            thresholds=Thresholds(liked="80%", zero=-3.0),
            rules=FileRules(duplicates="first"),
            own=OwnFiles("m.py", "/home/me/p.py"),
        ),
    ),
    "sweep": (
        "--dataset ml-1m --trials 4 --seeds 3 --workers 2 --storage postgresql://a/b "
        "--accept-changes --data-root x.zip --output out "
        "--top 4.5 --disliked 1 --duplicates last --repeats never --available w.csv "
        "--item-features v.parquet --reward-model m.py --pretrained=p.py",
        sweep_run.Options(),
        sweep_run.Options(
            dataset="ml-1m",
            trials=4,
            seeds=3,
            workers=2,
            storage="postgresql://a/b",
            accepts_changes=True,
            data_root="x.zip",
            output=Path("out"),
            thresholds=Thresholds(top=4.5, disliked=1.0),
            changes=("repeats=never", "available=w.csv", "item_features=v.parquet"),
            rules=FileRules(duplicates="last"),
            own=OwnFiles("m.py", "p.py"),
        ),
    ),
}


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_everything_is_passed_on(verb, tmp_path, monkeypatch, calls, end):
    words, default, given = GIVEN[verb]
    file = tmp_path / "study.py"
    file.write_text("")
    monkeypatch.setenv("HOME", "/home/me")
    assert end(verb, file) == 0
    assert end(verb, file, *words.split()) == 0
    name = {"run": "run_study", "sweep": "run_sweep"}[verb]
    assert calls == [(name, file, default), (name, file, given)]


def test_table_and_recommend_pass_everything_on(tmp_path, monkeypatch, calls, end):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/x", "runs/y", "p"):
        (tmp_path / folder).mkdir(parents=True)
    assert end("table", "runs/x") == 0
    assert end("table", "runs/x", "--relative-to", "RWR", "--control", "DPO", "--output", "o") == 0
    assert end("table", "x", "--against", "y") == 0
    assert end("recommend", "p", "--users", "1, 22", "--k", "5") == 0
    given = "--histories", "h.csv", "--output", "o.csv", "--columns", "uid"
    assert end("recommend", "p", *given) == 0
    assert end("recommend", "p", "--users", "3", "--data-root", "x.zip", "--bfloat16-items") == 0
    assert calls == [
        ("study_table", Path("runs/x"), None, None, None),
        ("study_table", Path("runs/x"), "DPO", "RWR", Path("o")),
        ("study_table", Path("runs/x"), None, None, None),
        ("study_agreement", Path("runs/x"), Path("runs/y")),
        ("recommend", Path("p"), ["1", "22"], None, 5, *[None] * 6, "", "", *[None] * 2, "", False),
        (
            "recommend",
            Path("p"),
            None,
            Path("h.csv"),
            10,
            Path("o.csv"),
            *[None] * 5,
            "uid",
            "",
            *[None] * 2,
            "",
            False,
        ),
        (
            "recommend",
            Path("p"),
            ["3"],
            None,
            10,
            None,
            "x.zip",
            *[None] * 4,
            "",
            "",
            *[None] * 2,
            "",
            True,
        ),
    ]


TURNED = SystemExit(1)  # what a library makes of an interrupt
TURNED.__context__ = KeyboardInterrupt()


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        (UserError("no such thing 'x': use y"), 2, "error: no such thing 'x': use y\n"),
        (KeyboardInterrupt(), 130, "run the same command again"),
        (TURNED, 130, "run the same command again"),
        (ZeroDivisionError("ours"), 1, "ZeroDivisionError: ours"),
    ],
)
def test_how_a_command_ends(tmp_path, monkeypatch, capsys, error, code, printed, end):
    def run_study(*arguments):
        raise error

    def leave(number):  # the process of the tests goes on (test_endings.py has what it does)
        print(endings._line(number), file=sys.stderr)
        raise SystemExit(128 + number)

    monkeypatch.setattr("recsys_posttrain.studies.study.run_study", run_study)
    monkeypatch.setattr(endings, "_leave", leave)
    (tmp_path / "study.py").write_text("")
    assert end("run", tmp_path / "study.py") == code
    message = capsys.readouterr().err
    assert printed in message
    assert ("Traceback" in message) == (code == 1)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["rnu"], "rnu"),
        (["table", "x", "--relativ-to", "RWR"], "--relative-to"),
        (["run", "x.py", "--device", "gpu0"], "--device gpu0: give cpu, cuda, or one GPU by its"),
        (["advise", "--dataset", "ml-100k", "--device", "cuda:x"], "--device cuda:x: give cpu"),
        (["recommend", "p"], "recommend needs --users IDS or --histories FILE, and not both"),
        (["recommend", "p", "--users", "1", "--histories", "h.csv"], "and not both"),
        (["recommend", "p", "--users", "1", "--k", "0"], "--k"),
        (["recommend", "q", "--users", "1"], "q: there is no such study or folder"),
        (["recommend", "p", "--users", "1", "--method", "BC"], "p is no study; leave --method"),
        (["run", "movielens"], "did you mean 'movielens_main'?"),
        (["data", "audit", "ml-100"], "did you mean 'ml-100k'"),
        (["data", "fetch", "none.csv"], "none.csv"),
    ],
)
def test_a_users_mistake_exits_with_2_and_names_it(
    arguments, printed, tmp_path, monkeypatch, capsys, end
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").mkdir()
    assert end(*arguments) == 2
    message = capsys.readouterr().err
    assert printed in message
    assert "Traceback" not in message


def test_data_fetch_and_audit_print_the_facts(tmp_path, monkeypatch, capsys, end):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    rows = [f"{user},{item},{1 + item % 5},{item}" for user in range(6) for item in range(4)]
    (tmp_path / "mine.csv").write_text(
        "\n".join(["user_id,item_id,rating,timestamp", *rows, "0,99,5,50"]) + "\n"
    )
    assert end("data", "fetch", tmp_path / "mine.csv") == 0
    assert "24 events, 6 users, 4 items" in capsys.readouterr().out
    assert end("data", "audit", tmp_path / "mine.csv") == 0
    assert "25 events, 6 users, 5 items" in capsys.readouterr().out


def test_data_audit_prints_the_headroom_of_a_world(tmp_path, monkeypatch, capsys, end):
    """Ten people rate everything 10 (reward 5), thirty -5 (reward 2), and two, who make the jokes
    popular, leave one out: all items are alike, 2.75 on average."""
    rating_UV = np.full((42, 100), -5.0)
    rating_UV[:10], rating_UV[40, 99], rating_UV[41, 0] = 10.0, np.nan, np.nan
    monkeypatch.setattr("recsys_posttrain.worlds.jester.jester_ratings", lambda root: rating_UV)
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    assert end("data", "audit", "jester") == 0
    printed = capsys.readouterr().out
    assert "popularity 2.750 (2.750), best fixed list 2.750" in printed
    assert "jester has no headroom" in printed


def test_doctor_finds_this_environment_usable_and_says_what_is_missing(
    tmp_path, monkeypatch, capsys, end
):
    from recsys_posttrain import doctor

    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "RECSYS_POSTTRAIN_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert end("doctor") == 0
    printed = capsys.readouterr().out
    assert "offline: not logged in" in printed
    assert "give --data-root ml-1m.zip" in printed
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / "raw" / "ml-1m").mkdir(parents=True)
    (tmp_path / "raw" / "ml-1m" / "ratings.dat").write_text("x")
    (tmp_path / "lock").write_text("# comment\ntyper==0.0.1\nno-such-package==1\n")
    monkeypatch.setattr(doctor, "LOCK", tmp_path / "lock")
    assert end("doctor") == 0
    printed = capsys.readouterr().out
    assert "online (logged in)" in printed
    assert "secret" not in printed
    assert "data-root ml-1m.zip" not in printed
    assert "(lock: 0.0.1), no-such-package is missing (lock: 1)" in printed
    (tmp_path / "lock").write_text("torch==2.13.0\n")  # a local build is that version too
    monkeypatch.setattr("importlib.metadata.version", lambda package: "2.13.0+cpu")
    assert end("doctor") == 0
    assert "1 of 1 as in lock" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "NEWEST", (3, 0))
    assert end("doctor") == 2
    assert "use 3.11, 3.12 or 3.13" in capsys.readouterr().out
