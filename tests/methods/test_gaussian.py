import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepmds_jax.data.views import Uniform, ViewGroup, view_shapes
from deepmds_jax.geometry import procrustes, rotation_from_angles, standardize
from deepmds_jax.methods import gaussian

N = 12
VIEWS = (ViewGroup(1.0, yaw=Uniform(-60, 60), pitch=Uniform(-20, 20), roll=Uniform(-20, 20),
                   field_of_view=Uniform(0, 20)),)


@pytest.fixture(scope="module")
def shapes():
    """(600, N, 3) made of four modes, and the Gaussian of the first 400."""
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(N, 3)) * [1, 1.2, 0.6]
    modes = 0.08 * rng.normal(size=(4, N, 3))
    points = mean + np.einsum("fk,knd->fnd", rng.normal(size=(600, 4)), modes)
    points = points.astype(np.float32)
    return points, gaussian.fit_gaussian(jnp.asarray(points[:400]))


@pytest.fixture(scope="module")
def infer():
    return jax.jit(jax.vmap(gaussian.infer, in_axes=(None, 0, 0)))


@pytest.fixture(scope="module")
def seen(shapes):
    return view_shapes(jax.random.key(1), jnp.asarray(shapes[0][400:]), VIEWS)


def errors(points, truth):
    """Root-mean-square distance of each shape from the truth after a similarity, by NumPy."""
    found, true = (np.asarray(standardize(x)) for x in (points, truth))
    u, s, vt = np.linalg.svd(np.swapaxes(found, 1, 2) @ true)
    assert (np.linalg.det(u @ vt) > 0).all()
    return np.sqrt(np.maximum(1 - (s.sum(-1) / N) ** 2, 0))


def test_gaussian_has_no_rigid_motion(shapes):
    _, prior = shapes
    turned = np.cross([0, 0, 1.0], prior.mean).reshape(-1)
    for change in (turned, np.ravel(prior.mean), np.tile([1.0, 0, 0], N)):
        assert np.abs(prior.covariance @ change).max() < 1e-5
    values = np.linalg.eigvalsh(prior.covariance)[::-1]
    assert values[:4].sum() > 0.99 * values.sum() and values[3] > 20 * values[4]


def test_shape_pose_and_perspective_are_found(shapes, seen, infer):
    _, prior = shapes
    found = infer(prior, seen.x2d, np.ones(seen.x2d.shape[:2], bool))
    error = errors(found.points, seen.points)
    mean = errors(np.broadcast_to(prior.mean, seen.points.shape), seen.points)
    assert np.median(error) < 0.1 * np.median(mean)
    rotation = rotation_from_angles(seen.view.yaw, seen.view.pitch, seen.view.roll)
    # Of the shape that is aligned to the mean, which the posterior speaks of.
    rotation = np.asarray(rotation @ procrustes(seen.points, prior.mean).rotation)
    cosine = (np.trace(np.swapaxes(found.rotation, 1, 2) @ rotation, axis1=1, axis2=2) - 1) / 2
    assert np.median(np.degrees(np.arccos(np.clip(cosine, -1, 1)))) < 3


def test_covariance_covers_the_errors(shapes, seen, infer):
    """Of single coordinates, seen with noise: 68 % within one standard deviation."""
    _, prior = shapes
    noisy = seen.x2d + 0.05 * np.random.default_rng(2).normal(size=seen.x2d.shape)
    found = infer(prior, noisy.astype(np.float32), np.ones(seen.x2d.shape[:2], bool))
    assert 0.03 < np.median(found.noise) < 0.07
    keep = np.asarray(gaussian.without_rigid_motion(prior.mean))
    variance = np.einsum("ij,fjk,ki->fi", keep, found.covariance, keep)
    true = procrustes(seen.points, prior.mean)(seen.points)
    error = (np.asarray(found.points - true)).reshape(len(true), -1) @ keep
    assert 0.55 < np.mean(np.abs(error) < np.sqrt(variance)) < 0.8


def test_unit_origin_and_hidden_landmarks_do_not_matter(shapes, seen, infer):
    _, prior = shapes
    visible = np.ones(seen.x2d.shape[:2], bool)
    visible[:, 3] = False
    x2d = np.array(seen.x2d)
    filled = np.where(visible[..., None], 40 * x2d + [300, -20], np.nan).astype(np.float32)
    plain, other = (infer(prior, x, visible) for x in (x2d, filled))
    np.testing.assert_allclose(other.points, plain.points, atol=2e-3)
    assert (np.asarray(other.trust)[:, 3] == 0).all()
    assert np.median(errors(other.points, seen.points)) < 0.05


def test_an_outlier_is_trusted_less(shapes, seen, infer):
    _, prior = shapes
    x2d = np.array(seen.x2d)
    x2d[:, 5] += 0.6
    found = infer(prior, x2d, np.ones(x2d.shape[:2], bool))
    assert (np.asarray(found.trust).argmin(axis=1) == 5).mean() > 0.9
