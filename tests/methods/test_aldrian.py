import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepmds_jax.data.sources import ict, synthetic
from deepmds_jax.data.views import Choice, Faces, Uniform, ViewGroup, sample_faces
from deepmds_jax.methods.aldrian import aldrian, fit_shape

TURNED = (ViewGroup(1.0, yaw=Uniform(-45.0, 45.0), pitch=Uniform(-15.0, 15.0)),)
FRONTAL = (ViewGroup(1.0, yaw=Choice((0.0,))),)
fit = jax.jit(fit_shape, static_argnames=("noise", "num_iters", "expression"))


@pytest.fixture(scope="module")
def model():
    return synthetic.load("flame51")


@pytest.fixture(scope="module")
def faces(model):
    return jax.device_get(sample_faces(jax.random.key(4), model, TURNED, 4))


@pytest.fixture(scope="module")
def predict(model):
    return jax.jit(aldrian(model).predict)


def error(shapes, truth):
    """Root-mean-square distance after the best similarity without reflection, over the size."""
    errors = []
    for a, b in zip(np.asarray(shapes, float), np.asarray(truth, float), strict=True):
        a, b = a - a.mean(0), b - b.mean(0)
        u, s, vt = np.linalg.svd(a.T @ b)
        s[2] *= np.sign(np.linalg.det(u @ vt))
        u[:, 2] *= np.sign(np.linalg.det(u @ vt))
        fitted = s.sum() / (a**2).sum() * a @ u @ vt
        errors.append(np.sqrt(((fitted - b) ** 2).sum() / (b**2).sum()))
    return np.array(errors)


@pytest.mark.parametrize("views", [TURNED, FRONTAL])
def test_recovers_faces_of_its_own_model(views):
    model = synthetic.load("ibug68")
    model = dataclasses.replace(model, identity=model.identity[:20])
    faces = sample_faces(jax.random.key(0), model, views, 8)
    before = error(np.broadcast_to(model.mean, faces.points.shape), faces.points)
    fitted = fit(model, faces.x2d, noise=1e-5, num_iters=10)
    assert before.min() > 0.02
    assert error(fitted.points, faces.points).max() < 1e-3
    np.testing.assert_allclose(fitted.coefficients, faces.identity, atol=0.05)


def test_recovers_faces_of_all_modes_of_ict(shared):
    model = ict.load("ibug68", shared / "data" / "ict_facekit")
    faces = sample_faces(jax.random.key(1), model, TURNED, 16)
    shapes = jax.jit(aldrian(model, noise=1e-5, num_iters=10).predict)(faces)
    assert error(shapes, faces.points).max() < 1e-3


def test_recovers_frontal_faces_of_all_modes_in_float64(shared):
    """Depth is known from its correlation with x and y alone: float32 falls short of that."""
    with jax.enable_x64(True):
        model = ict.load("ibug68", shared / "data" / "ict_facekit")
        model = jax.tree.map(lambda x: x.astype(jnp.float64), model)
        faces = sample_faces(jax.random.key(1), model, FRONTAL, 8)
        fitted = fit(model, faces.x2d, noise=1e-7, num_iters=10)
        assert error(fitted.points, faces.points).max() < 1e-3


def test_ends_where_the_published_alternation_rests(model, faces):
    noise = 0.02
    x2d = faces.x2d + np.random.default_rng(3).normal(size=faces.x2d.shape).astype(np.float32)
    fitted = jax.device_get(fit(model, x2d, noise=noise, num_iters=20))

    modes = np.asarray(model.identity, float)
    modes = modes - modes.mean(axis=1, keepdims=True)
    for image, points, b in zip(x2d.astype(float), *fitted[:2], strict=True):
        image = image - image.mean(axis=0)
        image /= np.sqrt((image**2).sum(-1).mean())
        shape = np.asarray(points, float)
        camera = np.linalg.lstsq(shape, image, rcond=None)[0]  # of the fitted shape
        a = np.stack([(mode @ camera).ravel() for mode in modes], axis=1)
        mean = shape - np.einsum("k,knd->nd", np.asarray(b, float), modes)
        right = a.T @ (image - mean @ camera).ravel()
        again = np.linalg.solve(a.T @ a + noise**2 * np.eye(len(modes)), right)
        np.testing.assert_allclose(again, b, atol=2e-3)
        assert np.abs(b).max() > 0.5


def test_noise_weighs_the_prior(model, faces):
    small, medium, large = (fit(model, faces.x2d, noise=noise, num_iters=5)
                            for noise in (0.001, 0.03, 100.0))
    sizes = [np.linalg.norm(fitted.coefficients) for fitted in (small, medium, large)]
    assert sizes[0] > 1.3 * sizes[1] > 10 * sizes[2]
    mean = np.broadcast_to(model.mean, large.points.shape)
    np.testing.assert_allclose(error(large.points, mean), 0, atol=1e-3)


def test_unit_and_origin_of_the_image_do_not_matter(predict, faces):
    here, there = (predict(Faces(x, None)) for x in (faces.x2d, 3 * faces.x2d + 200))
    np.testing.assert_allclose(here, there, atol=0.05)  # mm, of 150


def test_expressions_take_part_where_asked(shared):
    model = ict.load("ibug68", shared / "data" / "ict_facekit")
    faces = sample_faces(jax.random.key(6), model, FRONTAL, 16, expression=True)
    without, with_them = (
        error(jax.jit(aldrian(model, expression=e).predict)(faces), faces.points)
        for e in (False, True)
    )
    assert with_them.mean() < 0.7 * without.mean()


def test_bad_face_leaves_its_neighbours_alone(predict, faces):
    x2d = faces.x2d.copy()
    x2d[1, 5] = np.nan
    good, bad = (np.asarray(predict(Faces(x, None))) for x in (faces.x2d, x2d))
    assert not np.isfinite(bad[1]).any()
    others = [0, 2, 3]
    np.testing.assert_allclose(bad[others], good[others], atol=0.05)


@pytest.mark.parametrize(("noise", "num_iters"), [(0.0, 5), (-1.0, 5), (0.1, 0)])
def test_numbers_not_above_zero_raise(model, noise, num_iters):
    with pytest.raises(ValueError, match=r"noise, num_iters: expected numbers above 0"):
        fit_shape(model, jnp.zeros((1, 51, 2)), noise, num_iters)


def test_other_landmarks_raise(model):
    with pytest.raises(ValueError, match=r"expected \(..., 51, 2\) for topology flame51"):
        fit_shape(model, jnp.zeros((1, 68, 2)), 0.01, 5)
