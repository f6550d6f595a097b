from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepmds_jax.geometry import nearest_orthogonal, procrustes

# Compiled once per shape, not operation by operation.
nearest = jax.jit(nearest_orthogonal, static_argnames="reflection")


@partial(jax.jit, static_argnames="reflection")
def align(source, target, reflection):
    fit = procrustes(source, target, reflection=reflection)
    return fit, fit(source)


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
    fit, aligned = align(points.astype(np.float32), target.astype(np.float32), mirrored)
    np.testing.assert_allclose(fit.rotation, rotation, atol=1e-5)
    np.testing.assert_allclose(fit.scale, 2.5, rtol=1e-5)
    np.testing.assert_allclose(fit.translation, np.arange(1, dim + 1), atol=1e-5)
    np.testing.assert_allclose(aligned, target, atol=1e-5)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("reflection", [False, True])
def test_nearest_orthogonal_agrees_with_umeyama_by_lapack(dim, reflection):
    m = np.random.default_rng(3).normal(size=(200, dim, dim)).astype(np.float32)
    u, _, vt = np.linalg.svd(m.astype(np.float64))
    if not reflection:
        u[..., -1] *= np.linalg.det(u @ vt)[:, None]
    gain = np.sum((u @ vt) * m, axis=(1, 2))
    found = np.asarray(nearest(m, reflection=reflection))
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
    q = np.asarray(nearest(m, reflection=reflection))
    np.testing.assert_allclose(q @ q.T, np.eye(3), atol=1e-5)
    assert np.linalg.det(q) > 0
    np.testing.assert_allclose(np.sum(q * m), np.linalg.svd(m, compute_uv=False).sum(), atol=1e-5)


def test_collapsed_plane_is_not_mirrored():
    m = np.diag([2.0, 1.0, 0.0]).astype(np.float32)
    np.testing.assert_allclose(nearest(m, reflection=True), np.eye(3), atol=1e-6)


@pytest.mark.parametrize("dim", [1, 4, 5, 10])
def test_any_number_of_dimensions_agrees_with_lapack(dim):
    m = np.random.default_rng(dim).normal(size=(3, 4, dim, dim)).astype(np.float32)
    u, _, vt = np.linalg.svd(m.astype(np.float64))
    found = np.asarray(nearest(m, reflection=True))
    np.testing.assert_allclose(found, u @ vt, atol=2e-4 if dim > 4 else 2e-5)
    np.testing.assert_allclose(found @ found.mT, np.broadcast_to(np.eye(dim), m.shape), atol=2e-6)


@pytest.mark.parametrize("dim", [2, 4, 7])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_deficient_matrices_of_any_size_are_completed(dim, rank):
    rng = np.random.default_rng(rank)
    m = (rng.normal(size=(dim, rank)) @ rng.normal(size=(rank, dim))).astype(np.float32)
    q = np.asarray(nearest(m, reflection=True))
    np.testing.assert_allclose(q @ q.T, np.eye(dim), atol=3e-6)
    gain = np.linalg.svd(m, compute_uv=False).sum()
    np.testing.assert_allclose(np.sum(q * m), gain, rtol=1e-5, atol=1e-6)


def with_singular_values(values, sign, seed=5):
    """A matrix with these singular values and a determinant of this sign."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=2 * [len(values)]))[0] for _ in range(2))
    u[:, -1] *= sign * np.linalg.det(u) * np.linalg.det(v)
    return u @ np.diag(values) @ v.T


SMOOTH = {  # singular values, sign of the determinant, reflection; all with one nearest matrix
    "generic": ([3.0, 1.7, 0.4], 1, True),
    "mirrored": ([3.0, 1.7, 0.4], -1, True),
    "turned": ([3.0, 1.7, 0.4], -1, False),
    "nearly equal": ([2.0, 2.0 + 1e-9, 2.0 - 1e-9], 1, True),
    "nearly equal, turned": ([2.0 + 1e-9, 2.0, 0.5], -1, False),
    "equal": ([1.0, 1.0, 1.0], 1, False),
    "flat": ([2.0, 1.0, 0.0], 1, False),
    "plane": ([2.0, 1.0], 1, True),
    "plane, turned": ([2.0, 1.0], -1, False),
    "four dimensions": ([2.0, 2.0, 1.0, 0.3], -1, True),
    "six dimensions": ([2.0, 2.0, 1.0, 0.7, 0.3, 0.2], 1, True),
}


@partial(jax.jit, static_argnames="reflection")
def derivatives(m, tangent, cotangent, reflection):
    """Of sum(cotangent * Q), for a batch (..., d, d) of m.

    Returns:
      (...) the value, (..., d, d) its gradient, and the derivative of each along the tangent.
    """
    def function(m):
        return jnp.sum(cotangent * nearest_orthogonal(m, reflection=reflection))

    def along_tangent(m):
        return jax.jvp(jax.value_and_grad(function), (m,), (tangent,))

    (value, gradient), (value_change, gradient_change) = jax.vmap(along_tangent)(m)
    return value, gradient, value_change, gradient_change


@pytest.mark.parametrize("case", SMOOTH)
def test_derivatives_agree_with_finite_differences(case):
    values, sign, reflection = SMOOTH[case]
    with jax.enable_x64(True):
        m = with_singular_values(values, sign)
        rng = np.random.default_rng(0)
        tangent, cotangent = rng.normal(size=(2, *m.shape))
        step = 1e-5
        points = np.stack([m, m + step * tangent, m - step * tangent])
        found = derivatives(points, tangent, cotangent, reflection)
        value, gradient, forward, second = (np.asarray(x) for x in found)
    reverse = np.sum(gradient[0] * tangent)
    np.testing.assert_allclose([forward[0], reverse], (value[1] - value[2]) / (2 * step), rtol=1e-7)
    np.testing.assert_allclose(second[0], (gradient[1] - gradient[2]) / (2 * step), rtol=1e-6,
                               atol=1e-8)


@pytest.mark.parametrize("reflection", [False, True])
def test_derivatives_are_finite_at_deficient_matrices(reflection):
    singular_values = [[0.0, 0, 0], [1.0, 0, 0], [1.0, 1, 0], [1.0, 1, -1]]
    m = np.stack([np.diag(values) for values in singular_values]).astype(np.float32)

    def function(m):
        return jnp.sum(nearest_orthogonal(m, reflection=reflection) ** 3)

    @jax.jit
    @jax.vmap
    def reverse_and_forward(m):
        return jax.grad(function)(m), jax.jacfwd(function)(m)

    for gradient in reverse_and_forward(m):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("shapes", [((5, 3), (6, 3)), ((5, 3), (5, 2)), ((5, 4), (5, 4))])
def test_wrong_shapes_raise(shapes):
    with pytest.raises(ValueError, match="expected"):
        procrustes(*(np.ones(s, np.float32) for s in shapes))


def test_only_square_matrices_have_a_nearest_orthogonal_one():
    with pytest.raises(ValueError, match=r"m: expected \(..., d, d\), got \(3, 2\)"):
        nearest_orthogonal(np.ones((3, 2), np.float32), reflection=True)
