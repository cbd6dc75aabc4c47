"""Kinds of inputs that meet a finished study, a policy, an experiment file or the command line."""

import io
import json
import shutil
import struct
import zipfile
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from damage import damage_file, damaged
from logs import Event, csv_bytes, rows_of, write_csv
from workshop import command, copied, ended, unfinished

NUMBERS = ("0", "1", "-1", "2", "0.5", "1e-3", "1e999", "nan", "inf", "", "ten", "10000000000000",
           "1e20", "true", "none", "[]", "a,b", "0x10", "1_000", "٣")  # fmt: skip
WORDS = ("", "x", "~", ".", "..", "missing.csv", "missing", "nul\0l", "ml-100", "a b", "[/b]", "-1",
         "0", "99999", "1e9", "cuda", "gpu0", "cuda:7", "liked", "BC", "é" * 300)  # fmt: skip
STATEMENTS = ("RUNS = 5", "RUNS = []", "RUNS = None", "SEEDS = ()", "SEEDS = (0, 0)", "SEEDS = 3",
              "SEEDS = (1.5,)", "SEEDS = (-1,)", "TUNING = 4", "raise SystemExit(0)", "1 / 0",
              "import nothing_of_this_name", "def", "RUNS = [BASE, BASE]", "RUNS = [1]", "exit()",
              "RUNS = RUNS * 2", "del RUNS", "RUNS = iter(RUNS)", "SEEDS = 'ab'",
              "raise ValueError('x')", "RUNS = [replace(BASE, seed='a')]")  # fmt: skip


@dataclass(frozen=True)
class Finished:
    """A finished study of a small log, which no input changes.

    root: holds log.csv, study.py and runs/. results: the folder of the study in runs/. policy:
    that of one of its policies. recommended: what it recommends to everybody, by the log.
    """

    root: Path
    results: Path
    policy: Path
    recommended: pd.DataFrame
    table: pd.DataFrame
    events: list[Event]


def whole(folder, check):
    """The check, and that nothing half-written is left."""

    def both(ending):
        left = unfinished(folder)
        return f"half-written: {left}" if left else check(ending)

    return both


def histories_of_others(random, folder, finished):
    """`recommend --histories` of a file in any order, with unknown items and users of one event."""
    # Not all of the log's: too rare an item is none of the policy's.
    known = sorted(json.loads((finished.policy / "policy.json").read_text())["item_ids"])
    events = []
    for user in range(int(random.integers(1, 5))):
        chosen = random.permutation([*known, "unheard of", "new"])[: int(random.integers(1, 6))]
        events += [
            Event(f"n{user}", str(item), 4.0, (1_700_000_000 + 60 * place) * 10**9)
            for place, item in enumerate(chosen)
        ]
    shuffled = [events[place] for place in random.permutation(len(events))]
    path = write_csv(folder, csv_bytes(rows_of(shuffled), random), "others.csv")
    output, k = folder / "top.csv", int(random.integers(1, 4))
    seen = {(event.user, event.item) for event in events}
    usable = {user for user, item in seen if item in known}

    def check(ending):
        if ending.code == 2:
            return f"a good file was refused: {ending.text.strip()}" if usable else ""
        top = pd.read_csv(output, dtype={"user_id": str, "item_id": str})
        pairs = set(zip(top["user_id"], top["item_id"], strict=True))
        if pairs & seen:
            return f"already seen: {sorted(pairs & seen)[0]}"
        if not set(top["item_id"]) <= set(known) or len(pairs) != len(top):
            return "an unknown item, or one twice"
        if set(top["user_id"]) - usable:
            return "a user without a known item"
        scores = top.groupby("user_id")["score"]
        return "" if scores.apply(lambda score: score.is_monotonic_decreasing).all() else "order"

    words = ("--histories", str(path), "--k", str(k), "--output", str(output))
    return command("recommend", str(finished.policy), *words), whole(folder, check)


