import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepmds_jax.geometry import nearest_orthogonal, procrustes


def random_rotation(rng, dim):
    if dim == 3:
        return Rotation.random(rng=rng).as_matrix()
    angle = rng.uniform(-np.pi, np.pi)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_recovers_a_known_similarity(dim, mirrored):
    rng = np.random.default_rng(dim)
    points = rng.normal(size=(30, dim))
    rotation = random_rotation(rng, dim)
    if mirrored:
        rotation[:, 0] *= -1
    target = 2.5 * points @ rotation + np.arange(1, dim + 1)
    fit = procrustes(points.astype(np.float32), target.astype(np.float32), reflection=mirrored)
    np.testing.assert_allclose(fit.rotation, rotation, atol=1e-5)
    np.testing.assert_allclose(fit.scale, 2.5, rtol=1e-5)
    np.testing.assert_allclose(fit.translation, np.arange(1, dim + 1), atol=1e-5)
    np.testing.assert_allclose(fit(points), target, atol=1e-5)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("reflection", [False, True])
def test_nearest_orthogonal_agrees_with_umeyama_by_lapack(dim, reflection):
    m = np.random.default_rng(3).normal(size=(200, dim, dim)).astype(np.float32)
    u, _, vt = np.linalg.svd(m.astype(np.float64))
    if not reflection:
        u[..., -1] *= np.linalg.det(u @ vt)[:, None]
    gain = np.sum((u @ vt) * m, axis=(1, 2))
    found = np.asarray(jax.jit(nearest_orthogonal, static_argnames="reflection")(
        m, reflection=reflection))
    np.testing.assert_allclose(np.sum(found * m, axis=(1, 2)), gain, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.tile(np.eye(dim), (200, 1, 1)),
                               atol=1e-5)
    determinant = np.linalg.det(found)
    expected = np.sign(np.linalg.det(m)) if reflection else 1
    np.testing.assert_allclose(determinant, np.broadcast_to(expected, 200), atol=1e-4)


@pytest.mark.parametrize("reflection", [False, True])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_deficient_matrices_give_a_proper_rotation(rank, reflection):
    rng = np.random.default_rng(rank)
    m = np.zeros((3, 3), np.float32)
    for _ in range(rank):
        m += np.outer(rng.normal(size=3), rng.normal(size=3))
    q = np.asarray(nearest_orthogonal(m, reflection=reflection))
    np.testing.assert_allclose(q @ q.T, np.eye(3), atol=1e-5)
    assert np.linalg.det(q) > 0
    np.testing.assert_allclose(np.sum(q * m), np.linalg.svd(m, compute_uv=False).sum(), atol=1e-5)


def test_collapsed_plane_is_not_mirrored():
    m = np.diag([2.0, 1.0, 0.0]).astype(np.float32)
    np.testing.assert_allclose(nearest_orthogonal(m, reflection=True), np.eye(3), atol=1e-6)


def test_without_scaling_the_scale_is_one():
    points = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    fit = procrustes(points, 3 * points, scaling=False)
    assert float(fit.scale) == 1


@pytest.mark.parametrize("shapes", [((5, 3), (6, 3)), ((5, 3), (5, 2)), ((5, 4), (5, 4))])
def test_wrong_shapes_raise(shapes):
    with pytest.raises(ValueError, match="expected"):
        procrustes(*(np.ones(s, np.float32) for s in shapes))
