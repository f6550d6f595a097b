"""The programs end to end, their flags, and their errors."""

import csv
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from deepmds_jax import save_params, topologies
from deepmds_jax.cli import program
from deepmds_jax.data.formats import meshes
from deepmds_jax.files import replacing
from deepmds_jax.methods import deep_mds

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(
    path.name for path in (ROOT / "bin").iterdir() if path.is_file() and not path.suffix)


def test_reconstruct_lifts_the_examples_and_draws_them(tmp_path, succeed):
    outputs = "faces.npz,faces.json,faces.csv,faces.obj,faces.ply"
    write_dense_model(tmp_path / "ict")
    text = succeed("reconstruct", EXAMPLES, f"--image={EXAMPLES}", f"--out={outputs}",
                   "--mesh=m.ply", "--data_dir=ict", "--mesh_in_image")
    assert "collins" in text
    assert "hopper" in text
    found = np.load(tmp_path / "faces.npz")
    assert found["points"].shape == (2, 68, 3)
    nose, left_eye, right_eye, chin = (found["points"][:, i] for i in (30, 45, 36, 8))
    assert (nose[:, 2] < left_eye[:, 2]).all()
    assert (left_eye[:, 0] > right_eye[:, 0]).all()
    assert (chin[:, 1] > nose[:, 1]).all()
    # Both look into the camera, and their landmarks lie where the photograph has them.
    assert (np.abs(found["yaw"]) < 20).all()
    off = np.abs(found["image_points"][..., :2] - found["x2d"]).mean((1, 2))
    assert (off < 0.05 * np.ptp(found["x2d"][..., 0], axis=1)).all()
    with Image.open(tmp_path / "faces.png") as picture:
        assert picture.size[0] > 1000
    with open(tmp_path / "faces.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 68
    assert json.loads((tmp_path / "faces.json").read_text())["topology"] == "ibug68"
    assert "faces.png m-collins.ply m-hopper.ply" in text
    for name, x2d in zip(found["names"], found["x2d"], strict=True):
        # The made-up face is flat, and its landmarks lie in rows: it is somewhere on the face.
        vertices = meshes.read(tmp_path / f"m-{name}.ply").vertices * [1, -1, -1]
        assert np.abs(vertices[:, :2].mean(axis=0) - x2d.mean(axis=0)).max() < np.ptp(x2d)


def write_dense_model(folder):
    """A made-up dense face in ICT's layout, as many vertices as ICT's jaw needs, mostly alike."""
    x, y = np.divmod(np.arange(9216), 96)
    mean = np.stack([x, y, np.cos(x)], axis=-1) / 10.0
    quads = np.array([[0, 1, 97, 96], [96, 97, 193, 192]])
    folder.mkdir()
    np.savez(folder / "ict_face_dense.npz", mean=mean, identity=0.01 * mean[None],
             expression=0.01 * mean[None], quads=quads, landmark_vertices=np.arange(0, 6800, 100))


def test_reconstruct_goes_on_past_bad_files_and_names_them(tmp_path, fail):
    good = json.loads((EXAMPLES / "hopper.json").read_text())["landmarks"]
    for name in ("good", "too"):
        (tmp_path / f"{name}.json").write_text(json.dumps(good))
    (tmp_path / "cut.pts").write_text("version: 1\nn_points: 68\n{\n1 2\n")
    np.save(tmp_path / "few.npy", np.random.default_rng(0).normal(size=(67, 2)))
    np.save(tmp_path / "same.npy", np.ones((68, 2)))
    errors = fail("reconstruct", tmp_path, "--out=o.csv")
    assert "cut.pts" in errors
    assert "few: 67 landmarks, topology ibug68 has 68" in errors
    assert "same: all landmarks are equal" in errors
    with open(tmp_path / "o.csv", newline="") as file:
        assert {row["face"] for row in csv.DictReader(file)} == {"good", "too"}


def test_faces_of_one_name_and_far_from_the_origin_are_all_lifted(tmp_path, succeed):
    face = np.array(json.loads((EXAMPLES / "hopper.json").read_text())["landmarks"])
    for folder, offset in (("a", 0), ("b", 2e9)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "face.npy", face + offset)
    succeed("reconstruct", "a", "b", "--out=o.npz")
    found = np.load(tmp_path / "o.npz")
    assert len(set(found["names"])) == 2
    np.testing.assert_allclose(found["points"][1], found["points"][0], atol=1e-2)
    near, far = found["image_points"]
    np.testing.assert_allclose(far[:, :2] - 2e9, near[:, :2], atol=0.5)


@pytest.mark.parametrize(("arguments", "message"), [
    ((EXAMPLES / "hopper.json", "--out=faces.stl"), "faces.stl"),
    ((EXAMPLES / "hopper.json", "--out="), "out: expected one or more files"),
    ((EXAMPLES / "hopper.json", "--picture=faces.gif"), "faces.gif"),
    ((EXAMPLES / "hopper.json", "--weights=hand21"), "hand21"),
    ((EXAMPLES / "hopper.json", "--image=none.jpg"), "none.jpg"),
    ((EXAMPLES / "hopper.json", "--mesh=f.stl", "--data_dir=."), "f.stl: unknown mesh format"),
    ((EXAMPLES / "hopper.json", "--mesh=f.ply"), "give its folder by --data_dir"),
    ((EXAMPLES / "hopper.json", "--mesh=f.ply", "--data_dir=no"), "data_dir: no folder no"),
    ((EXAMPLES / "hopper.json", "--mesh=f.ply", "--data_dir=."), "expected the folder of ICT-Fac"),
    ((EXAMPLES / "hopper.json", "--mesh=f.ply", "--out=./f.ply", "--data_dir=."),
     "mesh: f.ply would replace"),
    ((EXAMPLES / "hopper.json", "--mesh=f.ply", "--data_dir=.", "--fps=9"), "got the frames of"),
    ((EXAMPLES / "hopper.json", "--mesh_in_image"), "give --mesh=FILE"),
    (("nowhere",), "nowhere"),
    ((), "expected landmark files"),
])
def test_reconstruct_tells_bad_input_in_a_line(tmp_path, fail, arguments, message):
    assert message in fail("reconstruct", *arguments)
    assert not list(tmp_path.iterdir())


def test_eval_prints_the_parameters_of_table_2(succeed):
    text = succeed("eval", "--metric=params")
    for count in ("24,880", "2,423", "2,625", "27,505", "114,840"):
        assert count in text


@pytest.mark.parametrize(("verb", "arguments", "message"), [
    ("train", ("--dataset=bfm",), "01_MorphableModel.mat"),
    ("train", ("--dataset=lfw",), "'lfw'"),
    ("train", ("--topology=hand21",), "'hand21'"),
    ("train", ("--accelerator=tpu",), "no tpu that JAX can use here"),
    ("train", ("faces",), "unexpected argument 'faces'"),
    ("train", ("--method=hourglass",), "--method=hourglass: value should be one of <deep_mds|"),
    ("train", ("--num_train=0",), "--num_train=0"),
    ("train", ("--method=zhao", "--variant=anchored"), "variant: no flag of --method=zhao"),
    ("train", ("--method=zhao", "--pairs=face"), "pairs: no flag of --method=zhao"),
    ("eval", ("--weights=hand21",), "weights: hand21: no such file; weights are one of"),
    ("eval", ("--weights=.",), "no checkpoint of a training run"),
    ("eval", ("--weights=flame51", "--dataset=bfm"), "landmarks_68.mat"),
    ("eval", ("--metric=height",), "--metric=height: value should be one of <mse|"),
    ("convert", ("--released=.", "--topology=bfm72", "--out=w.safetensors"), "no such file"),
    ("convert", ("--released=.", "--topology=bfm72", "--out=w.npz"), "w.npz"),
    ("convert", ("--topology=bfm72", "--out=w.npz"), "released: expected --released="),
    ("convert", ("--released=.", "--out=w.npz"), "topology: expected --topology="),
    ("convert", ("--released=.", "--topology=bfm72"), "out: expected --out="),
    ("check", (), "dataset: expected --dataset="),
    ("reconstruct", ("--accelerator=npu",), "--accelerator=npu: value should be one of <cpu|"),
    ("reconstruct", ("--weights",), "Missing value for flag --weights"),
    *((verb, ("--colour=red",), "Unknown command line flag 'colour'") for verb in PROGRAMS),
])
def test_bad_input_is_told_in_a_line_and_leaves_nothing(refuse, verb, arguments, message):
    assert message in refuse(verb, *arguments)


def test_convert_writes_weights_that_reconstruct_takes(shared, tmp_path, succeed):
    released = shared / "data" / "authors_release"
    succeed("convert", f"--released={released}", "--topology=flame51", "--out=w.safetensors")
    photographs = shared / "data" / "celeba_hq_samples"
    files = sorted(photographs.glob("*_lmks.npy"))
    succeed("reconstruct", *files, "--weights=w.safetensors", f"--image={photographs}",
            "--out=f.ply")
    assert (tmp_path / "f.ply").stat().st_size > 4 * 51 * 6
    assert (tmp_path / "f.png").exists()


def test_weights_of_another_topology_are_told_apart(tmp_path, fail):
    config = deep_mds.Config("bfm72")
    shapes = jax.eval_shape(lambda: deep_mds.init(config, jax.random.key(0)))
    params = jax.tree.map(lambda s: np.ones(s.shape, s.dtype), shapes)
    save_params(tmp_path / "w.safetensors", params, {})
    errors = fail("reconstruct", EXAMPLES, "--weights=w.safetensors", "--out=o.npz")
    assert f"68 landmarks, topology bfm72 has {topologies.get('bfm72').num_landmarks}" in errors
    assert not (tmp_path / "o.npz").exists()


@pytest.mark.parametrize(("verb", "flag"), [
    ("adapt", "--out: File for the adapted weights, .safetensors."),
    ("check", "--data_dir: Its files; default: data/DATASET."),
    ("convert", "--topology=bfm72|flame51: Which networks."),
    ("eval", "--out: Folder for tables and pictures. (default: results)"),
    ("export", "--smacof=ratio|interval|ordinal: Instead of weights"),
    ("reconstruct",
     "--[no]smooth: With --fps or --video, whether to smooth over time. (default: true)"),
    ("train", "--dissimilarity_epochs: published: passes over the faces in the second stage, all "
     "pairs of one face a step (default: 4); anchored: passes over the faces in the second stage, "
     "both networks, 64 faces a step (default: 20)."),
])
def test_help_tells_the_flags_of_the_program(succeed, verb, flag):
    text = succeed(verb, "--help", "--accelerator=cpu")
    assert re.search(rf"bin/{verb} (--|examples|landmarks)", text)
    assert all(len(line) <= 100 for line in text.splitlines())
    lines = " ".join(text.split())
    assert "--accelerator=cpu|gpu|tpu: Where to compute" in lines
    assert flag in lines


def test_programs_run_in_one_process_and_keep_no_flags_of_earlier_runs(tmp_path, call, succeed):
    assert "wrote first/" in succeed("eval", "--metric=params", "--out=first")
    assert call("eval", "--seed=-1", "--metric=nme", "--out=second").status == 1
    assert "wrote results/" in succeed("eval", "--metric=params")
    assert call("reconstruct", EXAMPLES, "--out=f.stl").status == 1  # has an --out of its own
    succeed("check", "--dataset=synthetic")
    assert "dataset: expected --dataset=" in call("check").stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "results"]


