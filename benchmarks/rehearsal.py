"""Runs every licensed path from end to end, on data of the true layout made from free ones.

  python benchmarks/rehearsal.py --data_root=data
  python benchmarks/rehearsal.py --data_root=data --face_model=face_landmarker.task

`data_root` has ICT-FaceKit as `ict/`. In a temporary folder this builds the Basel Face Models 2009
(53,490 vertices), 2017 and 2019, CoMA's tree of registered meshes, CASIA-3D, CelebA with fits and
AFLW2000, from ICT's faces; then it runs bin/check on each, bin/train for a few steps and bin/eval
--reproduce=all on them. With a face model the landmarks of CASIA's photographs, which are rendered,
are found by the detector; without one they are made up. Prints each command's time and peak memory
and writes benchmarks/results/rehearsal.{json,md}. Its scores mean nothing. Needs 3 GB of disk.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import rehearsal_data as make
from absl import app, flags

from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.data.photos.detection import open_detector
from deepmds_jax.data.rendering import render, sample_appearance
from deepmds_jax.data.sources import casia3d, flame
from deepmds_jax.data.views import View
from deepmds_jax.evaluation.hardware import describe_hardware

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
COMA_FRAMES = 4  # of each sequence; the data set has 20,466 meshes in all, and so 142
CASIA_PEOPLE, CASIA_SCANS = 20, 3  # the data set: 123 people, 4,624 scans
CASIA_POINTS = 45000  # of a scan
CELEBA = 500  # photographs; the data set: 202,599
AFLW = 2000  # all of them

# Runs a program and writes down its peak memory in kB. A process of its own: what a child of this
# one uses counts from the memory of its parent on.
_MEASURE = """
import resource, subprocess, sys
status = subprocess.call([sys.executable, *sys.argv[2:]])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""

_DATA_ROOT = flags.DEFINE_string("data_root", "data", "Holds ICT-FaceKit as ict/.")
_FACE_MODEL = flags.DEFINE_string("face_model", None, "MediaPipe's .task, or dlib's .dat.")
_NUM_FACES = flags.DEFINE_integer("num_faces", 1000, "Test faces of bin/eval; the paper: 5,000.", 1)
_FOLDER = flags.DEFINE_string("folder", None, "Where to build; default: a temporary folder.")


def main(_):
    temporary = None if _FOLDER.value else tempfile.mkdtemp(prefix="rehearsal")
    folder = pathlib.Path(_FOLDER.value or temporary)
    try:
        rows = [*build(folder / "data"), *run_all(folder)]
    finally:
        if temporary:
            shutil.rmtree(temporary)
    write(rows)


def build(data):
    """Makes the data sets; a row with the time for each."""
    ict = pathlib.Path(_DATA_ROOT.value) / "ict" / "ict_face_dense.npz"
    rng = np.random.default_rng(0)
    rows, made = [], {}

    def build_one(name, what, function):
        start = time.perf_counter()
        made[name] = function(data / name)
        rows.append({"command": f"build {name}", "what": what, "status": 0,
                     "seconds": time.perf_counter() - start, "peak MB": None})
        print(rows[-1], flush=True)

    build_one("bfm", "53,490 vertices, 199 + 199 components",
              lambda path: make.write_bfm(path, ict, rng))
    shutil.copytree(data / "bfm", data / "celeba" / "bfm")
    build_one("bfm2017", "53,149 vertices, 199 + 100 + 199 components",
              lambda path: make.write_bfm2017(path, ict, rng, "model2017-1_bfm_nomouth.h5", 53149))
    build_one("bfm2019", "47,439 vertices, 199 + 100 + 199 components",
              lambda path: make.write_bfm2017(path, ict, rng, "model2019_bfm.h5", 47439))
    build_one("coma", f"{144 * COMA_FRAMES} meshes of 12 people (the data set: 20,466)",
              lambda path: make.write_coma(path, ict, rng, COMA_FRAMES))
    dense = make.Surface(ict, CASIA_POINTS, 2 * CASIA_POINTS)
    with photographs() as photograph:
        found = "photographs rendered, landmarks found" if photograph else "made-up landmarks"
        build_one("casia3d", f"{CASIA_PEOPLE * CASIA_SCANS} scans of some 40,000 points, {found} "
                  "(the data set: 4,624)",
                  lambda path: make.write_casia(path, ict, rng, CASIA_PEOPLE, CASIA_SCANS, dense,
                                                photograph))
    build_one("celeba", f"{CELEBA} photographs (the data set: 202,599)",
              lambda path: make.write_celeba(path, ict, rng, CELEBA, made["bfm"]))
    build_one("aflw2000", f"{AFLW:,} photographs, all there are",
              lambda path: make.write_aflw2000(path, ict, rng, AFLW, made["bfm"]))
    return rows


