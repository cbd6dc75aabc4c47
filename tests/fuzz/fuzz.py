"""Thousands of broken and unusual inputs: no traceback, no hang, nothing wrong in silence.

    python tests/fuzz/fuzz.py --inputs 6000 --seed 0

Every input is drawn from a seed, so a fault is seen again with `--kind KIND --only NUMBER`. An
oracle knows what each input means: a log is written from events that are known beforehand, and
what is damaged is refused or gives what it gave before the damage.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import products
import reading
from logs import csv_bytes, drawn_log, rows_of
from workshop import ended, import_everything

STUDY = '''"""Two methods, a second in all."""
from dataclasses import replace

from recsys_posttrain.algorithms import BC, ExpRSFT
from recsys_posttrain.models import SASRec
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.plan import Training

SHORT = Training(epochs=2, batch_size=16, patience=3)
SIZES = dict(dim=8, blocks=1, max_length=10)
SETUP = Setup(
    backbone=SASRec(**SIZES),
    pretraining=SHORT,
    reward=RewardEnsemble(SASRec(**SIZES, history_rewards=True), members=2, rank=2, training=SHORT),
)
BASE = Run(BC(), SETUP, posttraining=Training(steps=2, batch_size=16))
RUNS = [BASE, replace(BASE, algorithm=ExpRSFT())]
'''


def kinds(folder):
    """The twelve kinds of inputs; `folder` keeps the study that some of them damage."""
    random = np.random.default_rng(1)
    events = drawn_log(random)
    while len(events) < 40:  # items have five events each, so that the study keeps them
        events = drawn_log(random)
    # No number is read as one of these ids, and none is in the way of a comma.
    events = [
        reading.Event(f"u{place_of(event.user, events)}", f"i{place_of(event.item, events)}",
                      event.rating, event.time)
        for event in events
    ]  # fmt: skip
    finished = products.finished_study(folder, STUDY, csv_bytes(rows_of(events)), events)
    of_reading = {kind.__name__: kind for kind in reading.KINDS}
    return of_reading | {kind.__name__: partial(_with, kind, finished) for kind in products.KINDS}


def place_of(name, events):
    names = sorted({event.user for event in events} | {event.item for event in events})
    return names.index(name)


def _with(kind, finished, random, folder):
    return kind(random, folder, finished)


def fault_of(kind, seed, number, keep=None):
    """The fault of one input, empty where there is none, and what was printed.

    keep: where the input is left for a look.
    """
    folder = Path(tempfile.mkdtemp(prefix="fuzz-")) if keep is None else keep
    try:
        work, check = kind(np.random.default_rng([seed, number]), folder)
        ending = ended(work, folder)
        return ending.fault or check(ending), ending.text
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=6000, help="in all, equally of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", help="only this kind")
    parser.add_argument("--only", type=int, help="only the input with this number, and print it")
    asked = parser.parse_args()
    os.environ.update(WANDB_MODE="disabled", HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    place = Path(tempfile.mkdtemp(prefix="fuzz-study-"))
    os.environ["RECSYS_POSTTRAIN_CACHE"] = str(place / "cache")
    import_everything()
    found = kinds(place)
    chosen = {name: kind for name, kind in found.items() if asked.kind in (None, name)}
    if asked.only is not None:
        (kind,) = chosen.values()
        keep = Path(tempfile.mkdtemp(prefix="fuzz-kept-"))
        fault, text = fault_of(kind, asked.seed, asked.only, keep)
        print(f"{text}\n{fault or 'no fault'}; the input is in {keep}")
        return int(bool(fault))
    faults = 0
    for name, kind in chosen.items():
        began, count, counted = time.monotonic(), -(-asked.inputs // len(chosen)), Counter[str]()
        for number in range(count):
            fault, text = fault_of(kind, asked.seed, number)
            counted[fault.split(":")[0][:40] if fault else "good"] += 1
            if fault:
                faults += 1
                last = text.strip().splitlines()[-1:] or [""]
                print(f"  {name} {number}: {fault[:300]} | {last[0][:300]}", flush=True)
        seconds = time.monotonic() - began
        print(f"{name:<20}{count:>6} inputs {seconds:6.0f} s  {dict(counted)}", flush=True)
    print(f"{faults} faults")
    shutil.rmtree(place, ignore_errors=True)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
