"""Several processes train one run."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import types

import chex
import numpy as np
import pytest

from deepmds_jax.methods.saved import load_params
from deepmds_jax.training.processes import Processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
# 5 looks at 2 steps of the first stage each, then one at 32 steps of the second.
FLAGS = ["--topology=flame51", "--num_train=32", "--autoencoder_epochs=5",
         "--dissimilarity_epochs=1", "--accelerator=cpu"]
# Trains as the flags in each line of its input say; shows the status and the losses.
TRAIN = """
import json, sys, tensorboardX
from deepmds_jax.cli import train

for line in sys.stdin:
    curve = []
    tensorboardX.SummaryWriter.add_scalar = lambda self, *scalar: curve.append(scalar)
    status = train.run(json.loads(line))
    print("found", json.dumps([status, curve]))
"""
FOUND = re.compile("^found (.*)$", re.MULTILINE)
INTERRUPTED_AT_THE_SECOND_LOOK = """
import signal
from deepmds_jax.training.processes import Processes

looks = []
def interrupted(self, *flags, any_of_all=Processes.any):
    looks.append(flags)
    if len(looks) == 2:
        signal.raise_signal(signal.SIGINT)
    return any_of_all(self, *flags)
Processes.any = interrupted
"""


def start(code, num_devices=1):
    flags = f"--xla_force_host_platform_device_count={num_devices}"
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags})


def finish(processes, runs):
    """For each process its trainings' (status, curve), and what it told on stderr."""
    found, deadline = [], time.monotonic() + 90
    try:
        for process, flags in zip(processes, runs, strict=True):  # all run before one is waited for
            assert process.stdin is not None
            process.stdin.write("".join(f"{json.dumps(line)}\n" for line in flags))
            process.stdin.close()
            process.stdin = None
        for process in processes:
            stdout, stderr = process.communicate(timeout=deadline - time.monotonic())
            assert process.returncode == 0, stderr
            found.append(([json.loads(text) for text in FOUND.findall(stdout)], stderr))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return found


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run that two processes began, and what each of them found and told."""
    workdir = tmp_path_factory.mktemp("together")
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
    together = [[*FLAGS, f"--workdir={workdir}", f"--coordinator_address={address}",
                 "--num_processes=2", f"--process_id={i}"] for i in (0, 1)]
    processes = [start(TRAIN), start(INTERRUPTED_AT_THE_SECOND_LOOK + TRAIN)]
    return workdir, finish(processes, [[flags] for flags in together])


def test_one_interrupted_process_stops_all_at_the_same_step(interrupted):
    _, found = interrupted
    for ((status, _),), stderr in found:
        assert status == 130, stderr
        assert "interrupted at step 6; the same command goes on from here" in stderr


def test_the_first_process_alone_writes_and_shows_progress(interrupted):
    workdir, (((_, curve),), stderr), (((_, none),), quiet) = interrupted[0], *interrupted[1]
    assert [(tag, step) for tag, _, step in curve] == [
        ("autoencoder/loss", step) for step in (2, 4, 6)]
    assert none == []
    assert "autoencoder on 2 device(s)" in stderr
    assert "autoencoder" not in quiet
    assert (workdir / "autoencoder" / "6" / "SHA256SUMS").is_file()
    assert {path.name for path in workdir.glob("**/ocdbt.process_*")} == {"ocdbt.process_0"}
    assert not (workdir / "weights.safetensors").exists()


def test_one_process_ends_the_run_at_the_numbers_of_its_own(interrupted, tmp_path):
    workdir, ((((_, first),), _), _) = interrupted
    runs = [[*FLAGS, f"--workdir={folder}"] for folder in (tmp_path, workdir)]
    ((((status, alone), (resumed_status, resumed)), stderr),) = finish(
        [start(TRAIN, num_devices=2)], [runs])
    assert status == resumed_status == 0, stderr
    together = first + resumed
    assert [(tag, step) for tag, _, step in together] == [(tag, step) for tag, _, step in alone]
    assert alone[-1][::2] == ["dissimilarity/loss", 32]
    losses, expected = ([loss for _, loss, _ in curve] for curve in (together, alone))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    ours, theirs = (load_params(folder / "weights.safetensors") for folder in (workdir, tmp_path))
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_devices_of_some_processes_are_refused():
    devices = [types.SimpleNamespace(process_index=index) for index in (0, 3)]
    with pytest.raises(ValueError, match=r"^devices: expected those of this process, 0, or of all "
                       r"1, got those of \[0, 3\]$"):
        Processes.of(devices)
