from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import euclidean, noisy_distances, symmetric

from deepmds_jax import mds
from deepmds_jax.mds import ratio
from deepmds_jax.mds.guttman import Laplacian
from deepmds_jax.mds.transforms import Proportion

N, K = 13, 2
RNG = np.random.default_rng(0)
DISSIMILARITIES = noisy_distances(0, N)
POINTS = RNG.standard_normal((N, K))
POINTS = (POINTS - POINTS.mean(0)) / np.linalg.norm(POINTS - POINTS.mean(0))
DISTANCES = euclidean(POINTS)
WEIGHTS = {"equal": 2.0 * (1 - np.eye(N)), "different": symmetric(RNG.random((N, N)))}


# Compiled once for all weights, not operation by operation.
fit_ratio = jax.jit(ratio.fit_ratio, static_argnames="in_blocks")
laplacian_of = jax.jit(Laplacian.of)


def laplacian_matrix(weights):
    return np.diag(weights.sum(1)) - weights


def best_factor(weights):
    return (weights * DISSIMILARITIES * DISTANCES).sum() / (weights * DISSIMILARITIES**2).sum()


def problem(weights):
    weighted = weights * DISSIMILARITIES
    square = (weighted * DISSIMILARITIES).sum()
    return Proportion(DISSIMILARITIES, weighted, square)


@pytest.fixture(params=[False, True], ids=["whole", "blocks"])
def in_blocks(request, monkeypatch):
    monkeypatch.setattr(ratio, "_BLOCK_SIZE", 5 * N)  # of 13 rows, the last block shares two
    return request.param


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_one_pass_finds_the_best_factor(weights, in_blocks, x64):
    factor = best_factor(weights)
    residual = factor * DISSIMILARITIES - DISTANCES
    stress = np.sqrt((weights * residual**2).sum() / (weights * DISTANCES**2).sum())
    ratios = np.divide(factor * DISSIMILARITIES, DISTANCES, out=np.zeros((N, N)),
                       where=DISTANCES > 0)
    expected = laplacian_matrix(weights * ratios) @ POINTS
    expected = np.linalg.pinv(laplacian_matrix(weights)) @ expected

    for guess in (0.7 * factor, factor):
        found, image, found_factor = fit_ratio(problem(weights), laplacian_of(weights), POINTS,
                                               guess, in_blocks=in_blocks)
        assert found == pytest.approx(stress, rel=1e-9)
        assert found_factor == pytest.approx(factor, rel=1e-9)
        np.testing.assert_allclose(image / np.linalg.norm(image),
                                   expected / np.linalg.norm(expected), atol=1e-7)


def test_curvatures_are_those_of_raw_stress(in_blocks, x64, monkeypatch):
    monkeypatch.setattr(ratio, "_MIN_DISTANCE", 1e-9)
    monkeypatch.setattr(ratio, "_MAX_CONTRAST", 1e9)
    weights = WEIGHTS["different"]
    factor = best_factor(weights)

    def raw_stress(place, point):
        others = jnp.arange(N) != point
        distances = jnp.sqrt(jnp.where(others, jnp.sum((place - POINTS) ** 2, axis=1), 1))
        residual = factor * jnp.asarray(DISSIMILARITIES)[point] - distances
        return jnp.sum(jnp.where(others, jnp.asarray(weights)[point] * residual**2, 0)) / 2

    hessians = jax.jit(jax.vmap(jax.hessian(raw_stress)))(jnp.asarray(POINTS), jnp.arange(N))
    values, vectors = np.linalg.eigh(hessians / weights.sum(1)[:, None, None])
    assert values.min() < 0 and (np.abs(values) < 0.1).any()  # both are bounded
    values = np.maximum(np.abs(values), 0.1)
    found = jax.jit(partial(ratio.inverse_curvatures, in_blocks=in_blocks))(
        problem(weights), laplacian_of(weights), POINTS, factor)
    expected = np.einsum("nij,nj,nkj->nik", vectors, 1 / values, vectors)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_large_problems_end_in_a_minimum(x64):
    n = 520
    dissimilarities = noisy_distances(3, n, 5, 0.1)
    result = mds.smacof(dissimilarities, 2, transform="ratio")
    assert result.converged and result.num_iters < 150  # 286 without curvatures
    points = np.asarray(result.embedding)
    distances = euclidean(points)
    factor = (dissimilarities * distances).sum() / (dissimilarities**2).sum()
    residual = factor * dissimilarities - distances
    stress = np.sqrt((residual**2).sum() / (distances**2).sum())
    assert result.stress == pytest.approx(stress, rel=1e-9)
    pull = np.divide(residual, distances, out=np.zeros((n, n)), where=distances > 0)
    change, unit = laplacian_matrix(pull) @ points / n, points / np.linalg.norm(points)
    slope = np.linalg.norm(change - (change * unit).sum() * unit) / np.linalg.norm(points)
    assert 1e-5 * stress < slope < 2e-4 * stress  # stress does not depend on the size

    shown = mds.smacof(dissimilarities, 2, transform="ratio", progress=True)
    assert shown.num_iters == result.num_iters
    np.testing.assert_allclose(shown.embedding, points, rtol=1e-6, atol=1e-9)

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        short = mds.smacof(dissimilarities.astype(np.float32), 2, transform="ratio")
    assert short.embedding.dtype == np.float32
    assert short.stress == pytest.approx(stress, rel=1e-4)


def test_heavy_weights_between_close_points_leave_digits():
    """Elastic scaling: its weights, 1 / dissimilarities^2, differ by 1e6."""
    points = RNG.normal(size=(8, 20, 3))
    points[:, 1] = points[:, 0] + 1e-3
    dissimilarities = euclidean(points) * (1 + 0.1 * symmetric(RNG.random((20, 20))))
    weights = 1 / np.where(np.eye(20, dtype=bool), np.inf, dissimilarities) ** 2
    found = mds.smacof(dissimilarities.astype(np.float32), K, transform="ratio",
                       weights=weights.astype(np.float32))
    assert (found.status == mds.Status.CONVERGED).all()
    with jax.enable_x64(True):
        stress = [mds.smacof(d, K, transform="ratio", weights=w, init=x).stress for d, w, x in zip(
            dissimilarities, weights, np.float64(found.embedding), strict=True)]
    np.testing.assert_allclose(found.stress, stress, rtol=1e-4)
