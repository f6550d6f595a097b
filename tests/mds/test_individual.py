"""Individual differences: generated subjects, SciPy's minima, finite differences."""

import jax
import numpy as np
import pytest
import scipy.optimize
from problems import assert_derivatives_are_differences, euclidean, symmetric

from deepmds_jax import mds

B, S, N, K = 4, 6, 12, 2
RNG = np.random.default_rng(0)
GROUP = RNG.standard_normal((B, N, K))
GROUP -= GROUP.mean(axis=1, keepdims=True)
GROUP /= np.sqrt(np.mean(GROUP**2, axis=1, keepdims=True))
SALIENCES = RNG.uniform(0.2, 1.5, (B, S, K))
DISTANCES = euclidean(GROUP[:, None] * SALIENCES[:, :, None, :])
NOISY = DISTANCES * symmetric(np.exp(0.1 * RNG.standard_normal((B, S, N, N))))


def solve(given, model="indscal", **options):
    """In float32, on the host."""
    return jax.device_get(
        mds.individual_differences(given.astype(np.float32), K, model=model, **options))


def match(result):
    """|correlation| of the axes with the true ones, (B, K), in the better order; and the order."""
    products = np.abs(np.einsum("bni,bnj->bij", np.array(result.group), GROUP)) / N
    straight, crossed = products[:, [0, 1], [0, 1]], products[:, [0, 1], [1, 0]]
    swaps = crossed.sum(axis=1) > straight.sum(axis=1)
    return np.where(swaps[:, None], crossed, straight), swaps


def test_axes_and_saliences_are_found_without_rotation():
    result = solve(DISTANCES)
    assert result.converged.all() and np.max(result.stress) < 1e-5
    correlations, swaps = match(result)
    np.testing.assert_allclose(correlations, 1, atol=1e-5)
    # The dissimilarities of each subject are scaled to a mean square of 1.
    size = np.sqrt(np.sum(DISTANCES**2, axis=(-2, -1)) / (N * (N - 1)))
    true = SALIENCES / size[..., None]
    true = np.where(swaps[:, None, None], true[..., ::-1], true)
    np.testing.assert_allclose(result.saliences, true, atol=1e-4)


@pytest.mark.parametrize("transform", ["ratio", "spline", "ordinal"])
def test_noise_and_curves(transform):
    given = NOISY if transform == "ratio" else NOISY**2
    result = solve(given, transform=transform)
    assert result.converged.all()
    assert match(result)[0].min() > 0.99
    if transform == "ratio":
        plain, free = solve(given, "identity"), solve(given, "idioscal")
        assert np.all(result.stress < 0.7 * plain.stress)
        assert np.all(free.stress < result.stress * 1.001)
    np.testing.assert_allclose(
        result.stress, np.sqrt(np.mean(result.stress_per_subject**2, axis=-1)), rtol=1e-4)


def test_identity_is_the_scaling_of_the_mean():
    scaled = NOISY / np.sqrt(np.sum(NOISY**2, axis=(-2, -1), keepdims=True) / (N * (N - 1)))
    result = solve(NOISY, "identity", tolerance=1e-5)
    mean = mds.smacof(scaled.mean(axis=1).astype(np.float32), K, transform="ratio", tolerance=1e-5)
    np.testing.assert_allclose(mds.distances(result.group), mds.distances(mean.embedding),
                               atol=1e-3)


class Exact:
    """One problem with weights and a missing pair, in float64."""

    rng = np.random.default_rng(1)
    dissimilarities = NOISY[0].copy()
    dissimilarities[1, 2, 5] = dissimilarities[1, 5, 2] = np.nan
    weights = symmetric(rng.uniform(0.3, 1, (S, N, N)))
    directions = symmetric(rng.standard_normal((2, S, N, N)))


PAIRS = np.triu(np.isfinite(Exact.dissimilarities), 1)
KNOWN, COUNTED = np.where(PAIRS, Exact.dissimilarities, 0), np.where(PAIRS, Exact.weights, 0)
SIZES = np.sum(COUNTED * KNOWN**2, axis=(1, 2)) / np.sum(COUNTED, axis=(1, 2))


