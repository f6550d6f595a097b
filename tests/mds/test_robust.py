"""Robust scaling: what outliers do to it, and its minimum and derivatives beside SciPy's."""

import jax
import numpy as np
import pytest
import scipy.optimize
from problems import assert_derivatives_are_differences, euclidean, symmetric

from deepmds_jax import mds

B, N, K = 20, 20, 2
RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((B, N, K))
DISTANCES = np.abs(euclidean(POINTS) + symmetric(0.2 * RNG.standard_normal((B, N, N))))
WRONG = symmetric(RNG.random((B, N, N))) > 0.95


def correlations(result):
    return np.array(mds.compare_configurations(result.embedding, POINTS).correlation)


def robust(dissimilarities, **options):
    """In float32, on the host."""
    return jax.device_get(mds.smacof_robust(dissimilarities.astype(np.float32), K, **options))


def ratio(dissimilarities):
    return jax.device_get(mds.smacof(dissimilarities.astype(np.float32), K, transform="ratio"))


def spoil(share):
    """One pair of 1e4, or 5 % of the pairs."""
    spoilt = DISTANCES.copy()
    if share == "one pair":
        spoilt[:, 3, 7] = spoilt[:, 7, 3] = 1e4
        return spoilt
    return np.where(WRONG, 1e4 if share == "5 %" else 0, spoilt)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "longdouble"])
def test_any_dtype_beside_float64(dtype, x64):
    expected = mds.smacof_robust(DISTANCES, K).stress
    dtype = jax.numpy.bfloat16 if dtype == "bfloat16" else dtype
    found = mds.smacof_robust(DISTANCES.astype(dtype), K).stress
    np.testing.assert_allclose(np.asarray(found, float), expected, rtol=0.02)


@pytest.mark.parametrize(("share", "ruined"), [("one pair", 0.4), ("5 %", 0.4), ("zeros", 0.99)])
def test_outliers_hardly_matter(share, ruined):
    assert correlations(ratio(spoil(share))).mean() < ruined
    result = robust(spoil(share))
    assert result.converged.all()
    clean = correlations(robust(DISTANCES))
    assert np.mean(correlations(result)) > np.mean(clean) - 0.003
    assert np.min(correlations(result)) > 0.98
    spoilt = spoil(share) != DISTANCES
    # Where the true distance is small anyway, 0 is no outlier.
    assert np.mean(np.array(result.pair_weights)[spoilt]) < (0.4 if share == "zeros" else 0.01)
    assert np.mean(np.array(result.pair_weights)[~spoilt & ~np.eye(N, dtype=bool)]) > 0.9


def test_without_outliers_the_fit_is_the_plain_one_within_a_percent():
    result, plain = robust(DISTANCES), ratio(DISTANCES)
    excess = [np.array(mds.stress(DISTANCES, mds.distances(r.embedding))) for r in (result, plain)]
    assert np.max(excess[0] / excess[1]) < 1.01
    # 1.7 times the deviation of the errors.
    np.testing.assert_allclose(np.mean(result.threshold), 1.7 * 0.2, rtol=0.06)


def test_distances_without_error_but_one_give_the_points():
    exact = euclidean(POINTS)
    exact[:, 3, 7] = exact[:, 7, 3] = 1e30
    result = robust(exact)
    assert result.converged.all()
    assert np.min(correlations(result)) > 1 - 1e-5
    np.testing.assert_array_less(np.array(result.pair_weights)[:, 3, 7], 1e-5)


def test_a_problem_of_nothing_but_zeros_and_outliers_is_valid():
    alone = np.zeros((7, 7))
    alone[0, 1] = alone[1, 0] = 1
    result = robust(alone)
    assert result.status == mds.Status.CONVERGED
    assert np.max(mds.distances(result.embedding)) < 1e-3
    assert result.pair_weights[0, 1] < 1e-3 and result.pair_weights[0, 2] == 1


def test_starts_of_any_size_anywhere():
    starts = np.random.default_rng(1).standard_normal((B, N, K))
    expected = robust(DISTANCES, init=starts)
    assert expected.converged.all() and np.mean(correlations(expected)) > 0.8
    for init in (1e300 * starts, 1e-60 * starts, starts + 1e8,
                 jax.numpy.float32(1e30) * starts.astype(np.float32)):
        found = robust(DISTANCES, init=init)
        assert found.converged.all()
        np.testing.assert_allclose(found.stress, expected.stress, rtol=1e-2)
    starts[0] = 3.0
    found = robust(DISTANCES, init=starts)
    assert found.status[0] == mds.Status.NON_FINITE and np.isnan(found.stress[0])
    np.testing.assert_array_equal(found.embedding[1:], expected.embedding[1:])