def test_a_missing_gpu_is_told_and_leaves_jax_as_it_was(refuse):
    if jax.default_backend() == "gpu":
        pytest.skip("JAX computes on a GPU here")
    before = jax.config.jax_platforms
    errors = refuse("train", "--accelerator=gpu")
    assert "accelerator: no gpu that JAX can use here" in errors
    assert "pip install 'jax[cuda13]'" in errors
    assert "rocm" not in errors.lower()
    assert jax.config.jax_platforms == before
    assert jax.jit(lambda x: x + 1)(1) == 2


def test_jax_is_not_asked_for_every_kind_of_gpu(succeed, monkeypatch):
    asked = []
    monkeypatch.setattr(
        jax, "default_backend", lambda: asked.append(jax.config.jax_platforms) or "gpu")
    succeed("check", "--dataset=synthetic", "--accelerator=gpu")
    assert asked == [None]  # "gpu" is CUDA, ROCm and oneAPI to JAX, which fails if one is missing


@pytest.mark.parametrize("verb", PROGRAMS)
def test_executables_differ_in_the_name_of_the_program_alone(verb):
    script = ROOT / "bin" / verb
    assert os.access(script, os.X_OK)
    assert script.read_text() == (ROOT / "bin" / "eval").read_text().replace("eval", verb)


