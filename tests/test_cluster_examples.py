"""docs/cluster: the Slurm script in the order that Ray needs, and what Kubernetes is given."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import typer.main
import yaml
from doc_pages import ROOT

from recsys_posttrain.cli import app
from recsys_posttrain.cli_options import engine_of
from recsys_posttrain.doctor import LOCK
from recsys_posttrain.studies.engine import Processes
from recsys_posttrain.studies.on_ray import Ray

CLUSTER = ROOT / "docs" / "cluster"


def command_after(text):
    """The arguments of recsys-posttrain, as its parser reads them."""
    words = shlex.split(text.partition("recsys-posttrain ")[2])
    command = typer.main.get_command(app).commands[words[0]]
    return command.make_context(words[0], words[1:]).params


def test_the_slurm_script_starts_the_first_machine_then_the_others_then_the_study(tmp_path):
    """Slurm's commands and Ray's say what they were asked for, in place of doing it."""
    stubs = {
        "scontrol": "echo node-1; echo node-2; echo node-3",
        "srun": 'echo "srun $* RAY_ADDRESS=${RAY_ADDRESS-}" >>"$LOG"',
        "ray": ":",
        "sleep": ":",
        "recsys-posttrain": 'wait; echo "$0 $* RAY_ADDRESS=$RAY_ADDRESS" >>"$LOG"',
    }
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text("")
    for name, line in stubs.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    # In the background as there, but one after the other.
    script = (CLUSTER / "slurm.sh").read_text().replace("sleep 20", "wait")
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "LOG": str(tmp_path / "log"),
        "SLURM_JOB_NODELIST": "node-[1-3]",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_CPUS_PER_TASK": "16",
    }
    subprocess.run(["sh", "-c", script], cwd=tmp_path, env=environment, check=True)
    head, others, study = (tmp_path / "log").read_text().splitlines()
    assert re.search(r"--nodelist=node-1 .*--num-cpus=16 .*--head --port=6379", head)
    assert head.endswith(" RAY_ADDRESS=")
    assert re.search(r"--nodes=2 .*--exclude=node-1 .*--address=node-1:6379 ", others)
    assert study.endswith(" RAY_ADDRESS=node-1:6379")
    assert command_after(study.partition(" RAY_")[0])["engine"] == "ray"


def test_kubernetes_runs_a_command_there_is_with_the_ray_of_the_lock():
    (job,) = yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text())
    spec = job["spec"]
    version = re.search(r"^ray==(\S+)", LOCK.read_text(), re.MULTILINE)[1]
    assert spec["rayClusterSpec"]["rayVersion"] == version
    assert command_after(shlex.split(spec["entrypoint"])[2])["engine"] == "ray"
    (workers,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    folders = {
        mount["mountPath"]
        for group in (spec["rayClusterSpec"]["headGroupSpec"], workers)
        for container in group["template"]["spec"]["containers"]
        for mount in container["volumeMounts"]
    }
    assert folders == {"/work"}
    image = Path(ROOT / "Containerfile").read_text()
    assert "ENV PATH=/recsys/.venv/bin:$PATH" in image, "where Ray and the command are found"


def test_the_engine_that_is_asked_for():
    assert engine_of("processes", "cuda", 0.5) == Processes()
    assert engine_of("ray", "cpu", 0.5) == Ray()
    assert engine_of("ray", "cuda", 0.5) == Ray(gpus=0.5)
