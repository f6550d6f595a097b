import jax
import numpy as np
import pytest
from problems import euclidean, noisy_distances, symmetric

from deepmds_jax.mds import guttman
from deepmds_jax.mds.guttman import Laplacian

# Compiled once per shape, not operation by operation.
guttman_step = jax.jit(guttman.guttman_step, static_argnames="may_be_negative")
laplacian_product = jax.jit(guttman.laplacian_product)
pseudoinverse_product = jax.jit(guttman.pseudoinverse_product)
laplacian_of = jax.jit(Laplacian.of)

RNG = np.random.default_rng(0)
N = 8
CONSTANT = 3 * (1 - np.eye(N))
VARIED = symmetric(RNG.uniform(0.1, 5, (N, N)))
PATH = np.diag(np.arange(1.0, N), 1) + np.diag(np.arange(1.0, N), -1)  # each to the next only
WEIGHTS = {"constant": CONSTANT, "varied": VARIED, "path": PATH}


def matrix(weights):
    return np.diag(weights.sum(axis=1)) - weights


@pytest.mark.parametrize("name", WEIGHTS)
def test_pseudoinverse_product(name, x64):
    v = matrix(WEIGHTS[name])
    right = v @ RNG.standard_normal((N, 2))
    laplacian = laplacian_of(WEIGHTS[name])
    assert laplacian.is_constant == (name == "constant")
    np.testing.assert_allclose(laplacian.degrees, np.diag(v))
    found = np.asarray(pseudoinverse_product(laplacian, right))
    expected = np.linalg.pinv(v) @ right
    atol = 1e-14 if name == "constant" else 1e-4
    np.testing.assert_allclose(found, expected, atol=atol)
    np.testing.assert_allclose(np.mean(found, axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(laplacian_product(WEIGHTS[name], expected), right, atol=1e-12)


@pytest.mark.parametrize("name", WEIGHTS)
def test_step_is_the_textbooks(name, x64):
    weights, points = WEIGHTS[name], RNG.standard_normal((N, 2))
    points -= points.mean(axis=0)
    d, disparities = euclidean(points), noisy_distances(0, N)
    v_inverse = np.linalg.pinv(matrix(weights))
    b = matrix(weights * disparities / (d + np.eye(N)))
    step = guttman_step(points, d, disparities, laplacian_of(weights))
    np.testing.assert_allclose(points + step, v_inverse @ b @ points, atol=1e-4)


def test_negative_disparities_lower_raw_stress(x64):
    """If they did not contribute to V, the step would overshoot."""
    rng = np.random.default_rng(1)
    points = rng.standard_normal((N, 2))
    points[1] = points[0] + 0.01
    points -= points.mean(axis=0)
    disparities = noisy_distances(0, N)
    disparities[0, 1] = disparities[1, 0] = -1

    def raw_stress(points):
        return np.sum((disparities - euclidean(points)) ** 2)

    step = guttman_step(points, euclidean(points), disparities, laplacian_of(1 - np.eye(N)),
                        may_be_negative=True)
    assert raw_stress(points + np.asarray(step)) < raw_stress(points)


def test_coincident_points_have_no_pull_between_them(x64):
    points = np.array([[0.0, 0], [0, 0], [3, 0], [0, 4]])
    points -= points.mean(axis=0)
    disparities = 2 * (1 - np.eye(4))
    step = guttman_step(points, euclidean(points), disparities, laplacian_of(1 - np.eye(4)))
    ratios = disparities / np.where(euclidean(points) > 0, euclidean(points), np.inf)
    np.testing.assert_allclose(points + step, matrix(ratios) @ points / 4, atol=1e-14)
