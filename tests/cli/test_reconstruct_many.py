"""bin/reconstruct with Parquet files: flags, the whole way, and a run that is killed."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepmds_jax.many import lift as many_lift
from deepmds_jax.methods.saved import load_pretrained

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK_ROWS = 16


def write_parts(folder, num_parts, rows):
    """Parts of noisy mean faces; the second row of each is bad."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    mean = np.asarray(load_pretrained("flame51").reference)[:, :2]
    for i in range(num_parts):
        x2d = (mean + rng.normal(size=(rows, 51, 2), scale=0.02)).astype(np.float32)
        lists = x2d.reshape(rows, -1).tolist()
        lists[1] = None
        pq.write_table(pa.table({"id": np.arange(rows),
                                 "landmarks": pa.array(lists, pa.list_(pa.float32()))}),
                       folder / f"part-{i}.parquet")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(many_lift, "BLOCK_ROWS", BLOCK_ROWS)


@pytest.mark.parametrize(("arguments", "message"), [
    (["in"], "out: expected one folder for the shapes of Parquet files, got none"),
    (["in", "--out=a,b"], "out: expected one folder .*, got 2"),
    (["in", "--out=faces.npz"], "out: expected a folder .*, got faces.npz"),
    (["in", "--out=in/part-0.parquet/x"], "out: cannot write to .*part-0.parquet is no folder"),
    (["in", "--out=in"], "in: lies in the folder to write to"),
    (["in", "face.json", "--out=out"], "face.json: expected Parquet files only"),
    (["in", "--out=out", "--fps=25"], "fps: not for Parquet files"),
    (["in", "--out=out", "--nosmooth"], "smooth: not for Parquet files"),
    (["in", "--out=out", "--address=auto"], "address: .* give --engine=ray"),
    (["none*.parquet", "--out=out"], r"none\*.parquet: no such file"),
    (["face.json", "--engine=ray"], "engine, address: they are for Parquet files"),
    (["in", "--out=out", "--weights=ibug68"], "part-0.parquet: 102 numbers a face, expected 136"),
])
def test_arguments_that_do_not_go_together(refuse, tmp_path, arguments, message):
    write_parts(tmp_path / "in", 1, 2)
    (tmp_path / "face.json").write_text('{"face": [[0, 0], [1, 2], [2, 1]]}')
    assert re.search(message, refuse("reconstruct", *arguments))


@pytest.mark.usefixtures("small_blocks")
def test_parts_become_files_and_what_is_no_part_is_named(call, succeed, tmp_path):
    write_parts(tmp_path / "in", 2, 5)
    out = succeed("reconstruct", "in", "--out=lifted")
    assert out.startswith("10 faces in 2 files, weights for flame51, ")
    assert out.endswith(" faces/s, 2 without a shape or with a doubtful one; wrote lifted\n")
    table = pq.read_table(tmp_path / "lifted" / "part-1.parquet").to_pydict()
    assert table["id"] == [0, 1, 2, 3, 4]
    assert table["converged"] == [True, False, True, True, True]
    assert table["reason"] == [None, "landmarks: null", None, None, None]
    points = np.reshape(table["points"], (5, 51, 3))
    np.testing.assert_allclose(np.square(points).sum((1, 2)) / 51, [1, np.nan, 1, 1, 1], rtol=1e-4)

    (tmp_path / "in" / "text.parquet").write_text("none")
    done = call("reconstruct", "in/*.parquet", "--out=lifted")
    assert done.status == 1
    assert done.stdout == ("0 faces in 0 files, weights for flame51; 2 files were there already; "
                           "wrote lifted\n")
    assert "left out:\n  in/text.parquet: " in done.stderr


@pytest.mark.usefixtures("small_blocks")
def test_a_killed_run_goes_on_to_the_same_bytes(succeed, tmp_path):
    num_parts = 8  # of a few blocks each: most is still to be done when the second is there
    write_parts(tmp_path / "in", num_parts, 80)
    program = ("import sys; from deepmds_jax.many import lift; from deepmds_jax.cli import "
               f"reconstruct; lift.BLOCK_ROWS = {BLOCK_ROWS}; sys.exit(reconstruct.run())")
    out = tmp_path / "lifted"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", program, "in", "--out=lifted"], cwd=tmp_path,
                          env=environment, stderr=subprocess.DEVNULL) as child:
        try:
            until = time.monotonic() + 120
            while not (out / "part-1.parquet").exists() and time.monotonic() < until:
                assert child.poll() is None
                time.sleep(0.02)
        finally:
            child.send_signal(signal.SIGKILL)
    killed = contents(out)
    assert {"part-0.parquet", "part-1.parquet"} <= killed.keys()
    assert f"part-{num_parts - 1}.parquet" not in killed
    summary = succeed("reconstruct", "in", "--out=lifted")
    assert "files were there already" in summary
    succeed("reconstruct", "in", "--out=anew")
    assert contents(out) == contents(tmp_path / "anew")
    assert contents(out).keys() == {f"part-{i}.parquet" for i in range(num_parts)}
