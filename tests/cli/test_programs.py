"""The programs end to end, each in a process of its own, as a user runs them."""

import csv
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from deepmds_jax import Config, save_params, topologies
from deepmds_jax.lifting import init_params

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def call(verb, *arguments, cwd):
    command = [sys.executable, ROOT / "bin" / verb, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def succeed(verb, *arguments, cwd):
    done = call(verb, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fail(verb, *arguments, cwd):
    done = call(verb, *arguments, cwd=cwd)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_reconstruct_lifts_the_examples_and_draws_them(tmp_path):
    outputs = "faces.npz,faces.json,faces.csv,faces.obj,faces.ply"
    text = succeed("reconstruct", EXAMPLES, f"--image={EXAMPLES}", f"--out={outputs}",
                   cwd=tmp_path)
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


def test_reconstruct_goes_on_past_bad_files_and_names_them(tmp_path):
    good = json.loads((EXAMPLES / "hopper.json").read_text())["landmarks"]
    (tmp_path / "good.json").write_text(json.dumps(good))
    (tmp_path / "cut.pts").write_text("version: 1\nn_points: 68\n{\n1 2\n")
    np.save(tmp_path / "few.npy", np.random.default_rng(0).normal(size=(67, 2)))
    np.save(tmp_path / "same.npy", np.ones((68, 2)))
    errors = fail("reconstruct", tmp_path, "--out=o.csv", cwd=tmp_path)
    assert "cut.pts" in errors
    assert "few: 67 landmarks, topology ibug68 has 68" in errors
    assert "same: all landmarks are equal" in errors
    with open(tmp_path / "o.csv", newline="") as file:
        assert {row["face"] for row in csv.DictReader(file)} == {"good"}


def test_faces_of_one_name_and_far_from_the_origin_are_all_lifted(tmp_path):
    face = np.array(json.loads((EXAMPLES / "hopper.json").read_text())["landmarks"])
    for i, folder in enumerate("abc"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "face.npy", face + 1e9 * i)
    succeed("reconstruct", "a", "b", "c", "--out=o.npz", cwd=tmp_path)
    found = np.load(tmp_path / "o.npz")
    assert len(set(found["names"])) == 3
    np.testing.assert_allclose(found["points"][1:], found["points"][[0, 0]], atol=1e-2)
    near, far = found["image_points"][[0, 2]]
    np.testing.assert_allclose(far[:, :2] - 2e9, near[:, :2], atol=0.5)


@pytest.mark.parametrize("verb", ["train", "eval", "reconstruct", "convert"])
def test_help_tells_the_flags_of_the_program(tmp_path, verb):
    text = call(verb, "--help", cwd=tmp_path).stdout
    assert f"bin/{verb} --" in text or f"bin/{verb} examples" in text
    assert "--accelerator" in text
    assert {"train": "--workdir", "eval": "--metric", "reconstruct": "--image",
            "convert": "--released"}[verb] in text


@pytest.mark.parametrize(("arguments", "message"), [
    ((EXAMPLES / "hopper.json", "--out=faces.stl"), "faces.stl"),
    ((EXAMPLES / "hopper.json", "--picture=faces.gif"), "faces.gif"),
    ((EXAMPLES / "hopper.json", "--weights=hand21"), "hand21"),
    ((EXAMPLES / "hopper.json", "--weights=flame51"), "68 landmarks, topology flame51 has 51"),
    ((EXAMPLES / "hopper.json", "--image=none.jpg"), "none.jpg"),
    (("nowhere",), "nowhere"),
    ((), "expected landmark files"),
])
def test_reconstruct_tells_bad_input_in_a_line(tmp_path, arguments, message):
    assert message in fail("reconstruct", *arguments, cwd=tmp_path)
    assert not list(tmp_path.rglob("faces.*"))


def test_train_then_eval_then_reconstruct(tmp_path):
    succeed("train", "--dataset=synthetic", "--topology=ibug68", "--num_train=160",
            "--autoencoder_epochs=2", "--dissimilarity_epochs=1", "--workdir=run", cwd=tmp_path)
    text = succeed("eval", "--metric=all", "--weights=run", "--num_faces=30", cwd=tmp_path)
    rows = {row.split("  ")[0]: row for row in text.splitlines()}
    assert {"Deep-MDS", "mean shape", "posed mean"} <= rows.keys()
    content = json.loads((tmp_path / "results/synthetic_ibug68_all.json").read_text())
    assert [row["method"] for row in content["rows"]] == ["Deep-MDS", "mean shape", "posed mean"]
    assert content["num_faces"] == 30
    assert 0 < content["rows"][1]["MSE"] < 1e-2
    assert 60 < content["rows"][1]["DepthCorr (trace)"] <= 68
    assert (tmp_path / "results/synthetic_ibug68_all.csv").exists()
    succeed("reconstruct", EXAMPLES, "--weights=run/weights.safetensors", "--out=f.obj",
            cwd=tmp_path)


def test_eval_prints_the_parameters_of_table_2(tmp_path):
    text = succeed("eval", "--metric=params", cwd=tmp_path)
    for count in ("24,880", "2,423", "2,625", "27,505", "114,840"):
        assert count in text


@pytest.mark.parametrize(("verb", "arguments", "message"), [
    ("train", ("--dataset=bfm",), "01_MorphableModel.mat"),
    ("train", ("--dataset=lfw",), "'lfw'"),
    ("train", ("--topology=hand21",), "'hand21'"),
    ("train", ("--accelerator=tpu",), "no tpu that JAX can use here"),
    ("train", ("faces",), "unexpected argument 'faces'"),
    ("eval", ("--weights=hand21",), "'hand21'"),
    ("eval", ("--weights=.",), "no checkpoint of the autoencoder"),
    ("eval", ("--weights=flame51", "--dataset=bfm"), "landmarks_68.mat"),
    ("convert", ("--released=.", "--topology=bfm72", "--out=w.safetensors"), "no such file"),
    ("convert", ("--released=.", "--topology=bfm72", "--out=w.npz"), "w.npz"),
])
def test_bad_input_is_told_in_a_line_and_leaves_nothing(tmp_path, verb, arguments, message):
    errors = fail(verb, *arguments, cwd=tmp_path)
    assert message in errors
    assert errors.strip().splitlines()[-1].startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_convert_writes_weights_that_reconstruct_takes(shared, tmp_path):
    released = shared / "data" / "authors_release"
    succeed("convert", f"--released={released}", "--topology=flame51", "--out=w.safetensors",
            cwd=tmp_path)
    photographs = shared / "data" / "celeba_hq_samples"
    files = sorted(photographs.glob("*_lmks.npy"))
    succeed("reconstruct", *files, "--weights=w.safetensors", f"--image={photographs}",
            "--out=f.ply", cwd=tmp_path)
    assert (tmp_path / "f.ply").stat().st_size > 4 * 51 * 6
    assert (tmp_path / "f.png").exists()


def test_weights_of_another_topology_are_told_apart(tmp_path):
    import jax

    params = init_params(Config("bfm72"), jax.random.key(0))
    save_params(tmp_path / "w.safetensors", params, {})
    errors = fail("reconstruct", EXAMPLES, "--weights=w.safetensors", "--out=o.npz", cwd=tmp_path)
    assert f"68 landmarks, topology bfm72 has {topologies.get('bfm72').num_landmarks}" in errors
    assert not (tmp_path / "o.npz").exists()
