"""A sweep on a Ray of two machines, of which one dies on the way: the undisturbed tables."""

import threading
import time
from pathlib import Path

import pytest
from two_machines import lose, two_machines

from recsys_posttrain.studies.on_ray import Ray
from recsys_posttrain.sweep.run import run_sweep

SMALL_SWEEP = Path(__file__).resolve().parents[1] / "small_sweep.py"
NAME = "small_sweep-small"
TABLES = ("table.csv", "rows.parquet")


@pytest.fixture
def killed_at_work():
    """The folder to watch; when a policy has been trained there, and more are on the way, the
    second machine dies. Asserts in the end that it did."""
    watched, over, lost = [], threading.Event(), threading.Event()
    with two_machines() as (cluster, second):

        def watch():
            while not over.is_set():
                if watched and list((watched[0] / "stages").glob("posttrain-*")):
                    lose(cluster, second)
                    lost.set()
                    return
                time.sleep(0.05)

        thread = threading.Thread(target=watch)
        thread.start()
        yield watched
        over.set()
        thread.join()
        assert lost.is_set()


def test_a_lost_machine_costs_what_it_had_under_way(
    finished, options, killed_at_work, tmp_path, capsys
):
    killed_at_work.append(tmp_path / "runs")
    again = options._replace(engine=Ray(), workers=2, output=tmp_path / "runs")
    run_sweep(SMALL_SWEEP, again)
    printed = capsys.readouterr().out
    assert "Ray: 2 machines, 2 CPUs" in printed
    assert "Ray lost a machine or a process (" in printed
    for name in TABLES:
        undisturbed = (finished / NAME / name).read_bytes()
        assert (tmp_path / "runs" / NAME / name).read_bytes() == undisturbed, name
