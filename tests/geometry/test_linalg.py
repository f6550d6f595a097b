import jax
import numpy as np
import pytest

from deepmds_jax.geometry import linalg


@pytest.mark.parametrize(
    "shape", [(3, 3), (50, 3), (4, 7, 2), (2, 68, 4), (6, 1), (3, 9, 5), (20, 12)]
)
def test_svd_agrees_with_lapack(shape):
    a = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    u, s, v = map(np.asarray, linalg.svd(a))
    k = shape[-1]
    np.testing.assert_allclose(s, np.linalg.svd(a, compute_uv=False), rtol=2e-5)
    np.testing.assert_allclose((u * s[..., None, :]) @ v.mT, a, atol=1e-5)
    identity = np.broadcast_to(np.eye(k), (*shape[:-2], k, k))
    np.testing.assert_allclose(u.mT @ u, identity, atol=1e-5)
    np.testing.assert_allclose(v.mT @ v, identity, atol=1e-5)


def test_svd_of_deficient_matrices_is_finite_with_orthogonal_v():
    flat = np.outer([1.0, 2, 3], [1, -1, 0.5]).astype(np.float32)
    for a, rank in ((flat, 1), (np.zeros((3, 3), np.float32), 0)):
        u, s, v = map(np.asarray, linalg.svd(a))
        assert np.sum(np.asarray(s) > 1e-6) == rank
        np.testing.assert_allclose(v.T @ v, np.eye(3), atol=1e-6)
        np.testing.assert_allclose((u * s) @ v.T, a, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_svd_neither_over_nor_underflows_in_float32(scale):
    a = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    _, s, _ = linalg.svd(a * np.float32(scale))
    expected = scale * np.linalg.svd(a, compute_uv=False)
    np.testing.assert_allclose(s, expected, rtol=1e-4)


@pytest.mark.parametrize("num_columns", [2, 3, 4, 7, 16])
@pytest.mark.parametrize("kind", ["graded", "close", "deficient"])
def test_svd_reaches_rounding_in_float64(num_columns, kind):
    """Few sweeps: the hard spectra are those far apart, and those close together."""
    rng = np.random.default_rng(num_columns)
    k = num_columns
    u, v = (np.linalg.qr(rng.normal(size=(20, k, k)))[0] for _ in range(2))
    expected = {
        "graded": np.sort(10.0 ** rng.uniform(-7, 0, size=(20, k))),
        "close": np.sort(1 + 1e-6 * rng.normal(size=(20, k))),
        "deficient": np.tile(np.arange(k) // (k / 2), (20, 1)),
    }[kind][:, ::-1]
    with jax.enable_x64(True):
        a = (u * expected[:, None, :]) @ v.mT
        u, s, v = map(np.asarray, linalg.svd(a))
        np.testing.assert_allclose(s, expected, atol=1e-14)
        np.testing.assert_allclose((u * s[:, None, :]) @ v.mT, a, atol=1e-14)
        independent = u[..., : np.count_nonzero(expected[0])]  # the others are rounding errors
        eye = np.eye(independent.shape[-1])
        np.testing.assert_allclose(independent.mT @ independent, np.tile(eye, (20, 1, 1)),
                                   atol=3e-15)


def test_a_sweep_keeps_the_seats_and_reports_the_cosine():
    columns = np.array([[3.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]], np.float32)
    sweep = jax.jit(linalg.jacobi_sweep)
    swept, cosine = sweep(columns)
    np.testing.assert_array_equal(swept, columns)
    assert cosine == 0
    _, cosine = sweep(np.array([[1.0, 3], [0, 4]], np.float32))
    assert cosine == pytest.approx(0.6)
