import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import tensorboardX
from safetensors.numpy import load_file

from deepmds_jax import load_params
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.sources import synthetic
from deepmds_jax.lifting import Config, init_params
from deepmds_jax.training import Run, checkpoints, dissimilarity_curve, load_checkpoint, train
from deepmds_jax.training.stages import dissimilarity_stage
from deepmds_jax.weights import read_metadata

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = specs.load_spec("synthetic")
RUN = Run(Config("flame51"), num_train=160, autoencoder_epochs=30, dissimilarity_epochs=2)


@pytest.fixture(scope="module")
def model():
    return synthetic.load("flame51")


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    return workdir, train(RUN, Dataset(SPEC, model, None), workdir)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_both_losses_fall(model, tmp_path, monkeypatch):
    curve = {}
    monkeypatch.setattr(
        tensorboardX.SummaryWriter, "add_scalar",
        lambda self, tag, value, step: curve.setdefault(tag, []).append(value),
    )
    train(RUN, Dataset(SPEC, model, None), tmp_path)
    assert len(curve["autoencoder/loss"]) == 30  # a look per epoch of 10 steps
    assert curve["autoencoder/loss"][-1] < 0.25 * curve["autoencoder/loss"][0]
    assert curve["dissimilarity/loss"][-1] < 0.8 * curve["dissimilarity/loss"][0]


def test_curves_checkpoints_and_weights_are_written(finished):
    workdir, params = finished
    assert list((workdir / "tensorboard").glob("events*"))
    assert_equal(load_checkpoint(workdir)[0], params)
    assert_equal(load_params(workdir / "weights.safetensors"), params)
    metadata = read_metadata(workdir / "weights.safetensors")
    assert metadata["dataset"] == "synthetic"
    assert metadata["seed"] == "0"
    # The reference is the mean face with unit root-mean-square distance to its centroid.
    assert np.mean(np.sum(np.square(params.reference), axis=1)) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("looks", [2, 30])  # in the first stage, in the second