def huber(points, dissimilarities, weights, threshold):
    """The loss, pair by pair, once each."""
    upper = np.triu_indices(len(points), 1)
    known = np.isfinite(dissimilarities[upper])
    error = np.abs(dissimilarities - euclidean(points))[upper][known]
    loss = np.where(error < threshold, error**2 / 2, threshold * (error - threshold / 2))
    return np.sum(weights[upper][known] * loss)


class Exact:
    """A problem of 9 points with weights, a missing pair and outliers, in float64."""

    rng = np.random.default_rng(1)
    points = rng.standard_normal((9, K))
    dissimilarities = np.abs(euclidean(points) + symmetric(0.2 * rng.standard_normal((9, 9))))
    dissimilarities[2, 5] = dissimilarities[5, 2] = 30
    dissimilarities[0, 1] = dissimilarities[1, 0] = np.nan
    weights = symmetric(rng.uniform(0.5, 2, (9, 9)))
    directions = symmetric(rng.standard_normal((2, 9, 9)))

    @classmethod
    def solve(cls, dissimilarities, weights, **options):
        return mds.smacof_robust(dissimilarities, K, weights=weights, tolerance=1e-11, **options)


def test_the_minimum_is_that_of_bfgs(x64):
    result = Exact.solve(Exact.dissimilarities, Exact.weights)
    assert result.converged

    def loss(flat):
        return huber(flat.reshape(9, K), Exact.dissimilarities, Exact.weights,
                     float(result.threshold))

    best = min(scipy.optimize.minimize(loss, start.ravel(), method="BFGS").fun for start in
               [np.array(result.embedding), *RNG.standard_normal((12, 9, K))])
    np.testing.assert_allclose(loss(np.array(result.embedding).ravel()), best, rtol=1e-7)
    fixed = Exact.solve(Exact.dissimilarities, Exact.weights, threshold=float(result.threshold))
    np.testing.assert_allclose(*map(euclidean, map(np.array, (fixed.embedding, result.embedding))),
                               atol=1e-6)


def test_derivatives_are_differences(x64):
    def solution(given):
        result = Exact.solve(*given, threshold=0.3)
        return mds.distances(result.embedding), result.stress, result.pair_weights

    given = np.stack([Exact.dissimilarities, Exact.weights])
    assert_derivatives_are_differences(
        solution, given, Exact.directions, number=1, atol=2e-4, pull_atol=1e-6)


def test_bad_problems_have_a_status_and_no_effect_on_others():
    batch = DISTANCES.astype(np.float32).copy()
    batch[0, 0, 1:] = batch[0, 1:, 0] = np.nan
    batch[1] = 0
    batch[2, 3, 4] = batch[2, 4, 3] = np.inf
    batch[3, 3, 4] = batch[3, 4, 3] = -1
    result = robust(batch)
    status = mds.Status
    expected = [status.DISCONNECTED, status.INVALID, status.NON_FINITE, status.INVALID]
    np.testing.assert_array_equal(result.status[:4], expected)
    assert np.isnan(result.embedding[:4]).all() and np.isnan(result.stress[:4]).all()
    np.testing.assert_array_equal(result.embedding[4:], robust(DISTANCES).embedding[4:])
    with jax.enable_x64(True), pytest.raises(ValueError, match="some > 0, got only zeros"):
        Exact.solve(np.zeros((9, 9)), Exact.weights)
    with jax.enable_x64(True), pytest.raises(ValueError, match="init: expected finite values"):
        Exact.solve(Exact.dissimilarities, Exact.weights, init=np.full((9, K), np.nan))
    with jax.enable_x64(True), pytest.raises(ValueError, match="got all of them at one place"):
        Exact.solve(Exact.dissimilarities, Exact.weights, init=np.full((9, K), 3.0))
    with pytest.raises(ValueError, match="threshold: expected a finite number > 0, got 0"):
        robust(DISTANCES, threshold=0)
    with pytest.raises(ValueError, match=r"init: expected shape \(20, 20, 2\), got \(3, 2\)"):
        robust(DISTANCES, init=np.zeros((3, 2)))
