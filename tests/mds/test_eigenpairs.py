import jax
import numpy as np
import pytest

from deepmds_jax.mds.eigenpairs import leading_eigenpairs

RNG = np.random.default_rng(0)


def symmetric(eigenvalues):
    vectors, _ = np.linalg.qr(RNG.standard_normal((len(eigenvalues), len(eigenvalues))))
    return (vectors * eigenvalues) @ vectors.T


SPECTRA = {
    "two": np.array([1.0, -0.5]),
    "three": np.array([1.0, 0.5, 0.0]),
    "low rank": np.array([1.0, 0.4, 0.1] + 30 * [0.0]),
    "negative larger": np.array([0.5, 0.3, 0.2] + 20 * [0.01] + 10 * [-1.0]),
    "wide": 0.6 ** np.arange(40.0),
    "equal": np.array([1.0, 1, 1, 0.3, 0.2, 0.1]),
    "zero": np.zeros(6),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("num_pairs", [1, 3])
def test_agrees_with_the_spectrum(name, num_pairs, dtype):
    spectrum = SPECTRA[name]
    if num_pairs >= len(spectrum):
        pytest.skip("fewer eigenvalues than pairs")
    matrix = symmetric(spectrum).astype(dtype)
    values, vectors = jax.jit(leading_eigenpairs, static_argnums=1)(matrix, num_pairs)
    eps = np.finfo(dtype).eps
    assert values.dtype == vectors.dtype == dtype
    np.testing.assert_allclose(values, np.sort(spectrum)[::-1][:num_pairs], atol=50 * eps)
    residual = np.linalg.norm(matrix @ np.asarray(vectors) - values * np.asarray(vectors))
    assert residual <= 100 * eps * np.linalg.norm(spectrum)
    if spectrum.any():
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(num_pairs), atol=1e3 * eps)


def test_many_pairs(x64):
    spectrum = 0.8 ** np.arange(30.0)
    values, _ = leading_eigenpairs(symmetric(spectrum), 20)
    np.testing.assert_allclose(values, spectrum[:20], atol=1e-12)


def test_a_hard_spectrum_ends():
    gaps = symmetric(np.linspace(1, -1, 60)).astype(np.float32)
    values, _ = leading_eigenpairs(gaps, 3)
    np.testing.assert_allclose(values, np.linspace(1, -1, 60)[:3], atol=1e-3)
