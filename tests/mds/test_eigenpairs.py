import jax
import numpy as np
import pytest

from deepmds_jax.mds.eigenpairs import leading_eigenpairs

SOLVE = jax.jit(leading_eigenpairs, static_argnums=1)


def symmetric(spectrum):
    size = len(spectrum)
    vectors, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((size, size)))
    return (vectors * spectrum) @ vectors.T


SPECTRA = {
    "low rank": np.array([1.0, 0.4, 0.1] + 37 * [0.0]),
    "negative larger": np.array([0.5, 0.3, 0.2] + 34 * [0.01] + 3 * [-1.0]),
    "wide": 0.6 ** np.arange(40.0),
    "equal": np.array(3 * [1.0] + 37 * [0.1]),
    "zero": np.zeros(40),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("num_pairs", [1, 3])
def test_agrees_with_the_spectrum(name, num_pairs, dtype):
    spectrum = SPECTRA[name]
    matrix = symmetric(spectrum).astype(dtype)
    values, vectors = (np.asarray(x) for x in SOLVE(matrix, num_pairs))
    eps = np.finfo(dtype).eps
    assert values.dtype == vectors.dtype == dtype
    np.testing.assert_allclose(values, spectrum[:num_pairs], atol=50 * eps)
    residual = np.linalg.norm(matrix @ vectors - values * vectors)
    assert residual <= 100 * eps * np.linalg.norm(spectrum)
    if spectrum.any():
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(num_pairs), atol=1e3 * eps)


@pytest.mark.parametrize(("size", "num_pairs"), [(2, 1), (2, 2), (3, 2), (5, 4), (30, 20)])
def test_sizes(size, num_pairs, x64):
    spectrum = 0.8 ** np.arange(size)
    values, _ = SOLVE(symmetric(spectrum), num_pairs)
    np.testing.assert_allclose(values, spectrum[:num_pairs], atol=1e-12)


def test_close_eigenvalues_end():
    spectrum = np.linspace(1, -1, 40)
    values, _ = SOLVE(symmetric(spectrum).astype(np.float32), 3)
    np.testing.assert_allclose(values, spectrum[:3], atol=1e-3)