def policies(random, folder, finished):
    """A damaged policy: refused, or it recommends what it did."""
    policy = copied(finished.policy, folder)
    files = sorted(path for path in policy.rglob("*") if path.is_file())
    damage_file(files[int(random.integers(len(files)))], random)
    output = folder / "top.csv"

    def check(ending):
        if ending.code == 2:
            return "" if not output.exists() else "refused, and written all the same"
        top = pd.read_csv(output, dtype={"user_id": str, "item_id": str})
        return "" if top.equals(finished.recommended) else "another recommendation, in silence"

    log = str(finished.root / "log.csv")
    words = ("--histories", log, "--k", "2", "--output", str(output))
    return command("recommend", str(policy), *words), check


def results(random, folder, finished):
    """A damaged file among a study's results: refused, or the same table; the page too."""
    study = copied(finished.results, folder)
    names = sorted(path for path in study.iterdir() if path.is_file())
    damage_file(names[int(random.integers(len(names)))], random)
    if random.random() < 0.2:

        def looked(ending):
            page = study / "report.html"
            return "" if ending.code == 2 or page.stat().st_size > 1000 else "no page"

        return command("report", str(study)), looked

    def check(ending):
        if ending.code == 2:
            return ""
        table = pd.read_csv(study / "table.csv")
        return "" if table.equals(finished.table) else "another table, in silence"

    return command("table", str(study), "--output", str(study)), check


def stages(random, folder, finished):
    """A damaged stage: refused or built again, and the table is the same."""
    root = folder / "place"
    shutil.copytree(finished.root, root, ignore=shutil.ignore_patterns("wandb", "small*.csv"))
    files = sorted(path for path in (root / "runs" / "stages").rglob("*") if path.is_file())
    damage_file(files[int(random.integers(len(files)))], random)
    target = root / "runs" / finished.results.name / "table.csv"

    def check(ending):
        if ending.code == 2:
            return ""
        table = pd.read_csv(target)
        return "" if table.equals(finished.table) else "another table, in silence"

    return run_of(root), check


def run_of(root, study="study.py", log="log.csv"):
    """One process, as a forked process is no place for a pool."""
    files = str(root / study), "--dataset", str(root / log)
    return command("run", *files, "--output", str(root / "runs"), "--workers", "1")


def experiments(random, folder, finished):
    """An experiment file with a statement more, or other bytes: refused, or a table is there."""
    content = (finished.root / "study.py").read_bytes()
    if random.random() < 0.6:
        content += f"\n{random.choice(STATEMENTS)}\n".encode()
    else:
        content = damaged(content, random)
    (folder / "study.py").write_bytes(content)

    def check(ending):
        tables = list((folder / "runs").glob("*/table.csv"))
        return "" if ending.code == 2 or tables else "exit code 0 without a table"

    return run_of(folder, log=finished.root / "log.csv"), whole(folder, check)


def overrides(random, folder, finished):
    """`--set` of any field to any text: refused, or exactly this field has the value."""
    study = finished.root / "study.py"
    paths = ("posttraining.steps", "posttraining.learning_rate", "algorithm.temperature", "name",
             "backbone.dim", "pretraining.patience", "reward.members", "seed", "dataset.path",
             "posttraining.weight_decay", "backbone.max_length", "posttraning.steps", "algorithm",
             "algorithm.reward", "backbone.dropout", "reward.held_out", "", ".", "a.b.c",
             "posttraining.bfloat16", "pretraining.ema_decay")  # fmt: skip
    path, text = str(random.choice(paths)), str(random.choice(NUMBERS))

    def work():
        from recsys_posttrain.studies.load import load_study

        changed = load_study(study, [f"{path}={text}"], None, None, None).runs
        before = load_study(study, [], None, None, None).runs
        return [_differences(old, new) for old, new in zip(before, changed, strict=True)]

    def check(ending):
        if ending.code == 2:
            return ""
        for difference in ending.value:
            for place, value in difference.items():
                if place != path:
                    return f"{path}={text} changed {place} to {value}"
                if isinstance(value, float) and not np.isclose(value, float(text)):
                    return f"{path}={text} became {value}"
        return ""

    return work, check


def _differences(old, new, prefix=""):
    found: dict[str, Any] = {}
    for field in fields(old):
        a, b = getattr(old, field.name), getattr(new, field.name)
        if is_dataclass(a) and is_dataclass(b) and type(a) is type(b):
            found |= _differences(a, b, f"{prefix}{field.name}.")
        elif a != b:
            found[prefix + field.name] = b if isinstance(b, int | float | str) else repr(b)
    return found


