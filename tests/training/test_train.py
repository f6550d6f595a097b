"""What holds for every training run, shown by Deep-MDS: two stages and batch statistics."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import chex
import jax
import numpy as np
import pytest
import tensorboardX

from deepmds_jax.cli import train as program
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.sources import synthetic
from deepmds_jax.methods import deep_mds
from deepmds_jax.methods.saved import load_checkpoint, load_params, read_metadata
from deepmds_jax.training import checkpoints, loop
from deepmds_jax.training.run import describe, train
from deepmds_jax.training.trainable import Run

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = specs.load_spec("synthetic")
# 10 looks at 2 steps of the first stage each, then 3 at 32 steps of the second.
RUN = Run(deep_mds.Config("flame51"),
          deep_mds.Training(autoencoder_epochs=10, dissimilarity_epochs=3), num_train=32)
FLAGS = ["--topology=flame51", "--num_train=32", "--autoencoder_epochs=10",
         "--dissimilarity_epochs=3"]  # the same run


def open_dataset():
    return Dataset(SPEC, synthetic.load("flame51"), pathlib.Path("nowhere"))


@pytest.fixture(scope="module")
def dataset():
    return open_dataset()


def steps_kept(folder):
    """The steps that a stage's folder has checkpoints of."""
    with contextlib.closing(checkpoints._open(folder, create=False)) as manager:
        return list(manager.all_steps())


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:  # a busy machine would keep one every 10 seconds
        patch.setattr(loop, "_SECONDS_BETWEEN_CHECKPOINTS", 3600)
        return workdir, train(deep_mds, RUN, dataset, workdir)


def test_curves_checkpoints_and_weights_are_written(finished):
    workdir, params = finished
    assert list((workdir / "tensorboard").glob("events*"))
    loaded, run = load_checkpoint(workdir)
    chex.assert_trees_all_equal(loaded, params)
    assert loaded.config == params.config == RUN.config
    assert (run["method"], run["variant"], run["seed"]) == ("deep_mds", "published", 0)
    chex.assert_trees_all_equal(load_params(workdir / "weights.safetensors"), params)
    metadata = read_metadata(workdir / "weights.safetensors")
    assert metadata["dataset"] == "synthetic"
    assert metadata["seed"] == "0"