def loss(flat, model):
    """The mean of squared stress over the pairs of all subjects."""
    group, rest = flat[:N * K].reshape(N, K), flat[N * K:]
    if model == "identity":
        views = group[None]
    elif model == "indscal":
        views = group * rest.reshape(S, 1, K)
    else:
        views = group @ rest.reshape(S, K, K)
    errors = KNOWN / np.sqrt(SIZES[:, None, None]) - euclidean(views)
    return np.sum(COUNTED * errors**2) / np.sum(COUNTED)


@pytest.mark.parametrize("model", ["identity", "indscal", "idioscal"])
def test_the_minimum_is_that_of_bfgs(model, x64):
    result = mds.individual_differences(Exact.dissimilarities, K, model=model, tolerance=1e-8,
                                        weights=Exact.weights)
    assert result.converged
    maps = {"identity": np.zeros(0), "indscal": result.saliences, "idioscal": result.maps}[model]
    point = np.concatenate([np.ravel(result.group), np.ravel(maps)])
    np.testing.assert_allclose(loss(point, model), float(result.stress) ** 2, rtol=1e-6)
    starts = [point, *RNG.standard_normal((3, len(point)))]
    best = min(scipy.optimize.minimize(loss, start, (model,)).fun for start in starts)
    np.testing.assert_allclose(loss(point, model), best, rtol=1e-5)


@pytest.mark.parametrize("model", ["identity", "indscal"])
def test_derivatives_are_differences(model, x64):
    def solution(given):
        result = mds.individual_differences(given[0], K, model=model, tolerance=1e-11,
                                            weights=given[1])
        views = result.group @ result.maps
        return mds.distances(views), result.saliences, result.stress

    given = np.stack([Exact.dissimilarities, Exact.weights])
    assert_derivatives_are_differences(
        solution, given, Exact.directions, number=2, atol=2e-4, pull_atol=1e-6)


def test_a_subject_need_not_know_all_objects():
    given = DISTANCES.copy()
    given[:, 0, 3] = given[:, 0, :, 3] = np.nan
    result = solve(given)
    assert result.converged.all()
    np.testing.assert_allclose(match(result)[0], 1, atol=1e-4)


@pytest.mark.parametrize("heavy", [100, 1000])
def test_heavy_pairs_do_not_end_the_iterations_early(heavy):
    weights = np.ones((N, N))
    weights[0, 1] = weights[1, 0] = heavy
    twice = np.repeat(NOISY[0, :1], 2, axis=0)
    result = solve(twice, "identity", weights=weights)
    expected = mds.smacof(NOISY[0, 0].astype(np.float32), K, transform="ratio", weights=weights)
    assert result.converged and expected.converged
    assert abs(result.stress / expected.stress - 1) < 3e-4


def test_pairs_of_very_small_weights_connect():
    weights = np.full((N, N), 1e30)
    weights[0] = weights[:, 0] = 1e-30
    result = solve(NOISY[0], weights=weights)
    assert result.status <= mds.Status.STEP_LIMIT and np.isfinite(result.stress)


def test_bad_problems_have_a_status_and_single_ones_raise():
    given = DISTANCES.copy()
    given[0, :, 3] = given[0, :, :, 3] = np.nan
    given[1, 2] = 0
    given[2, 1, 3, 4] = given[2, 1, 4, 3] = np.inf
    result = solve(given)
    status = mds.Status
    np.testing.assert_array_equal(
        result.status, [status.DISCONNECTED, status.INVALID, status.NON_FINITE, status.CONVERGED])
    assert np.isnan(result.group[:3]).all() and np.isnan(result.stress[:3]).all()
    np.testing.assert_array_equal(result.group[3], solve(DISTANCES).group[3])
    # Subject 0 may lack an object: that is not what is wrong.
    given[1, 0, 3] = given[1, 0, :, 3] = np.nan
    for value, found in ((0, "only zeros"), (np.nan, "only missing pairs")):
        given[1, 2] = value
        message = rf"^dissimilarities\[2\]: expected some > 0, got {found}"
        with jax.enable_x64(True), pytest.raises(ValueError, match=message):
            mds.individual_differences(given[1], K, weights=Exact.weights)
    with pytest.raises(ValueError, match=r"expected shape \(..., K, n, n\) of K subjects"):
        solve(given[1, 0])
    with pytest.raises(ValueError, match=r"transform: expected one of .*, got 'interval'"):
        solve(given[1], transform="interval")