def options(random, folder, finished):
    """Words of any kind where a command expects others."""
    study, log = str(finished.root / "study.py"), str(finished.root / "log.csv")
    results, policy = str(finished.results), str(finished.policy)
    copy = folder / "results"
    shutil.copytree(finished.results, copy, ignore=shutil.ignore_patterns("wandb"))
    word = str(random.choice(WORDS)).replace("\0", "")
    runs = str(folder / "runs")
    reading, onto = ("recommend", policy, "--histories"), ("--dataset", log, "--output", runs)
    asked = (
        *(("table", word), ("report", word), ("data", "audit", word), ("data", "truth", word)),
        *(("table", str(copy), option, word) for option in ("--relative-to", "--control")),
        ("table", str(copy), "--against", word),
        ("recommend", word, "--users", "1"),
        ("recommend", policy, "--users", word),
        (*reading, word),
        *((*reading, log, option, word) for option in ("--k", "--output")),
        ("run", study, "--dataset", word, "--output", runs),
        *(("run", study, *onto, option, word) for option in ("--split", "--seeds", "--device")),
        ("run", study, *onto, "--eval-split", word),
        ("run", study, "--dataset", log, "--output", results + "/table.csv"),
        ("run", word, *onto),
        *(("sweep", study, *onto), ("sweep", word, *onto)),
        ("live", "materialize", policy, "--rules", word, "--output", str(folder / "lists")),
        *((word, "--help"), ("run", study, f"--{word}")),
    )
    words = asked[int(random.integers(len(asked)))]
    if words[0] == "run":
        words = (*words, "--workers", "1")  # a forked process is no place for a pool
    # No input may reach for the network: a known data set would be downloaded.
    return command(*words), whole(folder, lambda _: "")


def archives(random, folder, finished):
    """A zip for `--data-root` that is not the published one: never read as if it were."""
    kind = int(random.integers(5))
    content = io.BytesIO()
    method = int(random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2,
                                zipfile.ZIP_LZMA]))  # fmt: skip
    name = str(random.choice(["ml-100k/u.data", "u.data", "../u.data", "/u.data", "other.txt"]))
    with zipfile.ZipFile(content, "w", method) as archive:
        archive.writestr(name, b"0" * 10**7 if kind == 0 else b"1\t2\t3\t881250949\n" * 100)
    raw = content.getvalue()
    if kind == 1:
        raw = damaged(raw, random)
    if kind == 2:  # declares another size, or an encryption
        place = raw.rfind(b"PK\1\2")
        field, value = (24, 2**31 - 1) if random.random() < 0.5 else (8, 1)
        raw = raw[: place + field] + struct.pack("<I", value) + raw[place + field + 4 :]
    path = folder / "ml-100k.zip"
    path.write_bytes(raw)
    fetch = command("data", "fetch", "ml-100k", "--data-root", str(path))
    return fetch, lambda ending: "" if ending.code == 2 else "another file was read as MovieLens"


KINDS = (histories_of_others, policies, results, stages, experiments, overrides, options, archives)


def finished_study(folder, study, log, events):
    """Runs the study of a few seconds that the kinds above damage copies of."""
    (folder / "study.py").write_text(study, encoding="utf-8")
    (folder / "log.csv").write_bytes(log)
    runs = folder / "runs"
    ending = ended(run_of(folder), folder, 300)
    assert ending.code == 0, ending.text
    results = next(path.parent for path in runs.glob("*/run.json"))
    stages = json.loads((results / "run.json").read_text())["stages"]
    policy = runs / "stages" / stages["BC/0"]["folder"]
    top = folder / "top.csv"
    log_file, top_file = str(folder / "log.csv"), str(top)
    words = ("--histories", log_file, "--k", "2", "--output", top_file)
    ending = ended(command("recommend", str(policy), *words), folder)
    assert ending.code == 0, ending.text
    recommended = pd.read_csv(top, dtype={"user_id": str, "item_id": str})
    return Finished(
        folder, results, policy, recommended, pd.read_csv(results / "table.csv"), events
    )