def run_all(folder):
    """Runs the programs; a row for each command."""
    few = "--num_train=1600 --autoencoder_epochs=5 --dissimilarity_epochs=1"
    rows = [run(folder, f"check --dataset={name} --data_dir=data/{name}")
            for name in ("bfm", "bfm2017", "coma", "casia3d", "celeba", "aflw2000")]
    rows.append(run(folder, "check --dataset=bfm2017 --data_dir=data/bfm2019"))
    for command in (
        f"train --dataset=bfm {few}",
        "train --method=zhao --dataset=bfm --num_train=1600 --epochs=5",
        "train --method=mobileface --dataset=bfm --num_train=160 --epochs=1",
        f"train --dataset=coma {few}",
        "train --method=zhao --dataset=coma --num_train=1600 --epochs=5",
        f"train --dataset=bfm2017 {few}",
        f"train --dataset=bfm2017 --data_dir=data/bfm2019 --workdir=runs/bfm2019 {few}",
        f"eval --reproduce=all --num_faces={_NUM_FACES.value}",
        f"eval --reproduce=table4 --num_faces={_NUM_FACES.value}",
        f"eval --dataset=bfm2017 --weights=runs/bfm2017_ibug68 --num_faces={_NUM_FACES.value}",
        "eval --dataset=aflw2000 --reference=bfm2017 --weights=ibug68",
    ):
        rows.append(run(folder, command))
    rows.append(registration(folder / "data" / "casia3d"))
    return rows


def run(folder, command):
    """Runs a program of the repository in a folder: its status, time and peak memory."""
    name, *arguments = command.split()
    log = folder / "log"
    start = time.perf_counter()
    with log.open("w") as output:
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, folder / "peak", ROOT / "bin" / name, *arguments],
            cwd=folder, stdout=output, stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    seconds = time.perf_counter() - start
    lines = re.split(r"[\n\r]", log.read_text().strip())
    row = {"command": f"bin/{command}", "what": "", "status": done.returncode,
           "seconds": seconds, "peak MB": int((folder / "peak").read_text()) / 1024}
    print(row, flush=True)
    if done.returncode:
        print("\n".join(lines[-25:]), flush=True)
    return row


def registration(folder):
    """Time to register a scan, without the reading of its files."""
    embedding = flame.read_embedding("flame51", folder)
    files = casia3d._Folder(folder)
    shapes = [files.shapes(name) for name in sorted(files.scans)[:20]]
    casia3d._landmarks_on_scan(shapes[0][0], shapes[0][1], embedding, shapes[0][2])  # compiles
    start = time.perf_counter()
    for scan, mesh, landmarks in shapes:
        casia3d._landmarks_on_scan(scan, mesh, embedding, landmarks)
    row = {"command": "ICP of a scan", "what": f"mean of {len(shapes)}, files read before",
           "status": 0, "seconds": (time.perf_counter() - start) / len(shapes), "peak MB": None}
    print(row, flush=True)
    return row


class photographs:
    """Draws photographs of ICT's faces and finds landmarks in them; None without a face model."""

    def __enter__(self):
        if _FACE_MODEL.value is None:
            return None
        dataset = open_dataset(specs.load_spec("ict_expression"), "ibug68",
                               pathlib.Path(_DATA_ROOT.value) / "ict")
        look = sample_appearance(jax.random.key(0), dataset.dense, 1)
        self._open = open_detector(_FACE_MODEL.value)
        detector = self._open.__enter__()

        def photograph(identity, expression, angles):
            yaw, pitch, roll = (jnp.float32(angle)[None] for angle in angles)
            view = View(yaw, pitch, roll, jnp.zeros(1), jnp.zeros(1, jnp.int32), jnp.ones(1),
                        jnp.zeros((1, 2)))
            identity, expression = (jnp.asarray(x, jnp.float32)[None]
                                    for x in (identity, expression))
            drawn = render(dataset.dense, identity, expression, look, view, 480)
            pixels = np.zeros((480, 640, 3), np.uint8)
            pixels[:, 80:560] = np.round(255 * np.asarray(drawn[0])).astype(np.uint8)
            faces = detector.detect(pixels)
            found = detector.landmarks(faces[0], "ibug68")[:, :2] if len(faces) else None
            return pixels, found

        return photograph

    def __exit__(self, *error):
        if _FACE_MODEL.value is not None:
            self._open.__exit__(*error)


def write(rows):
    """Writes the results, and stops with an error if a command failed."""
    hardware = describe_hardware()
    (RESULTS / "rehearsal.json").write_text(
        json.dumps({"hardware": hardware, "rows": rows}, indent=1) + "\n")
    lines = [f"{hardware['cores']} cores of {hardware['cpu']}, which others used at the same time.",
             "", "| command | what | status | seconds | peak memory, MB |", "|---|---|---|---|---|"]
    for row in rows:
        peak = "" if row["peak MB"] is None else f"{row['peak MB']:,.0f}"
        seconds = f"{row['seconds']:.3f}" if row["seconds"] < 1 else f"{row['seconds']:.0f}"
        lines.append(f"| `{row['command']}` | {row['what']} | {row['status']} | {seconds} | "
                     f"{peak} |")
    (RESULTS / "rehearsal.md").write_text("\n".join(lines) + "\n")
    failed = [row["command"] for row in rows if row["status"]]
    if failed:
        raise SystemExit("failed: " + "; ".join(failed))


if __name__ == "__main__":
    app.run(main)
