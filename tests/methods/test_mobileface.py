"""MobileFace: the network, the authors' weights, the method, and training on drawn pictures."""

import dataclasses
import functools
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorboardX

from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.rendering import render, sample_appearance
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import Faces
from deepmds_jax.methods import mobileface
from deepmds_jax.methods.saved import load_checkpoint, load_params, read_metadata
from deepmds_jax.training.run import train
from deepmds_jax.training.trainable import Run

SPEC = specs.load_spec("synthetic")
NOWHERE = pathlib.Path("nowhere")  # the synthetic source reads no files
RUN = Run(mobileface.Config("ibug68"), mobileface.Training(epochs=24), num_train=4)
network = mobileface.MobileFace(4)
PICTURES = np.random.default_rng(1).random((4, 96, 96, 3), np.float32)


@pytest.fixture(scope="module")
def params():
    """As fresh ones are, but drawn by NumPy, which compiles nothing."""
    config, rng = mobileface.Config("flame51", num_coefficients=4), np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: mobileface.init(config, jax.random.key(0)))

    def draw(path, leaf):
        if path[-1].key == "kernel":
            return rng.normal(size=leaf.shape, scale=np.prod(leaf.shape[:-1]) ** -0.5)
        return np.full(leaf.shape, path[-1].key in ("scale", "var"))

    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: draw(path, leaf).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def apply():
    """The network, compiled once for each number of coefficients and of pictures."""
    return jax.jit(lambda variables, images: mobileface.MobileFace(
        variables["params"]["dense"]["bias"].size).apply(variables, images))


def test_has_the_published_size():
    params = jax.eval_shape(
        lambda: mobileface.init(mobileface.Config("bfm72", 199), jax.random.key(0)))
    size = {k: sum(leaf.size for leaf in jax.tree.leaves(v)) for k, v in params.network.items()}
    assert size == {"params": 900_979, "batch_stats": 6_840}
    model = dataclasses.replace(
        synthetic.load("flame51"), identity=np.zeros((199, 51, 3), np.float32))
    assert mobileface.with_model(params, model).num_params == 900_979  # as Table 2 counts


def test_released_network_agrees_with_keras(shared, apply):
    # Waves of colour, whose outputs keras.applications.MobileNet(alpha=0.3125) of Keras 3.11, with
    # the released weights, flattened and followed by their dense layer, gave for the coefficients
    # 0 to 5, once as they are and once upside down; 126 is the largest of all outputs.
    row, column, channel = np.ogrid[:96, :96, :3]
    waves = 0.5 + 0.5 * np.sin(7 * row / 96 + (3 + channel) * column / 96 + channel)
    images = np.stack([waves, waves[::-1]]).astype(np.float32)
    expected = [
        [4.332824, 4.245529, -4.045055, 0.512449, -12.755255, -7.777031],
        [6.871993, 5.297009, -1.101516, 0.314100, -11.620673, -11.828268],
    ]
    params = mobileface.load_released(shared / "data" / "authors_release", "bfm72")
    assert params.config == mobileface.Config("bfm72", 199, source="bfm")
    outputs = apply(params.network, images)
    assert outputs.shape == (2, 199)
    np.testing.assert_allclose(outputs[:, :6], expected, atol=2e-4)
    np.testing.assert_allclose(np.abs(outputs).max(), 126.623695, atol=1e-3)


def test_training_uses_batch_statistics_and_moves_the_running_ones(params, apply):
    @jax.jit
    def trained(variables, images):
        return network.apply(variables, images, train=True, mutable=["batch_stats"])

    outputs, changed = trained(params.network, PICTURES)
    # Other pictures in the batch change the output of the first one only while training.
    others = np.concatenate([PICTURES[:2], PICTURES[:2]])
    other_outputs, _ = trained(params.network, others)
    assert np.abs(outputs[0] - other_outputs[0]).max() > 1e-3
    np.testing.assert_allclose(
        apply(params.network, PICTURES)[0], apply(params.network, others)[0], atol=1e-5)
    mean = changed["batch_stats"]["conv_norm"]["mean"]
    assert mean.shape == (10,)
    assert np.abs(mean).max() > 0


def test_gives_shapes_of_the_first_modes(params, apply):
    model = synthetic.load("flame51")
    faces = Faces(np.zeros((4, 51, 2), np.float32), None, images=PICTURES)
    points = jax.jit(mobileface.with_model(params, model).predict)(faces)
    coefficients = np.asarray(apply(params.network, PICTURES))
    expected = model.mean + np.einsum("fk,knd->fnd", coefficients, model.identity[:4])
    np.testing.assert_allclose(points, expected, atol=1e-3)  # mm
    assert np.ptp(coefficients, axis=0).max() > 0


