"""A Ray cluster of this machine: the same files, also where a worker dies in the middle."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepmds_jax.methods.saved import load_pretrained

pytest.importorskip("ray.data", reason="needs Ray: pip install 'deepmds-jax[ray]'")

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS, ROWS = 4, 1500


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    (folder / "in").mkdir()
    rng = np.random.default_rng(0)
    mean = np.asarray(load_pretrained("flame51").reference)[:, :2]
    for i in range(PARTS):
        x2d = (mean + rng.normal(size=(ROWS, 51, 2), scale=0.02)).astype(np.float32)
        pq.write_table(pa.table({
            "id": np.arange(ROWS), "landmarks": pa.FixedSizeListArray.from_arrays(x2d.ravel(), 102),
        }), folder / "in" / f"part-{i}.parquet")
    return folder


def start(folder, *arguments):
    """bin/reconstruct in a process of its own; Ray forks, which JAX in this one would not like."""
    return subprocess.Popen([sys.executable, ROOT / "bin" / "reconstruct", "in", *arguments],
                            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def workers(pid):
    """Processes below `pid` in which Ray lifts parts."""
    parents, names = {}, {}
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2]
                                             .split()[1])
            names[int(process.name)] = (process / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue

    def below(child):
        while child in parents and child != pid:
            child = parents[child]
        return child == pid

    return [child for child, name in names.items() if b"ray::MapWorker" in name and below(child)]


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="finds the worker in /proc")
def test_a_worker_that_is_killed_changes_nothing(folder):
    with start(folder, "--out=here") as here:
        _, errors = here.communicate(timeout=300)
    assert here.returncode == 0, errors
    with start(folder, "--out=ray", "--engine=ray") as driver:
        killed = []
        until = time.monotonic() + 120
        while not killed and driver.poll() is None and time.monotonic() < until:
            begun = list(folder.glob("ray/.part-*.parquet"))  # as a worker writes it
            alive = {str(pid): pid for pid in workers(driver.pid)} if begun else {}
            for path in begun:
                if pid := alive.get(path.suffixes[-2].removeprefix(".")):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(path)
                    break
            time.sleep(0.01)
        out, errors = driver.communicate(timeout=300)
    assert driver.returncode == 0, errors
    assert killed
    assert f"{PARTS * ROWS} faces in {PARTS} files, weights for flame51, " in out
    whole = {path.name: path.read_bytes() for path in (folder / "here").iterdir()}
    assert {path.name: path.read_bytes() for path in (folder / "ray").iterdir()} == whole
    assert len(whole) == PARTS


def test_an_address_without_a_cluster_is_told_at_once(folder):
    with start(folder, "--out=none", "--engine=ray", "--address=127.0.0.1:9") as driver:
        _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 1
    assert errors.startswith("error: address: no Ray cluster at 127.0.0.1:9: ")
    assert errors.count("\n") == 1
    assert not (folder / "none").exists()
