"""Two machines' processes, started by torchrun, train as two of one machine do."""

import os
import socket
import subprocess
import sys

import launched_training
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.tensors import load_tensors
from recsys_posttrain.training import launched
from recsys_posttrain.training.group import ALONE, Group
from recsys_posttrain.training.processes import helped


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


@pytest.fixture
def on_two_machines(small_ratings_csv, tmp_path):
    """Calls the script in two working folders: returns how both ended, and what the first said."""

    def run(*words):
        folders = [tmp_path / "first", tmp_path / "second"]
        common = (sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1")
        common += ("--master-addr=localhost", f"--master-port={free_port()}")
        started = []
        for rank, folder in enumerate(folders):
            folder.mkdir(exist_ok=True)
            command = (*common, f"--node-rank={rank}", launched_training.__file__)
            started.append(
                subprocess.Popen(
                    [*command, str(small_ratings_csv), str(folders[0]), *words],
                    cwd=folder,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        said = [each.communicate(timeout=240)[0] for each in started]
        assert not list(folders[1].iterdir()), "the second needs no file and writes none"
        return [each.returncode for each in started], said[0]

    return run


def test_they_take_the_steps_of_one_machine_and_resume_where_one_ended(
    on_two_machines, small_ratings_csv, tmp_path
):
    """To the bit, with dropout, which each draws for its part."""
    alone = tmp_path / "alone"
    launched_training.trained(str(small_ratings_csv), alone, devices=2)
    codes, said = on_two_machines("kill")
    assert 0 not in codes
    assert "error: one of the 2 processes of this training ended" in said
    first = tmp_path / "first"
    assert not (first / launched_training.SAVED).exists()
    assert (first / "checkpoint.safetensors").exists(), "from which it goes on"
    codes, said = on_two_machines()
    assert codes == [0, 0], said
    found, expected = (load_tensors(each / launched_training.SAVED) for each in (first, alone))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].equal(value), name
    metrics = [(each / "metrics.jsonl").read_bytes() for each in (first, alone)]
    assert metrics[0] == metrics[1]


def test_the_first_process_alone_reads_the_command():
    """Whatever it is; the others end with it."""
    from recsys_posttrain import __version__

    common = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    command = (*common, "-m", "--", "recsys_posttrain", "--version")
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"recsys-posttrain {__version__}\n"


@pytest.fixture
def by_torchrun(monkeypatch):
    """As the second of four."""
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)


def test_torchrun_says_how_many_share_a_training(by_torchrun):
    assert launched.by_torchrun() == Group(1, 4)
    assert [launched.devices_of(given) for given in (1, 4)] == [4, 4]
    with pytest.raises(UserError, match=r"^--devices 2: torchrun started 4 processes; leave"):
        launched.devices_of(2)


def test_without_torchrun_a_command_is_run_as_it_is():
    assert launched.by_torchrun() == ALONE
    assert launched.devices_of(3) == 3
    done = []
    launched.led(lambda: done.append(True))
    assert done == [True]


def test_a_script_that_torchrun_starts_is_told_what_it_starts(by_torchrun):
    with (
        pytest.raises(UserError, match="torchrun starts 4 processes for the command"),
        helped(4, print),
    ):
        pass


def test_a_process_of_other_packages_is_named(monkeypatch):
    monkeypatch.setattr(Group, "given", lambda _group, here: (here[0] | {"torch": "0.1"}, here[1]))
    with pytest.raises(UserError, match=r" has torch \S+, and the first process 0\.1: install the"):
        launched._check_packages(Group(1, 2))
    monkeypatch.setattr(Group, "given", lambda _group, here: (here[0], "another"))
    with pytest.raises(UserError, match=r" has other code of recsys_posttrain than the first pro"):
        launched._check_packages(Group(1, 2))
