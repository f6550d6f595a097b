"""Zhao's network: its sizes, the authors' weights, the method, and training on synthetic faces."""

import dataclasses
import pathlib
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorboardX

from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.recorded import Recordings
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import Faces, View, ViewGroup, sample_faces
from deepmds_jax.methods import deep_mds, table, zhao
from deepmds_jax.methods.saved import load_checkpoint, load_params, load_weights, read_metadata
from deepmds_jax.training.checkpoints import Checkpoints
from deepmds_jax.training.run import describe, train
from deepmds_jax.training.trainable import Run

SPEC = specs.load_spec("synthetic")
NOWHERE = pathlib.Path("nowhere")  # the synthetic source reads no files
RUN = Run(zhao.Config("flame51"), zhao.Training(epochs=20), num_train=800)


@pytest.fixture(scope="module")
def dataset():
    return Dataset(SPEC, synthetic.load("flame51"), NOWHERE)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """The folder, the parameters, and the losses of a whole run."""
    workdir, losses = tmp_path_factory.mktemp("zhao"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorboardX.SummaryWriter, "add_scalar",
                      lambda self, tag, value, step: losses.append((tag, value)))
        params = train(zhao, RUN, dataset, workdir)
    assert {tag for tag, _ in losses} == {"zhao/loss"}
    return workdir, params, [loss for _, loss in losses]


def test_has_the_published_size():
    params = jax.eval_shape(lambda: zhao.init(zhao.Config("bfm72"), jax.random.key(0)))
    assert set(params.network) == {"params"}  # no moving statistics
    assert zhao.as_method(params).num_params == 114_840


@pytest.mark.parametrize("topology", ["bfm72", "flame51"])
def test_released_weights_agree_with_keras(shared, topology):
    oracle = np.load(shared / "oracles" / "authors_networks" / f"{topology}.npz")
    params = zhao.load_released(shared / "data" / "authors_release", topology)
    assert params.config == zhao.Config(topology, y_up=True)
    normalized = jax.jit(zhao.normalize)(oracle["x2d"])
    np.testing.assert_allclose(normalized, oracle["zhao_input"], atol=1e-5)
    apply = jax.jit(zhao.ZhaoNetwork(oracle["x2d"].shape[1]).apply)
    depth = apply(params.network, oracle["zhao_input"])
    np.testing.assert_allclose(depth, oracle["zhao_depth"], atol=1e-5)
    # The oracle's input, y up for the network, is our image with y down turned over.
    x2d = 300 * oracle["x2d"] * np.array([1, -1], np.float32) + 100
    points = jax.jit(zhao.as_method(params).predict)(Faces(x2d, None))
    np.testing.assert_allclose(points[..., 0], oracle["zhao_input"][..., 0], atol=1e-5)
    np.testing.assert_allclose(points[..., 1], -oracle["zhao_input"][..., 1], atol=1e-5)
    np.testing.assert_allclose(points[..., 2], -oracle["zhao_depth"], atol=1e-5)


@pytest.mark.parametrize("topology", ["bfm72", "flame51"])
def test_released_weights_know_up_and_near(shared, topology):
    faces = sample_faces(jax.random.key(1), synthetic.load(topology), (ViewGroup(1.0),), 4)
    params = zhao.load_released(shared / "data" / "authors_release", topology)
    upside_down = dataclasses.replace(params, config=zhao.Config(topology, y_up=False))
    right, wrong = (np.asarray(jax.jit(zhao.as_method(p).predict)(faces))[..., 2]
                    for p in (params, upside_down))
    truth = np.asarray(faces.points)[..., 2]
    for i in range(4):
        assert np.corrcoef(right[i], truth[i])[0, 1] > 0.9
        assert np.corrcoef(wrong[i], truth[i])[0, 1] < 0


def test_released_weights_are_for_two_topologies():
    with pytest.raises(ValueError, match=r"topology: .* \['bfm72', 'flame51'\], got 'ibug68'"):
        zhao.load_released("nowhere", "ibug68")


def test_our_network_leaves_signs_alone():
    params = zhao.init(RUN.config, jax.random.key(0))
    x2d = np.random.default_rng(1).normal(size=(2, 51, 2)).astype(np.float32)
    points = np.asarray(jax.jit(zhao.as_method(params).predict)(Faces(x2d, None)))
    depth = jax.jit(zhao.ZhaoNetwork(51).apply)(params.network, points[..., :2])
    np.testing.assert_allclose(points[..., 2], depth, atol=1e-6)
    spread = np.std(points[..., 0], axis=1) + np.std(points[..., 1], axis=1)
    np.testing.assert_allclose(spread, 1, rtol=1e-5)


def test_learns_depth_and_writes_its_weights(finished):
    workdir, params, losses = finished
    assert losses[-1] < 0.25 * losses[0]
    loaded = load_params(workdir / "weights.safetensors", method="zhao")
    assert loaded.config == params.config == RUN.config
    chex.assert_trees_all_equal(loaded, params)
    metadata = read_metadata(workdir / "weights.safetensors")
    assert (metadata["method"], metadata["topology"]) == ("zhao", "flame51")
    assert metadata["dataset"] == "synthetic"
    assert metadata["epochs"] == "20"


