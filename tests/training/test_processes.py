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
import zlib

import chex
import jax
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
    flags = " ".join([os.environ.get("XLA_FLAGS", ""),
                      f"--xla_force_host_platform_device_count={num_devices}"])
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


@pytest.fixture
def second_of_two(monkeypatch):
    """The second process of two; of the first a test says what it hands in."""
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    handed_in = []
    monkeypatch.setattr(Processes, "_gather", lambda self, value: np.stack(
        [np.asarray(handed_in.pop(0)), np.asarray(value)]))
    return Processes(several=True), handed_in


def test_where_one_fails_none_goes_on_and_it_says_why(second_of_two):
    processes, handed_in = second_of_two
    handed_in += [False, True, True, False, False]
    with pytest.raises(ZeroDivisionError):
        processes.together(lambda: 1 / 0)
    with pytest.raises(ValueError, match=r"^process 0 failed, and all stop; it says why$"):
        processes.together(lambda: 1)
    with pytest.raises(ValueError, match=r"^process 0 failed"):
        processes.lead(lambda: 1 / 0)  # never called here
    assert processes.together(lambda x: x + 1, 1) == 2
    assert processes.lead(lambda: 1 / 0) is None
    assert not handed_in


def test_processes_with_other_runs_are_told_apart(second_of_two):
    processes, handed_in = second_of_two
    handed_in += [zlib.crc32(b'{"a": 1, "seed": 0}')] * 2
    processes.check_same({"seed": 0, "a": 1})
    with pytest.raises(ValueError, match=r"^process_id: process 1 has another run to train than "):
        processes.check_same({"seed": 1, "a": 1})


def test_any_process_raises_a_flag(second_of_two):
    processes, handed_in = second_of_two
    handed_in.append((True, False, False))
    assert processes.any(False, False, True) == [True, False, True]


def test_devices_of_some_processes_are_refused():
    devices = [types.SimpleNamespace(process_index=index) for index in (0, 3)]
    with pytest.raises(ValueError, match=r"^devices: expected those of this process, 0, or of all "
                       r"1, got those of \[0, 3\]$"):
        Processes.of(devices)
