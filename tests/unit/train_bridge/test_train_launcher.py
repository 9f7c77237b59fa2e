"""Starting a run on many ranks: torchrun's words, the batch file, and both for real with a stand-in for Slurm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dolma_py.errors import ConfigError
from train_bridge.launch_config import LaunchConfig
from train_bridge.launcher import launch, local_command, sbatch_script

REPOSITORY = Path(__file__).resolve().parents[3]
ARGUMENTS = ["train", "--config", "a config.yaml", "--shards", "s", "--output", "o", "--set", "run.steps=3"]

# Slurm's three programs as far as a batch file sees them
SBATCH = """#!/bin/bash
export SLURM_JOB_ID=7 SLURM_JOB_NODELIST='n[1-9]'
for restart in 0 1; do
  rm -f "$FAKE/requeued"
  SLURM_RESTART_COUNT=$restart bash "$1" & job=$!
  if [ -n "${FAKE_LIMIT:-}" ] && [ $restart = 0 ]; then
    until compgen -G "$FAKE_LIMIT" > /dev/null || ! kill -0 $job 2>/dev/null; do sleep 0.1; done
    kill -USR1 $job
  fi
  wait $job; status=$?
  [ -e "$FAKE/requeued" ] || exit $status
done
"""
SCONTROL = """#!/bin/bash
if [ "$1" = requeue ]; then echo "$2" > "$FAKE/requeued"; echo "$2" >> "$FAKE/requeues"; exit; fi
for ((i = 0; i < FAKE_NODES; i++)); do echo 127.0.0.1; done
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
trap 'kill -TERM $(jobs -p) 2>/dev/null' TERM
for ((i = 0; i < FAKE_NODES; i++)); do "$@" & done
worst=0
for job in $(jobs -p); do wait $job || worst=$?; done
exit $worst
"""


@pytest.fixture
def slurm(tmp_path):
    """The environment of a machine with Slurm's programs; jobs run here and now."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scontrol", SCONTROL), ("srun", SRUN)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "FAKE": str(tmp_path), "FAKE_NODES": "1", "OMP_NUM_THREADS": "1"}


def train(*words, env=None):
    command = [sys.executable, "-m", "dolma_py", "train", *map(str, words)]
    return subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False)


def run_words(config, shards, output, *overrides):
    overrides = (*overrides, f"launch.port={20_000 + os.getpid() % 20_000}")
    words = ["--config", config, "--shards", shards, "--output", output]
    return words + [word for override in overrides for word in ("--set", override)]


def script(*, output="o", uses_gpus=True, folder="/data/here", **values):
    return sbatch_script(LaunchConfig(**values), ARGUMENTS, output=output, uses_gpus=uses_gpus, folder=folder)