def train_until_interrupted(dataset, workdir, number, looks):
    """Trains until a signal comes at a look at the loss; returns the curve and step of each."""
    seen = []

    def interrupt(self, tag, value, step):
        seen.append((tag, step))
        if len(seen) == looks:
            signal.raise_signal(number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorboardX.SummaryWriter, "add_scalar", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(deep_mds, RUN, dataset, workdir)
    return seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_interrupted_in_both_stages_ends_at_the_same_numbers(
    finished, dataset, tmp_path, number
):
    before = signal.getsignal(number)
    for looks, stage, step in ((3, "autoencoder", 8), (7, "dissimilarity", 64)):
        seen = train_until_interrupted(dataset, tmp_path, number, looks)
        assert signal.getsignal(number) is before
        assert len(seen) == looks + 1  # it stops after the next chunk, and keeps that one
        assert seen[-1] == (f"{stage}/loss", step)
        assert steps_kept(tmp_path / stage) == [step]
        assert not (tmp_path / "weights.safetensors").exists()
    chex.assert_trees_all_equal(train(deep_mds, RUN, dataset, tmp_path), finished[1])


def test_a_finished_run_is_not_trained_again(finished, dataset, monkeypatch):
    def never(*args):
        raise AssertionError("a step was run")

    monkeypatch.setattr(tensorboardX.SummaryWriter, "add_scalar", never)
    chex.assert_trees_all_equal(train(deep_mds, RUN, dataset, finished[0]), finished[1])


@pytest.mark.parametrize(("changed", "message"), [
    ({"seed": 1}, "seed=0, this one has seed=1"),
    ({"training": dataclasses.replace(RUN.training, pairs="shuffled")},
     "pairs=face, this one has pairs=shuffled"),
])
def test_the_workdir_of_another_run_is_refused_and_gets_no_new_files(
    finished, dataset, changed, message
):
    before = sorted(finished[0].rglob("*"))
    run = dataclasses.replace(RUN, **changed)
    with pytest.raises(ValueError, match=message):
        train(deep_mds, run, dataset, finished[0])
    # Other landmarks would take a program of their own for the faces, to come to the same check.
    run = dataclasses.replace(run, config=deep_mds.Config("bfm72"))
    with pytest.raises(ValueError, match="topology=flame51, this one has topology=bfm72"):
        checkpoints.Checkpoints(finished[0], describe(deep_mds, run, SPEC), {}).check()
    assert sorted(finished[0].rglob("*")) == before


def test_a_workdir_where_another_trains_is_refused(dataset, tmp_path):
    message = f"workdir: another training is writing to {tmp_path}"
    with checkpoints.sole_training(tmp_path), pytest.raises(ValueError, match=message):
        train(deep_mds, RUN, dataset, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_loss_that_is_not_finite_stops_the_run(dataset, tmp_path):
    training = dataclasses.replace(RUN.training, learning_rate=1e38)
    message = r"loss is (nan|inf) at step \d+; there is no checkpoint yet.*learning_rate"
    with pytest.raises(FloatingPointError, match=message):
        train(deep_mds, dataclasses.replace(RUN, training=training), dataset, tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()


def test_too_few_faces_for_a_minibatch(dataset, tmp_path):
    with pytest.raises(ValueError, match="num_train: a minibatch takes 16 faces, got 5"):
        train(deep_mds, dataclasses.replace(RUN, num_train=5), dataset, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_of_another_version_is_refused(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    files = [f for f in (tmp_path / "run").glob("*/*/run/*") if b"max_iters" in f.read_bytes()]
    assert files
    for file in files:
        file.write_text(file.read_text().replace("max_iters", "most_iters"))
        (file.parents[1] / "SHA256SUMS").unlink()  # that version wrote none
    with pytest.raises(ValueError, match="has no max_iters; it was written by another version"):
        load_checkpoint(tmp_path / "run")


def test_a_folder_without_checkpoints_is_refused(finished, tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: no checkpoint of a training run"):
        load_checkpoint(tmp_path)
    assert not list(tmp_path.iterdir())
    for there, lacking in (deep_mds.STAGES, deep_mds.STAGES[::-1]):
        folder = tmp_path / there
        folder.mkdir()
        (folder / there).symlink_to(finished[0] / there)
        with pytest.raises(ValueError, match=f"{folder}: no checkpoint of the {lacking} network"):
            load_checkpoint(folder)


def test_a_damaged_checkpoint_is_named(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    for file in (tmp_path / "run" / "autoencoder" / "20" / "weights").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:7])
    with pytest.raises(ValueError, match=r"autoencoder: the checkpoint of step 20 is damaged"):
        load_checkpoint(tmp_path / "run")


def test_each_stage_ends_with_a_checkpoint(finished):
    assert steps_kept(finished[0] / "autoencoder") == [20]
    assert steps_kept(finished[0] / "dissimilarity") == [96]


def losses_on(devices, workdir):
    """The losses of a shorter run on some devices."""
    short = deep_mds.Training(autoencoder_epochs=2, dissimilarity_epochs=1)
    losses = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorboardX.SummaryWriter, "add_scalar",
                      lambda self, tag, value, step: losses.append(value))
        train(deep_mds, dataclasses.replace(RUN, training=short), open_dataset(), workdir, devices)
    return losses


ON_ALL = """
import json, sys, jax
from test_train import losses_on

print(json.dumps(losses_on(jax.devices(), sys.argv[1])))
"""


def test_four_devices_give_the_losses_of_one(tmp_path):
    flags = " ".join([os.environ.get("XLA_FLAGS", ""),
                      "--xla_force_host_platform_device_count=4"])
    path = os.pathsep.join([str(ROOT), str(pathlib.Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", ON_ALL, tmp_path / "four"], capture_output=True, text=True,
        timeout=300, env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert "autoencoder on 4 device(s)" in done.stderr  # 16 faces
    assert "dissimilarity on 4 device(s)" in done.stderr  # 51 * 51 pairs, not divisible
    four = json.loads(done.stdout.splitlines()[-1])
    one = losses_on(jax.devices()[:1], tmp_path / "one")
    assert len(one) == len(four) == 3  # 2 + 2 steps of the first stage, 32 of the second
    # Sums in another order: rounding at first, which Adam's normalised steps then amplify.
    np.testing.assert_allclose(four[0], one[0], rtol=1e-5)
    np.testing.assert_allclose(four, one, rtol=1e-2)


def test_a_killed_program_resumes_to_the_same_numbers(finished, tmp_path, capfd):
    flags = [*FLAGS, f"--workdir={tmp_path}"]
    process = subprocess.Popen([sys.executable, ROOT / "bin/train", *flags])
    deadline = time.monotonic() + 300
    while not any((tmp_path / "autoencoder").glob("[0-9]*")) and time.monotonic() < deadline:
        assert process.poll() is None, capfd.readouterr().err
        time.sleep(0.05)  # the first stage is done, the second compiles
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "weights.safetensors").exists()
    assert program.run(flags) == 0, capfd.readouterr().err
    chex.assert_trees_all_equal(load_params(tmp_path / "weights.safetensors"), finished[1])