def test_an_interrupted_run_ends_at_the_same_numbers(
    finished, model, tmp_path, monkeypatch, looks, number
):
    seen = []

    def interrupt(self, tag, value, step):
        seen.append((tag.split("/")[0], step))
        if len(seen) == looks + 1:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(tensorboardX.SummaryWriter, "add_scalar", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(RUN, Dataset(SPEC, model, None), tmp_path)
    assert signal.getsignal(number) is before
    assert len(seen) == looks + 2  # it stops after the next chunk, and keeps that one
    stage, step = seen[-1]
    manager = checkpoints._open(tmp_path / stage, create=False)
    assert list(manager.all_steps()) == [step]
    manager.close()
    assert not (tmp_path / "weights.safetensors").exists()
    assert_equal(train(RUN, Dataset(SPEC, model, None), tmp_path), finished[1])


def test_a_finished_run_is_not_trained_again(finished, model, monkeypatch):
    def never(*args):
        raise AssertionError("a step was run")

    monkeypatch.setattr(tensorboardX.SummaryWriter, "add_scalar", never)
    assert_equal(train(RUN, Dataset(SPEC, model, None), finished[0]), finished[1])


@pytest.mark.parametrize(("changed", "message"), [
    ({"seed": 1}, "seed=0, this one has seed=1"),
    ({"config": Config("bfm72")}, "topology=flame51, this one has topology=bfm72"),
])
def test_the_workdir_of_another_run_is_refused(finished, changed, message):
    run = dataclasses.replace(RUN, **changed)
    with pytest.raises(ValueError, match=message):
        train(run, Dataset(SPEC, synthetic.load(run.config.topology), None), finished[0])


def test_a_loss_that_is_not_finite_stops_the_run(model, tmp_path):
    run = dataclasses.replace(RUN, learning_rate=1e38)
    message = r"loss is (nan|inf) at step \d+; there is no checkpoint yet.*learning_rate"
    with pytest.raises(FloatingPointError, match=message):
        train(run, Dataset(SPEC, model, None), tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()


def test_too_few_faces_for_a_minibatch(model, tmp_path):
    with pytest.raises(ValueError, match="num_train: a minibatch takes 16 faces, got 5"):
        train(dataclasses.replace(RUN, num_train=5), Dataset(SPEC, model, None), tmp_path)


    assert not list(tmp_path.iterdir())


def test_another_runs_workdir_gets_no_new_files(finished, model):
    before = sorted(finished[0].rglob("*"))
    run = dataclasses.replace(RUN, pairs="shuffled")
    with pytest.raises(ValueError, match="pairs=face, this one has pairs=shuffled"):
        train(run, Dataset(SPEC, model, None), finished[0])
    assert sorted(finished[0].rglob("*")) == before


def test_a_run_of_another_version_is_refused(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    files = [f for f in (tmp_path / "run").glob("*/*/run/*") if b"max_iters" in f.read_bytes()]
    assert files
    for file in files:
        file.write_text(file.read_text().replace("max_iters", "most_iters"))
    with pytest.raises(ValueError, match="has no max_iters; it was written by another version"):
        load_checkpoint(tmp_path / "run")


def test_pairs_are_those_of_one_face_or_shuffled_over_all(model):
    with pytest.raises(ValueError, match="'all'"):
        dataclasses.replace(RUN, pairs="all")
    params = init_params(RUN.config, jax.random.key(0))
    faces = Dataset(SPEC, model, None).draw(jax.random.key(1), 12)
    sides = 1 + jax.numpy.arange(12.0)[:, None, None]
    flat = faces._replace(points=faces.points.at[..., 1:].multiply(0.1 / sides))
    rows, key = jax.numpy.array([3]), jax.random.key(2)

    def batch(pairs):
        stage = dissimilarity_stage(flat, params, 1e-3, pairs)
        features, targets = stage.minibatch(stage.data, rows, key)
        assert features.shape == (51 * 51, 6)
        assert targets.shape == (51 * 51,)
        _, points = stage.data
        apart = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
        return np.asarray(targets), np.asarray(apart)

    targets, apart = batch("face")
    np.testing.assert_allclose(np.sort(targets), np.sort(apart[3].ravel()), atol=1e-6)
    targets, apart = batch("shuffled")
    nearest = np.abs(targets[:, None] - apart[apart > 0][None]).min(axis=1)
    assert np.all((targets == 0) | (nearest < 1e-6))  # each is a distance of some face
    counts = [np.isclose(targets[:, None], np.unique(a)[None, 1:], atol=1e-7).any(1).sum()
              for a in apart]
    assert min(counts) > 51 * 51 / 12 / 2  # and every face has its share


def test_dissimilarity_curves_fall_for_both_kinds_of_minibatch(model, finished):
    faces = Dataset(SPEC, model, None).draw(jax.random.key(1), 150)
    curves = {pairs: dissimilarity_curve(finished[1], faces, pairs, key=jax.random.key(2))
              for pairs in ("face", "shuffled")}
    for curve in curves.values():
        assert curve.shape == (150,)
        assert curve[-20:].mean() < 0.8 * curve[:20].mean()
    assert not np.array_equal(*curves.values())


def test_a_folder_without_checkpoints_is_refused(tmp_path, finished):
    with pytest.raises(ValueError, match="no checkpoint of the autoencoder network"):
        load_checkpoint(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "autoencoder").symlink_to(finished[0] / "autoencoder")
    with pytest.raises(ValueError, match="no checkpoint of the dissimilarity network"):
        load_checkpoint(tmp_path)


def test_a_damaged_checkpoint_is_named(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    for file in (tmp_path / "run" / "autoencoder" / "300" / "weights").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:7])
    with pytest.raises(ValueError, match=r"autoencoder: the checkpoint of step 300 is damaged"):
        load_checkpoint(tmp_path / "run")


def test_checkpoints_keep_one_step_each(finished):
    for stage, steps in (("autoencoder", 300), ("dissimilarity", 320)):
        manager = checkpoints._open(finished[0] / stage, create=False)
        assert list(manager.all_steps()) == [steps]
        manager.close()


def start_program(workdir):
    command = [
        sys.executable, ROOT / "bin/train", "--topology=flame51", "--num_train=160",
        "--autoencoder_epochs=30", "--dissimilarity_epochs=2", f"--workdir={workdir}",
    ]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


FOUR_DEVICES = """
import dataclasses, json, jax, tensorboardX
from deepmds_jax.data import specs
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.lifting import Config
from deepmds_jax.training import Run, train

run = Run(Config("flame51"), num_train=160, autoencoder_epochs=2, dissimilarity_epochs=1)
curves = []
for devices in (jax.devices()[:1], jax.devices()):
    curve = []
    tensorboardX.SummaryWriter.add_scalar = lambda self, tag, value, step: curve.append(value)
    workdir = f"run{len(devices)}"
    dataset = Dataset(specs.load_spec("synthetic"), synthetic.load("flame51"), None)
    train(run, dataset, workdir, devices)
    curves.append(curve)
print(json.dumps(curves))
"""


def test_four_devices_give_the_losses_of_one(tmp_path):
    flags = "--xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", FOUR_DEVICES], cwd=tmp_path, capture_output=True, text=True,
        timeout=300, env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "autoencoder on 4 device(s)" in done.stderr  # 16 faces
    assert "dissimilarity on 4 device(s)" in done.stderr  # 51 * 51 pairs, not divisible
    one, four = np.array(json.loads(done.stdout.splitlines()[-1]))
    assert len(one) == 3  # 10 + 10 steps of the first stage, 160 of the second
    # Sums in another order: rounding at first, which Adam's normalised steps then amplify.
    np.testing.assert_allclose(four[0], one[0], rtol=1e-5)
    np.testing.assert_allclose(four, one, rtol=1e-2)


def test_a_killed_program_resumes_to_the_same_numbers(finished, tmp_path):
    process = start_program(tmp_path)
    deadline = time.monotonic() + 120
    while not any((tmp_path / "autoencoder").glob("[0-9]*")) and time.monotonic() < deadline:
        time.sleep(0.05)  # the first stage is done, the second compiles
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = start_program(tmp_path)
    assert again.wait(timeout=300) == 0
    ours, theirs = (load_file(d / "weights.safetensors") for d in (tmp_path, finished[0]))
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