def test_knows_more_of_depth_than_the_mean_of_all_depths(finished, dataset):
    faces = dataset.draw(jax.random.key(2**31), RUN.num_train)
    truth = np.asarray(zhao.depths(faces))
    found = np.asarray(jax.jit(zhao.as_method(finished[1]).predict)(faces))[..., 2]
    others = dataset.draw(jax.random.key(2**31 - 1), RUN.num_train)
    constant = np.mean(zhao.depths(others), axis=0)
    assert np.mean((found - truth) ** 2) < 0.2 * np.mean((constant - truth) ** 2)


def test_is_asked_for_the_shape_as_it_is_seen():
    """By hand: a nose turned to the image's right comes nearer to the right side's depth."""
    points = np.array([[[-3.0, 0, 0], [3, 0, 0], [0, 1, 0], [0, -1, -4]]] * 2, np.float32)
    zero = np.zeros(2, np.float32)
    view = View(np.array([0, 90], np.float32), zero, zero, zero, np.zeros(2, np.int32),
                np.array([1, 2], np.float32), np.zeros((2, 2), np.float32))
    # Turned by 90 degrees to the right the nose points along x; what was right is away.
    turned = np.array([[-2.0, 0], [-2, 0], [-2, 2], [6, -2]], np.float32)
    depths = zhao.depths(Faces(np.stack([points[0, :, :2], turned]), points, view))
    scale = [np.std([-3, 3, 0, 0]) + np.std([0, 0, 1, -1]),
             np.std([-1, -1, -1, 3]) + np.std([0, 0, 1, -1])]
    np.testing.assert_allclose(depths[0], np.array([1, 1, 1, -3]) / scale[0], atol=1e-6)
    np.testing.assert_allclose(depths[1], np.array([-3, 3, 0, 0]) / scale[1], atol=1e-6)


def test_a_run_interrupted_twice_ends_at_the_same_numbers(finished, dataset, tmp_path):
    for looks, step in ((1, 100), (5, 400)):  # of 1000 steps, a look at every 50
        seen = []

        def interrupt(self, tag, value, step, looks=looks, seen=seen):
            seen.append(step)
            if len(seen) == looks:
                signal.raise_signal(signal.SIGINT)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tensorboardX.SummaryWriter, "add_scalar", interrupt)
            with pytest.raises(KeyboardInterrupt, match="goes on from here"):
                train(zhao, RUN, dataset, tmp_path)
        assert seen[-1] == step  # a chunk after the signal
        assert not (tmp_path / "weights.safetensors").exists()
    chex.assert_trees_all_equal(train(zhao, RUN, dataset, tmp_path), finished[1])


def test_its_checkpoints_are_not_those_of_another_method(finished, tmp_path):
    workdir, params, _ = finished
    (tmp_path / "zhao").symlink_to(workdir / "zhao")  # checkpoints alone, no weights file yet
    loaded, run = load_checkpoint(tmp_path)
    chex.assert_trees_all_equal(loaded, params)
    assert (run["method"], run["epochs"]) == ("zhao", 20)
    assert "y_up" not in run  # older runs know nothing of it, and can go on
    for source in (tmp_path, workdir):
        with pytest.raises(ValueError, match="of method zhao; expected that of deep_mds"):
            load_weights(source)


def test_the_workdir_of_another_run_is_refused_and_left_alone(finished, dataset):
    before = sorted(finished[0].rglob("*"))
    run = dataclasses.replace(RUN, training=zhao.Training(epochs=3))
    with pytest.raises(ValueError, match="epochs=20, this one has epochs=3"):
        train(zhao, run, dataset, finished[0])
    run = Run(deep_mds.Config("flame51"), deep_mds.Training(), num_train=RUN.num_train)
    with pytest.raises(ValueError, match="method=zhao, this one has method=deep_mds"):
        Checkpoints(finished[0], describe(deep_mds, run, SPEC), {}).check()  # as `train` does
    assert sorted(finished[0].rglob("*")) == before


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"method: expected one of .*'zhao'.*, got 'aldrian'"):
        table.find("aldrian")  # it has no network
    with pytest.raises(ValueError, match="'hand21'"):
        zhao.Config("hand21")


def test_photographs_are_not_trained_on(tmp_path):
    points = jnp.zeros((20, 51, 3))
    source = Recordings(points[..., :2], points, [""] * 20, [None] * 20, "flame51", "mm")
    with pytest.raises(ValueError, match="photographs are for testing"):
        train(zhao, RUN, Dataset(SPEC, source, NOWHERE), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_few_faces_leave_nothing(dataset, tmp_path):
    run = dataclasses.replace(RUN, num_train=15)
    with pytest.raises(ValueError, match="num_train: a minibatch takes 16 faces, got 15"):
        train(zhao, run, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_optimizer_is_keras_rmsprop(dataset):
    faces = dataset.draw(jax.random.key(0), RUN.num_train)
    optimizer = zhao.stage(faces, learning_rate=1e-3).optimizer
    params = {"w": jnp.array([2.0])}
    # Keras: v = 0.9 v + 0.1 g^2, step = -lr g / (sqrt(v) + 1e-7).
    step, _ = optimizer.update({"w": jnp.array([0.5])}, optimizer.init(params))
    np.testing.assert_allclose(step["w"], -1e-3 * 0.5 / (np.sqrt(0.1) * 0.5), rtol=1e-5)
