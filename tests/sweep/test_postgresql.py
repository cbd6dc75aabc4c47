"""Two workers share a sweep in a PostgreSQL server that the test starts."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from optuna.trial import TrialState

from recsys_posttrain.sweep.queue import Outcome, Queue
from recsys_posttrain.sweep.run import run_sweep
from recsys_posttrain.sweep.storage import open_storage

SMALL_SWEEP = Path(__file__).resolve().parents[1] / "small_sweep.py"


@pytest.fixture(scope="module")
def url(postgresql):
    return postgresql.url


def test_a_trial_is_claimed_by_one_of_two_connections(url):
    """Both put the same slots there, as machines that begin at the same moment do."""
    queues = [Queue("race", tuple(range(6)), open_storage(url), None) for _ in range(2)]
    for queue in queues:
        queue.study  # noqa: B018
    first, second = (queue.claim() for queue in queues)
    assert {first[0].user_attrs["slot"], second[0].user_attrs["slot"]} == {0, 1}
    queues[0].finish(first[0], Outcome(TrialState.COMPLETE, 0.1, 0.5))
    assert queues[1].outcomes()[0].value == 0.5
    for queue in queues:
        queue.storage.engine.dispose()


@pytest.mark.timeout(900)  # three processes, and a machine may be busy
def test_two_workers_do_each_trial_once(url, options):
    folder = run_sweep(SMALL_SWEEP, options._replace(storage=url, workers=2, output=Path("pg")))
    trials = pd.read_csv(folder / "trials.csv")
    assert trials["trial"].tolist() == 4 * [0, 1, 2]
    assert set(trials["state"]) == {"complete"}
    assert len(pd.read_csv(folder / "table.csv")["method"].unique()) == 2 + 4
    assert not (folder / "study.db").exists()
    storage = open_storage(url)
    done = Counter()
    for study in storage.get_all_studies():
        if study.study_name.startswith("small_sweep-small/"):
            for trial in storage.get_all_trials(study._study_id):
                if trial.state != TrialState.WAITING:  # of both, where both put it there
                    assert trial.state == TrialState.COMPLETE
                    done[study.study_name, trial.user_attrs["slot"]] += 1
    storage.engine.dispose()
    assert list(done.values()) == 4 * (3 + 2) * [1]