def test_an_executable_starts(tmp_path):
    """The only processes of their own: help, with its status; an error before JAX has started."""
    def start(verb, *arguments):
        return subprocess.run([sys.executable, ROOT / "bin" / verb, *arguments], cwd=tmp_path,
                              capture_output=True, text=True, timeout=300)

    done = start("eval", "--help")
    assert done.returncode == 0, done.stderr
    assert "bin/eval " in done.stdout
    nobody_reads, end = os.pipe()
    os.close(nobody_reads)
    # Of all programs this one takes the least time to start.
    done = subprocess.run([sys.executable, ROOT / "bin" / "check", "--help"], stdout=end,
                          stderr=subprocess.PIPE, text=True, timeout=300)
    os.close(end)
    assert (done.returncode, done.stderr) == (1, "")
    done = start("train", "--accelerator=tpu")
    assert done.returncode == 1
    assert done.stderr.startswith("error: accelerator: no tpu that JAX can use here")
    assert not list(tmp_path.iterdir())


def test_termination_takes_away_what_is_half_written(tmp_path, capsys):
    def main(_):
        with replacing(tmp_path / "a.txt") as path:
            path.write_text("half")
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    assert program.run(main, program.new_flags(), "", []) == 130
    assert signal.getsignal(signal.SIGTERM) == before
    assert list(tmp_path.iterdir()) == []
    assert "interrupted by SIGTERM" in capsys.readouterr().err