def test_names_what_it_lacks(params):
    model = synthetic.load("flame51")
    with pytest.raises(ValueError, match="gives 4 coefficients, the model has 3 modes"):
        mobileface.with_model(params, dataclasses.replace(model, identity=model.identity[:3]))
    predict = mobileface.with_model(params, model).predict
    faces = Faces(np.zeros((3, 51, 2), np.float32), None)
    with pytest.raises(ValueError, match=r"photographs of \(96, 96, 3\), got none"):
        predict(faces)
    with pytest.raises(ValueError, match=r"got \(64, 64, 3\)"):
        predict(faces._replace(images=np.zeros((3, 64, 64, 3), np.float32)))


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

    dataset = Dataset(SPEC, model(landmarks), NOWHERE)
    dataset.__dict__["dense"] = DenseModel(  # what the property would keep
        model(np.arange(225)), jnp.asarray(triangles, jnp.int32), jnp.asarray(landmarks, jnp.int32),
        jnp.asarray(colour, jnp.float32), jnp.zeros((0, 225, 3)), "ibug68",
    )
    return dataset


def test_learns_from_pictures_it_draws(tiny, tmp_path, monkeypatch):
    losses = []
    monkeypatch.setattr(tensorboardX.SummaryWriter, "add_scalar",
                        lambda self, tag, value, step: losses.append(value))
    # Four pictures over and over: what is learnt in a few seconds.
    few = functools.partial(mobileface.stage, faces_per_step=4)
    monkeypatch.setattr(mobileface, "stage", few)
    params = train(mobileface, RUN, tiny, tmp_path)
    assert len(losses) == 24  # each step is looked at
    assert np.mean(losses[-4:]) < 0.4 * np.mean(losses[:4])
    # The number of coefficients is that of the model that was trained on.
    assert params.config == mobileface.Config("ibug68", num_coefficients=2)
    assert params.network["params"]["dense"]["bias"].shape == (2,)
    loaded = load_params(tmp_path / "weights.safetensors", method="mobileface")
    for other in (loaded, load_checkpoint(tmp_path)[0]):
        assert other.config == params.config
        chex.assert_trees_all_equal(other, params)
    metadata = read_metadata(tmp_path / "weights.safetensors")
    assert (metadata["method"], metadata["topology"]) == ("mobileface", "ibug68")
    assert metadata["learning_rate"] == "0.001"


def test_draws_each_face_once_whatever_fits_into_a_block(tiny, monkeypatch):
    keys = jax.random.split(jax.random.key(0))
    faces = tiny.draw(keys[0], 5)
    look = sample_appearance(keys[1], tiny.dense, 5)
    monkeypatch.setattr(mobileface, "_PICTURES_AT_ONCE", 2)
    pictures = mobileface.draw_pictures(tiny.dense, faces, look)
    expected = render(tiny.dense, faces.identity, faces.expression, look, faces.view)
    assert pictures.dtype == np.uint8
    np.testing.assert_allclose(np.asarray(pictures) / 255, expected, atol=0.51 / 255)
    assert all(np.ptp(pictures, axis=0).max(axis=(1, 2)).ravel() > 0)  # no two are alike


def test_weighs_coefficients_by_how_far_they_move_the_surface(tiny):
    pictures = np.zeros((16, 96, 96, 3), np.uint8)  # of no account to the loss
    stage = mobileface.stage(tiny.dense, pictures, np.zeros((16, 2), np.float32), 1e-3, 1)
    modes = np.asarray(tiny.dense.shape.identity, np.float64)
    errors = np.array([[1.0, -2], [0.5, 0.25]])
    surfaces = np.einsum("fk,kvd->fvd", errors, modes)
    expected = np.mean(np.sum(surfaces**2, axis=(1, 2))) / np.sum(modes**2)
    found = stage.loss(jnp.asarray(errors) + 3, jnp.full((2, 2), 3.0))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_needs_a_dense_model(tmp_path):
    run = Run(mobileface.Config("flame51"), mobileface.Training(), num_train=16)
    dataset = Dataset(SPEC, synthetic.load("flame51"), NOWHERE)
    with pytest.raises(ValueError, match="dataset synthetic"):
        train(mobileface, run, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_number_of_coefficients_or_topology_is_refused():
    with pytest.raises(ValueError, match="num_coefficients: expected a number above 0, got 0"):
        mobileface.Config("bfm72", 0)
    with pytest.raises(ValueError, match="'hand21'"):
        mobileface.Config("hand21")
