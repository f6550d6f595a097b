"""The networks that Deep-MDS is compared with: zhao on synthetic faces, mobileface on a bulge."""

import dataclasses
import functools
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorboardX

from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.recorded import Recordings
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import Faces, View
from deepmds_jax.lifting import Config
from deepmds_jax.methods.zhao import zhao
from deepmds_jax.training import NetworkRun, Run, load_checkpoint, train, train_network
from deepmds_jax.training.compared import mobileface_stage, zhao_depths, zhao_stage
from deepmds_jax.weights.networks import load_network

train_module = sys.modules["deepmds_jax.training.train"]  # the package has a function so named
SPEC = specs.load_spec("synthetic")
ZHAO = NetworkRun("zhao", "flame51", num_train=800, epochs=20)
MOBILEFACE = NetworkRun("mobileface", "ibug68", num_train=4, epochs=24)


@pytest.fixture(scope="module")
def dataset():
    return Dataset(SPEC, synthetic.load("flame51"), None)


@pytest.fixture(scope="module")
def curve():
    """The losses of a training run, by the tag of their curve."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            tensorboardX.SummaryWriter, "add_scalar",
            lambda self, tag, value, step: found.setdefault(tag, []).append(value),
        )
        yield found


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory, curve):
    workdir = tmp_path_factory.mktemp("zhao")
    return workdir, train_network(ZHAO, dataset, workdir)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_zhao_learns_depth_and_writes_its_weights(finished, curve, dataset):
    workdir, variables = finished
    assert curve["zhao/loss"][-1] < 0.25 * curve["zhao/loss"][0]
    method, topology, loaded, metadata = load_network(workdir)
    assert (method, topology) == ("zhao", "flame51")
    assert_equal(loaded, variables)
    assert metadata["dataset"] == "synthetic"
    assert metadata["epochs"] == "20"


def test_zhao_knows_more_of_depth_than_the_mean_of_all_depths(finished, dataset):
    faces = dataset.draw(jax.random.key(2**31), 300)
    truth = zhao_depths(faces)
    found = zhao(finished[1]).predict(faces)[..., 2]
    constant = zhao_depths(dataset.draw(jax.random.key(2**31 - 1), 300)).mean(axis=0)
    assert jnp.mean((found - truth) ** 2) < 0.2 * jnp.mean((constant - truth) ** 2)


def test_zhao_is_asked_for_the_shape_as_it_is_seen():
    """By hand: a nose turned to the image's right comes nearer to the right side's depth."""
    points = jnp.array([[[-3.0, 0, 0], [3, 0, 0], [0, 1, 0], [0, -1, -4]]]).repeat(2, axis=0)
    zero = jnp.zeros(2)
    view = View(jnp.array([0.0, 90]), zero, zero, zero, zero, jnp.array([1.0, 2]),
                jnp.zeros((2, 2)))
    frontal = points[0, :, :2] - jnp.array([0, 0.0])
    # Turned by 90 degrees to the right the nose points along x; what was right is away.
    turned = 2 * jnp.array([[-1.0, 0], [-1, 0], [-1, 1], [3, -1]])
    depths = zhao_depths(Faces(jnp.stack([frontal, turned]), points, view))
    scale = [np.std([-3, 3, 0, 0]) + np.std([0, 0, 1, -1]),
             np.std([-1, -1, -1, 3]) + np.std([0, 0, 1, -1])]
    np.testing.assert_allclose(depths[0], np.array([1, 1, 1, -3]) / scale[0], atol=1e-6)
    np.testing.assert_allclose(depths[1], np.array([-3, 3, 0, 0]) / scale[1], atol=1e-6)


@pytest.mark.parametrize("looks", [1, 7])
def test_an_interrupted_zhao_run_ends_at_the_same_numbers(
    finished, dataset, tmp_path, monkeypatch, looks
):
    seen = []

    def interrupt(self, tag, value, step):
        seen.append(step)
        if len(seen) == looks:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(tensorboardX.SummaryWriter, "add_scalar", interrupt)
        with pytest.raises(KeyboardInterrupt, match="goes on from here"):
            train_network(ZHAO, dataset, tmp_path)
    assert seen[-1] < 20 * 800 // 16
    assert not (tmp_path / "weights.safetensors").exists()
    assert_equal(train_network(ZHAO, dataset, tmp_path), finished[1])


def test_the_workdir_of_another_method_is_refused_and_left_alone(finished, dataset):
    before = sorted(finished[0].rglob("*"))
    run = dataclasses.replace(ZHAO, epochs=3)
    with pytest.raises(ValueError, match="epochs=20, this one has epochs=3"):
        train_network(run, dataset, finished[0])
    run = Run(Config("flame51"), num_train=160)
    with pytest.raises(ValueError, match="method=zhao, this one has method=deep_mds"):
        train(run, dataset, finished[0])
    with pytest.raises(ValueError, match="no checkpoint of the autoencoder"):
        load_checkpoint(finished[0])
    assert sorted(finished[0].rglob("*")) == before


@pytest.mark.parametrize(("entry", "message"), [
    ({"method": "aldrian"}, r"method: expected one of \['zhao', 'mobileface'\], got 'aldrian'"),
    ({"topology": "hand21"}, "'hand21'"),
])
def test_runs_of_nothing_known_are_refused(entry, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ZHAO, **entry)


def test_photographs_are_not_trained_on(tmp_path):
    points = jnp.zeros((20, 51, 3))
    source = Recordings(points[..., :2], points, [""] * 20, [None] * 20, "flame51", "mm")
    with pytest.raises(ValueError, match="photographs are for testing"):
        train_network(ZHAO, Dataset(SPEC, source, None), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_mobileface_needs_a_dense_model(dataset, tmp_path):
    run = NetworkRun("mobileface", "flame51", num_train=16)
    with pytest.raises(ValueError, match="dataset synthetic"):
        train_network(run, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_few_faces_leave_nothing(dataset, tmp_path):
    with pytest.raises(ValueError, match="num_train: a minibatch takes 16 faces, got 15"):
        train_network(dataclasses.replace(ZHAO, num_train=15), dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_zhao_has_no_statistics_and_keras_rmsprop(dataset):
    stage = zhao_stage(dataset.draw(jax.random.key(0), 16), learning_rate=1e-3)
    params = {"w": jnp.array([2.0])}
    state = stage.optimizer.init(params)
    # Keras: v = 0.9 v + 0.1 g^2, step = -lr g / (sqrt(v) + 1e-7).
    step, _ = stage.optimizer.update({"w": jnp.array([0.5])}, state)
    np.testing.assert_allclose(step["w"], -1e-3 * 0.5 / (np.sqrt(0.1) * 0.5), rtol=1e-5)


@pytest.fixture(scope="module")
def tiny():
    """A dataset of a bulge with 15 x 15 vertices, wider or narrower, longer or shorter."""
    y, x = np.mgrid[-1:1:15j, -1:1:15j]
    mean = np.stack([8 * x, 10 * y, 6 * (x**2 + y**2)], axis=-1).reshape(-1, 3)
    identity = mean * np.array([[[0.3, 0, 0]], [[0, 0, 0.1]]])
    corners = np.arange(225).reshape(15, 15)
    a, b, c, d = (corners[rows, columns].ravel() for rows in (slice(-1), slice(1, None))
                  for columns in (slice(-1), slice(1, None)))
    triangles = np.concatenate([np.stack([a, b, c], axis=-1), np.stack([b, d, c], axis=-1)])
    # The edge belongs to them: it is what the picture is cut out by.
    landmarks = np.concatenate([np.flatnonzero(np.abs(mean[:, 1]) == 10), np.arange(60, 98)])
    colour = np.stack([np.full(225, 0.8), 0.5 + mean[:, 0] / 20, 0.5 + mean[:, 1] / 30], axis=-1)

    def model(rows):
        arrays = (mean[rows], identity[:, rows], np.zeros((0, len(rows), 3)))
        return MorphableModel(*(jnp.asarray(x, jnp.float32) for x in arrays), "ibug68", "cm")

    dataset = Dataset(SPEC, model(landmarks), None)
    dataset.__dict__["dense"] = DenseModel(  # what the property would keep
        model(np.arange(225)), jnp.asarray(triangles, jnp.int32), jnp.asarray(landmarks, jnp.int32),
        jnp.asarray(colour, jnp.float32), jnp.zeros((0, 225, 3)), "ibug68",
    )
    return dataset


def test_mobileface_learns_from_pictures_it_draws(tiny, tmp_path, curve, monkeypatch):
    # Four pictures over and over: what is learnt in a few seconds.
    few = functools.partial(mobileface_stage, faces_per_step=4)
    monkeypatch.setattr(train_module, "mobileface_stage", few)
    variables = train_network(MOBILEFACE, tiny, tmp_path)
    losses = curve["mobileface/loss"]
    assert len(losses) == 24  # each step is looked at
    assert np.mean(losses[-4:]) < 0.4 * np.mean(losses[:4])
    method, topology, loaded, metadata = load_network(tmp_path)
    assert (method, topology) == ("mobileface", "ibug68")
    assert loaded["params"]["dense"]["bias"].shape == (2,)
    assert_equal(loaded, variables)
    assert metadata["learning_rate"] == "0.001"


def test_mobileface_weighs_coefficients_by_how_far_they_move_the_surface(tiny):
    stage = mobileface_stage(tiny.dense, tiny.draw(jax.random.key(0), 16), (), 1e-3)
    modes = np.asarray(tiny.dense.shape.identity, np.float64)
    errors = np.array([[1.0, -2], [0.5, 0.25]])
    surfaces = np.einsum("fk,kvd->fvd", errors, modes)
    expected = np.mean(np.sum(surfaces**2, axis=(1, 2))) / np.sum(modes**2)
    found = stage.loss(jnp.asarray(errors) + 3, jnp.full((2, 2), 3.0))
    assert float(found) == pytest.approx(expected, rel=1e-5)
