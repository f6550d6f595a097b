"""Deep-MDS, Zhao's network and MobileFace as methods."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepmds_jax import load_released, load_released_zhao
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import Faces, Uniform, ViewGroup, sample_faces
from deepmds_jax.lifting import Config, init_params, reconstruct
from deepmds_jax.methods import deep_mds, mobileface, zhao
from deepmds_jax.models import MobileFace, ZhaoNetwork

VIEWS = (ViewGroup(1.0, yaw=Uniform(-30.0, 30.0)),)


@pytest.mark.parametrize(("features", "num_params"), [("release", 27_505), ("paper", 27_525)])
def test_deep_mds_has_the_published_size(features, num_params):
    params = init_params(Config("bfm72", features=features), jax.random.key(0))
    assert deep_mds(params).num_params == num_params


def test_deep_mds_is_reconstruct_with_released_weights(shared):
    params = load_released(shared / "data" / "authors_release", "flame51")
    x2d = sample_faces(jax.random.key(0), synthetic.load("flame51"), VIEWS, 2).x2d
    points = deep_mds(params).predict(Faces(x2d, None))
    np.testing.assert_array_equal(points, reconstruct(params, x2d))
    # The nose tip is nearer to the viewer than the outer corners of the eyes.
    assert (points[:, 13, 2] < points[:, jnp.array([19, 28]), 2].min(axis=1) - 0.3).all()


def test_zhao_has_the_published_size():
    variables = ZhaoNetwork(72).init(jax.random.key(0), jnp.zeros((1, 72, 2)))
    assert zhao(variables).num_params == 114_840


@pytest.mark.parametrize("topology", ["bfm72", "flame51"])
def test_released_zhao_agrees_with_keras(shared, topology):
    oracle = np.load(shared / "oracles" / "authors_networks" / f"{topology}.npz")
    variables = load_released_zhao(shared / "data" / "authors_release", topology)
    # The oracle's input, y up for the network, is our image with y down turned over.
    x2d = 300 * oracle["x2d"] * np.array([1, -1], np.float32) + 100
    points = zhao(variables, y_up=True).predict(Faces(jnp.asarray(x2d), None))
    np.testing.assert_allclose(points[..., 0], oracle["zhao_input"][..., 0], atol=1e-5)
    np.testing.assert_allclose(points[..., 1], -oracle["zhao_input"][..., 1], atol=1e-5)
    np.testing.assert_allclose(points[..., 2], -oracle["zhao_depth"], atol=1e-5)


@pytest.mark.parametrize("topology", ["bfm72", "flame51"])
def test_released_zhao_knows_up_and_near(shared, topology):
    model = synthetic.load(topology)
    faces = sample_faces(jax.random.key(1), model, (ViewGroup(1.0),), 4)
    variables = load_released_zhao(shared / "data" / "authors_release", topology)
    right, wrong = (zhao(variables, y_up=y_up).predict(faces)[..., 2] for y_up in (True, False))
    truth = faces.points[..., 2]
    for i in range(4):
        assert np.corrcoef(right[i], truth[i])[0, 1] > 0.9
        assert np.corrcoef(wrong[i], truth[i])[0, 1] < 0


def test_our_zhao_leaves_signs_alone():
    variables = ZhaoNetwork(51).init(jax.random.key(0), jnp.zeros((1, 51, 2)))
    x2d = jax.random.normal(jax.random.key(1), (2, 51, 2))
    points = zhao(variables).predict(Faces(x2d, None))
    depth = ZhaoNetwork(51).apply(variables, points[..., :2])
    np.testing.assert_allclose(points[..., 2], depth, atol=1e-6)
    spread = np.std(points[..., 0], axis=1) + np.std(points[..., 1], axis=1)
    np.testing.assert_allclose(spread, 1, rtol=1e-5)


@pytest.fixture(scope="module")
def face_network():
    return MobileFace(4).init(jax.random.key(0), jnp.zeros((1, 96, 96, 3)))


def test_mobileface_counts_as_table_2():
    shapes = jax.eval_shape(MobileFace(199).init, jax.random.key(0), jnp.zeros((1, 96, 96, 3)))
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    model = dataclasses.replace(synthetic.load("flame51"), identity=jnp.zeros((199, 51, 3)))
    assert mobileface(variables, model).num_params == 900_979


def test_mobileface_gives_shapes_of_the_first_modes(face_network):
    model = synthetic.load("flame51")
    images = jax.random.uniform(jax.random.key(1), (3, 96, 96, 3))
    faces = Faces(jnp.zeros((3, 51, 2)), None, images=images)
    points = jax.jit(mobileface(face_network, model).predict)(faces)
    coefficients = np.asarray(MobileFace(4).apply(face_network, images))
    expected = np.asarray(model.mean) + sum(
        coefficients[:, k, None, None] * np.asarray(model.identity[k]) for k in range(4)
    )
    np.testing.assert_allclose(points, expected, atol=1e-3)  # mm
    assert np.ptp(coefficients, axis=0).max() > 0


def test_mobileface_names_what_it_lacks(face_network):
    model = synthetic.load("flame51")
    with pytest.raises(ValueError, match="gives 4 coefficients, the model has 3 modes"):
        mobileface(face_network, dataclasses.replace(model, identity=model.identity[:3]))
    predict = mobileface(face_network, model).predict
    with pytest.raises(ValueError, match=r"photographs of \(96, 96, 3\), got none"):
        predict(Faces(jnp.zeros((3, 51, 2)), None))
    with pytest.raises(ValueError, match=r"got \(64, 64, 3\)"):
        predict(Faces(jnp.zeros((3, 51, 2)), None, images=jnp.zeros((3, 64, 64, 3))))
