"""Monotone splines beside SciPy's B-splines and non-negative least squares."""

import jax
import numpy as np
import pytest
import scipy.interpolate
import scipy.optimize
from problems import (
    Four,
    assert_derivatives_are_differences,
    euclidean,
    noisy_distances,
    symmetric,
    tied_distances,
)

from deepmds_jax import mds
from deepmds_jax.mds import splines

N = 15
RNG = np.random.default_rng(0)
WEIGHTS = symmetric(RNG.uniform(0.3, 2, (3, N, N)))
DISTANCES = euclidean(RNG.standard_normal((3, N, 2)))


def with_missing(seed):
    dissimilarities = noisy_distances(seed, N, 2)
    dissimilarities[0, 4:8] = dissimilarities[4:8, 0] = np.nan
    return dissimilarities


PROBLEMS = np.stack([noisy_distances(1, N, 2), with_missing(2), tied_distances(3, N)])


def solve(problems, **options):
    """(p, N, N) problems in float32, on the host. In a batch of 20: one program per transform."""
    twenty = np.resize(problems, (20, N, N)).astype(np.float32)
    return jax.tree.map(lambda x: np.asarray(x)[:len(problems)], mds.smacof(twenty, 2, **options))


def still_stress(dissimilarities, points, disparities_of):
    """() stress-1 of the points, by a function from pairs' dissimilarities and distances."""
    pairs = np.triu(np.isfinite(dissimilarities), 1)
    given, distances = dissimilarities[pairs], euclidean(points.astype(float))[pairs]
    residual = disparities_of(given, distances) - distances
    return np.linalg.norm(residual) / np.linalg.norm(distances)


def proportional(given, distances):
    return given * (given @ distances) / (given @ given)


def in_order(given, distances):
    order = np.lexsort([distances, given])  # those of equal pairs may differ
    fit = np.empty_like(distances)
    fit[order] = scipy.optimize.isotonic_regression(distances[order]).x
    return fit


def by_scipy(dissimilarities, weights, distances):
    """Pairs' disparities from tail sums of SciPy's B-splines and its NNLS."""
    a, b, c, d = np.quantile(dissimilarities, [0.2, 0.4, 0.6, 0.8])
    ends = [[end] * 3 for end in (dissimilarities.min(), dissimilarities.max())]
    knots = np.concatenate([ends[0], [a, b, c, d], ends[1]])
    b_splines = scipy.interpolate.BSpline.design_matrix(dissimilarities, knots, 2).toarray()
    functions = np.cumsum(b_splines[:, ::-1], axis=1)[:, ::-1]
    root = np.sqrt(weights)
    coefficients, _ = scipy.optimize.nnls(root[:, None] * functions, root * distances)
    return functions @ coefficients


@pytest.mark.parametrize(("x64", "atol"), [(True, 1e-12), (False, 2e-4)])
def test_the_fit_is_that_of_scipy(x64, atol):
    with jax.enable_x64(x64):
        @jax.jit
        @jax.vmap
        def fit(dissimilarities, weights, distances):
            return splines.fit_splines(splines.prepare_splines(dissimilarities, weights),
                                       distances)[0]

        known = np.where(np.isnan(PROBLEMS), 0, PROBLEMS)
        weights = np.where(np.isnan(PROBLEMS), 0, WEIGHTS)
        found = np.array(fit(known, weights, DISTANCES))
    for i in range(len(PROBLEMS)):
        pairs = np.triu(weights[i] > 0)
        expected = by_scipy(known[i][pairs], weights[i][pairs], DISTANCES[i][pairs])
        np.testing.assert_allclose(found[i][pairs], expected, atol=atol)
        assert (found[i][weights[i] == 0] == 0).all()
        order = np.argsort(known[i][pairs])
        assert np.all(np.diff(found[i][pairs][order]) >= -1e-6)


@pytest.mark.parametrize("acceleration", ["anderson", "none"])
def test_stress_never_rises(acceleration, x64):
    stress = Four.trace(30, acceleration=acceleration, transform="spline")
    assert (np.diff(stress, axis=0) <= 1e-14).all()
    assert (stress[-1] < 0.99 * stress[0]).all()


def test_a_curve_is_found():
    """Logarithms of distances: a line does not fit them, a smooth curve does."""
    points = RNG.standard_normal((20, N, 2))
    dissimilarities = np.log1p(euclidean(points))
    results = {name: solve(dissimilarities, transform=name)
               for name in ("interval", "spline", "ordinal")}
    assert results["spline"].converged.all()
    assert results["spline"].stress.mean() < 0.02 * results["interval"].stress.mean()
    # Ordinal scaling leaves room, in which the points move.
    loss = {name: np.mean(mds.compare_configurations(r.embedding, points).disparity)
            for name, r in results.items()}
    assert loss["spline"] < 0.1 * loss["ordinal"] < 0.1 * loss["interval"]


def test_it_lies_between_ratio_and_ordinal():
    result = solve(PROBLEMS, transform="spline")
    for dissimilarities, points, stress in zip(PROBLEMS, result.embedding, result.stress,
                                               strict=True):
        ratio, ordinal = (still_stress(dissimilarities, points, fit)
                          for fit in (proportional, in_order))
        assert ordinal < stress < ratio


def test_two_values_are_enough():
    two = np.where(PROBLEMS[0] > np.median(PROBLEMS[0]), 2, 1)[None]
    result, secondary = (solve(two, transform=transform, ties=ties) for transform, ties in
                         (("spline", "primary"), ("ordinal", "secondary")))
    assert result.converged
    np.testing.assert_allclose(result.stress, secondary.stress, rtol=1e-3)


def test_one_value_is_fitted_by_a_constant():
    same = symmetric(np.ones((1, N, N)))
    result, constant = solve(same, transform="spline"), solve(same, ties="secondary")
    assert result.converged
    np.testing.assert_allclose(result.stress, constant.stress, rtol=0.02)


def test_derivatives_are_differences(x64):
    def solution(given):
        result = mds.smacof(given[0], 2, weights=given[1], transform="spline", tolerance=1e-11)
        return mds.distances(result.embedding), result.stress, result.disparities

    given = np.stack([Four.dissimilarities[1], Four.weights[1]])
    direction = symmetric(np.random.default_rng(2).standard_normal((2, 10, 10)))
    assert_derivatives_are_differences(
        solution, given, direction, number=1, atol=1e-4, pull_atol=1e-7)
