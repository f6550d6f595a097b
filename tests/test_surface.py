"""The dense surface of landmarks, against NumPy and against faces made by the model itself."""

import jax
import numpy as np
import pytest

from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.surface import fit_surface

RNG = np.random.default_rng(0)
V, K, E = 40, 3, 2
LANDMARKS = np.arange(0, V, 2)
DEVIATION = np.array([1, 1, 1, 1 / 3, 1 / 3])  # of the coefficients beforehand
MEAN, IDENTITY, EXPRESSION = (
    scale * RNG.normal(size=(*num, V, 3)).astype(np.float32)
    for scale, num in ((5, ()), (0.2, (K,)), (0.4, (E,)))
)


@pytest.fixture(scope="module")
def model():
    none = np.zeros((0, V, 3), np.float32)
    return DenseModel(
        MorphableModel(MEAN, IDENTITY, EXPRESSION, topology="any", unit="cm"),
        np.zeros((1, 3), np.int32), LANDMARKS, MEAN, none, topology="any")


@pytest.fixture(scope="module")
def fit(model):
    batch = jax.jit(jax.vmap(lambda points, std: fit_surface(model, points, std)))

    def fit(*faces):
        points, std = (np.stack(x).astype(np.float32) for x in zip(*faces, strict=True))
        return jax.device_get(batch(points, std))

    return fit


def turn():
    matrix = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    return matrix * np.linalg.det(matrix)


def modes(landmarks=LANDMARKS):
    return np.concatenate([IDENTITY, EXPRESSION]).astype(float)[:, landmarks]


def test_finds_faces_of_the_model_wherever_they_are(fit):
    coefficients = np.array([[0.5, -1, 0.3, 0.4, 0.1], [0, 0, 0, 0.2, -0.3], [-1, 1, 0.2, 0, 0.9]])
    faces, maps = [], []
    for c, scale in zip(coefficients, (0.1, 7, 1), strict=True):
        rotation, shift = turn(), RNG.normal(size=3)
        shape = MEAN[LANDMARKS] + np.tensordot(c, modes(), 1)
        faces.append((scale * shape @ rotation + shift, np.full(shape.shape, 1e-3 * scale)))
        maps.append((rotation, scale, shift))
    found = fit(*faces)
    np.testing.assert_allclose(found.identity, coefficients[:, :K], atol=3e-3)
    np.testing.assert_allclose(found.expression, coefficients[:, K:], atol=3e-3)
    for i, (rotation, scale, shift) in enumerate(maps):
        np.testing.assert_allclose(found.similarity.rotation[i], rotation, atol=1e-3)
        np.testing.assert_allclose(found.similarity.scale[i], scale, rtol=1e-3)
        np.testing.assert_allclose(found.similarity.translation[i], shift, atol=0.01 * scale)


def test_is_the_mean_of_the_posterior(fit):
    """With the rigid motions projected out, instead of among the unknowns, and least squares."""
    points = MEAN[LANDMARKS] + np.tensordot([0.8, -0.5, 1, 0.3, 0.2], modes(), 1)
    points += RNG.normal(size=points.shape)
    std = RNG.uniform(0.2, 3, points.shape)
    found = fit((points, std), (points, np.full(points.shape, 1e4)), (points * np.nan, std))
    rotation, scale, shift = (np.asarray(x[0], float) for x in found.similarity)

    centred = points - points.mean(axis=0)
    motions = [np.broadcast_to(axis, points.shape) for axis in np.eye(3)]
    motions += [np.cross(axis, centred) for axis in np.eye(3)] + [centred]
    free = np.linalg.qr(np.stack([(m / std).ravel() for m in motions], axis=1))[0]
    changes = np.stack([(scale * mode @ rotation / std).ravel() for mode in modes()], axis=1)
    beyond = ((points - (scale * MEAN[LANDMARKS] @ rotation + shift)) / std).ravel()
    changes, beyond = (x - free @ (free.T @ x) for x in (changes, beyond))
    stacked = np.concatenate([changes, np.diag(1 / DEVIATION)])
    expected = np.linalg.lstsq(stacked, np.append(beyond, np.zeros(K + E)), rcond=None)[0]
    assert np.abs(expected).max() > 0.2
    coefficients = np.concatenate([found.identity, found.expression], axis=1)
    np.testing.assert_allclose(coefficients[0], expected, atol=3e-3)
    np.testing.assert_allclose(coefficients[1], 0, atol=1e-3)  # nothing is known: the mean face
    assert np.isnan(coefficients[2]).all() and np.isfinite(coefficients[:2]).all()


def test_refuses_other_landmarks(model):
    good = np.ones((len(LANDMARKS), 3))
    for points, std in ((good[1:], good), (good, good[:, :1]), (good[None], good)):
        with pytest.raises(ValueError, match=r"points, std: expected \(20, 3\) each, got "):
            fit_surface(model, points, std)
