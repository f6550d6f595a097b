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


def test_a_worker_that_is_killed_changes_nothing(folder):
    with start(folder, "--out=here") as here:
        _, errors = here.communicate(timeout=300)
    assert here.returncode == 0, errors
    with start(folder, "--out=ray", "--engine=ray") as driver:
        begun = None
        until = time.monotonic() + 120
        while not begun and driver.poll() is None and time.monotonic() < until:
            begun = next(folder.glob("ray/.part-*.parquet"), None)
            time.sleep(0.01)
        if begun:
            os.kill(int(begun.suffixes[-2].removeprefix(".")), signal.SIGKILL)  # who writes it
        out, errors = driver.communicate(timeout=300)
    assert driver.returncode == 0, errors
    assert begun
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