def test_one_machine_runs_torchrun():
    command = local_command(LaunchConfig(processes_per_node=2), ARGUMENTS)
    assert command[:5] == [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    assert command[5:] == ["-m", "dolma_py", *ARGUMENTS]
    assert "--nproc-per-node=1" in local_command(LaunchConfig(), ARGUMENTS) or torch.cuda.is_available()
    with pytest.raises(ConfigError, match="launch.nodes: expected 1"):
        local_command(LaunchConfig(nodes=2), ARGUMENTS)


def test_the_batch_file_asks_for_what_the_settings_say(tmp_path):
    text = script(
        nodes=64, processes_per_node=8, cpus_per_process=12, memory_per_node="900G", time_limit="2-00:00:00", partition="gpu",
        account="lab", qos="long", stop_before_sec=600, options={"constraint": "h100", "exclude": "n[3,7]"},
        setup=("module load cuda", "source env/bin/activate"),
    )  # fmt: skip
    asked = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    assert asked == [
        "job-name=train-o", "nodes=64", "ntasks-per-node=1", "gpus-per-node=8", "cpus-per-task=96", "mem=900G",
        "time=2-00:00:00", "partition=gpu", "account=lab", "qos=long", "chdir=/data/here", "output=o/launch/slurm-%j.log",
        "open-mode=append", "signal=B:USR1@600", "constraint=h100", 'exclude="n[3,7]"', "requeue",
    ]  # fmt: skip
    # sbatch stops reading its options at the first command
    first_command = next(line for line in text.splitlines() if line and not line.startswith("#"))
    assert text.index("#SBATCH --requeue") < text.index(first_command)
    assert text.index("module load cuda\nsource env/bin/activate\n") < text.index("srun ")
    assert "--nnodes=64 --nproc-per-node=8" in text and ":29500" in text
    assert "'a config.yaml'" in text and "--launcher" not in text[text.index("srun ") :]
    path = tmp_path / "train.sbatch"
    path.write_text(text)
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0


def test_without_gpus_or_requeue_nothing_of_them_is_asked_for():
    text = script(processes_per_node=2, uses_gpus=False, requeue=False, output="run with space")
    assert "gpus" not in text and "USR1" not in text and "scontrol requeue" not in text
    assert "#SBATCH --no-requeue" in text and '--output="run with space/launch/slurm-%j.log"' in text


@pytest.mark.parametrize("values", [{"partition": "a\n#SBATCH --uid=0"}, {"setup": ("a\nb",)}, {"qos": "$(id)"}])
def test_a_value_cannot_leave_its_line(values):
    with pytest.raises(ValueError, match="pattern"):
        LaunchConfig(**values)


def test_slurm_must_be_told_how_many_processes():
    with pytest.raises(ConfigError, match="launch.processes_per_node: expected a number"):
        script()


@pytest.mark.parametrize("launcher", ["local", "slurm"])
def test_a_dry_run_shows_how_it_would_start(launcher, train_config_file, capsys, tmp_path):
    overrides = ["launch.processes_per_node=2", "model.vocab_size=128"]
    code = launch(launcher=launcher, arguments=ARGUMENTS, config=str(train_config_file), shards="", output=str(tmp_path / "o"),
                  overrides=overrides, dry_run=True)  # fmt: skip
    shown = capsys.readouterr().out
    assert code == 0 and "torch.distributed.run" in shown and "--nproc-per-node=2" in shown
    assert (shown.startswith("#!/bin/bash")) == (launcher == "slurm")
    assert not (tmp_path / "o").exists()


def test_an_unknown_launcher_is_told(train_config_file):
    with pytest.raises(ConfigError, match="--launcher: expected local or slurm, got 'k8s'"):
        launch(launcher="k8s", arguments=[], config="", shards="", output="", overrides=[], dry_run=True)


def test_without_sbatch_the_file_is_left_to_submit(make_shards, train_config_file, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"train\.sbatch is written: submit it"):
        launch(launcher="slurm", arguments=ARGUMENTS, config=str(train_config_file), shards=str(make_shards()),
               output=str(tmp_path / "o"), overrides=["launch.processes_per_node=2"], dry_run=False)  # fmt: skip
    assert (tmp_path / "o" / "launch" / "train.sbatch").is_file()


def test_a_mistake_is_told_before_anything_is_submitted(make_shards, train_config_file, tmp_path):
    overrides = ["launch.processes_per_node=2", "run.stepz=3"]
    with pytest.raises(ConfigError, match="run.stepz: no such key"):
        launch(launcher="slurm", arguments=ARGUMENTS, config=str(train_config_file), shards=str(make_shards()),
               output=str(tmp_path / "o"), overrides=overrides, dry_run=False)  # fmt: skip
    assert not (tmp_path / "o").exists()


def test_a_submitted_job_trains_on_two_ranks(make_shards, train_config_file, tmp_path, slurm):
    """The batch file's own srun, torchrun and two gloo processes; only Slurm's programs are stand-ins."""
    words = run_words(train_config_file, make_shards(), tmp_path / "run", "launch.processes_per_node=2", "run.steps=3")
    answer = train(*words, "--launcher", "slurm", env=slurm)
    assert answer.returncode == 0, answer.stderr
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (run["ranks"], metrics["steps"]) == (2, 3)


@pytest.mark.slow
def test_two_machines_meet_on_the_first(make_shards, train_config_file, tmp_path, slurm):
    overrides = ["launch.processes_per_node=1", "launch.nodes=2"]
    words = run_words(train_config_file, make_shards(), tmp_path / "run", *overrides)
    answer = train(*words, "--launcher", "slurm", env={**slurm, "FAKE_NODES": "2"})
    assert answer.returncode == 0, answer.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["ranks"] == 2


@pytest.mark.slow
def test_before_the_time_limit_the_job_goes_back_into_the_queue_and_resumes(
    make_shards, train_config_file, tmp_path, slurm
):
    shards = make_shards()
    length = ["run.steps=400", "checkpoints.permanent_every_steps=20", "launch.processes_per_node=1"]
    output = tmp_path / "stopped"
    limit = {**slurm, "FAKE_LIMIT": f"{output}/checkpoints/step*"}
    answer = train(*run_words(train_config_file, shards, output, *length), "--launcher", "slurm", env=limit)
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "requeues").read_text() == "7\n"
    assert "resuming after step" in answer.stderr
    assert train(*run_words(train_config_file, shards, tmp_path / "straight", *length)).returncode == 0
    losses = [
        json.loads((folder / "metrics.json").read_text())["final_loss"] for folder in (output, tmp_path / "straight")
    ]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_failed_job_fails_and_is_not_queued_again(make_shards, train_config_file, tmp_path, slurm):
    # three ranks do not divide a batch of four
    words = run_words(train_config_file, make_shards(), tmp_path / "run", "launch.processes_per_node=3")
    answer = train(*words, "--launcher", "slurm", env=slurm)
    assert answer.returncode != 0 and "expected a multiple of the 3 ranks" in answer.stderr
    assert not (tmp_path / "requeues").exists()


@pytest.mark.slow
def test_local_starts_two_ranks(make_shards, train_config_file, tmp_path):
    words = run_words(train_config_file, make_shards(), tmp_path / "run", "launch.processes_per_node=2", "run.steps=3")
    answer = train(*words, "--launcher", "local", env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert answer.returncode == 0, answer.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["ranks"] == 2
