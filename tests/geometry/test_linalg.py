import jax
import numpy as np
import pytest

from deepmds_jax.geometry import linalg


@pytest.mark.parametrize("shape", [(3, 3), (50, 3), (4, 7, 2), (2, 68, 4)])
def test_svd_agrees_with_lapack(shape):
    a = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    u, s, v = jax.jit(linalg.svd)(a)
    k = shape[-1]
    np.testing.assert_allclose(s, np.linalg.svd(a, compute_uv=False), rtol=2e-5)
    np.testing.assert_allclose((u * s[..., None, :]) @ v.mT, a, atol=1e-5)
    identity = np.broadcast_to(np.eye(k), (*shape[:-2], k, k))
    np.testing.assert_allclose(u.mT @ u, identity, atol=1e-5)
    np.testing.assert_allclose(v.mT @ v, identity, atol=1e-5)


def test_svd_of_deficient_matrices_is_finite_with_orthogonal_v():
    flat = np.outer([1.0, 2, 3], [1, -1, 0.5]).astype(np.float32)
    for a, rank in ((flat, 1), (np.zeros((3, 3), np.float32), 0)):
        u, s, v = linalg.svd(a)
        assert np.sum(np.asarray(s) > 1e-6) == rank
        np.testing.assert_allclose(v.T @ v, np.eye(3), atol=1e-6)
        np.testing.assert_allclose((u * s) @ v.T, a, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_svd_neither_over_nor_underflows_in_float32(scale):
    a = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    _, s, _ = linalg.svd(a * np.float32(scale))
    np.testing.assert_allclose(s / scale, np.linalg.svd(a, compute_uv=False), rtol=1e-4)
