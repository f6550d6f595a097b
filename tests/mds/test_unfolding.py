"""Unfolding of generated preferences: their points, slopes of the loss, finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import assert_derivatives_are_differences
from rounding import bound

from deepmds_jax import mds

B, N, M, K = 6, 20, 10, 2
RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((B, N + M, K))


def between(points, n=N):
    """(..., N, M) distances of rows and columns."""
    return np.linalg.norm(points[..., :n, None, :] - points[..., None, n:, :], axis=-1)


NOISY = between(POINTS) * np.exp(0.1 * RNG.standard_normal((B, N, M)))
PREFERENCES = {
    "ratio": NOISY,
    # Judges use scales of their own, or only ranks.
    "interval": NOISY * RNG.uniform(0.5, 2, (B, N, 1)) + RNG.uniform(0, 3, (B, N, 1)),
    "ordinal": NOISY.argsort(axis=-1).argsort(axis=-1) + 1.0,
}


def solve(transform, given=None, **options):
    """`unfold` in float32, on the host."""
    given = PREFERENCES[transform] if given is None else given
    options = {"max_iters": 500} | options
    return jax.device_get(mds.unfold(given.astype(np.float32), K, transform=transform, **options))


def points_of(result):
    return np.concatenate([result.rows, result.columns], axis=-2)


@pytest.mark.parametrize(("transform", "least"), [("ratio", 0.99), ("interval", 0.93),
                                                  ("ordinal", 0.85)])
def test_it_finds_the_points_and_no_degenerate_ones(transform, least):
    result = solve(transform)
    points = points_of(result)
    correlation = mds.compare_configurations(points, POINTS).correlation
    assert np.mean(correlation) > least
    found, true = (np.std(d, axis=-1) / np.mean(d, axis=-1) for d in map(between, (points, POINTS)))
    np.testing.assert_allclose(np.mean(found), np.mean(true),
                               rtol=bound(0.15, 0.1))
    assert transform == "ordinal" or np.all(result.converged)
    disparities, distances = np.array(result.disparities), between(points)
    np.testing.assert_allclose(
        result.stress, np.sqrt(np.sum((disparities - distances) ** 2, axis=(-2, -1))
                               / np.sum(distances**2, axis=(-2, -1))), rtol=1e-3)
    in_order = np.take_along_axis(disparities, PREFERENCES[transform].argsort(axis=-1), axis=-1)
    assert np.min(np.diff(in_order, axis=-1)) >= -1e-6 and np.min(disparities) >= 0


def test_distances_give_the_points_up_to_a_motion():
    result = solve("ratio", between(POINTS))
    comparison = mds.compare_configurations(points_of(result), POINTS)
    assert np.max(comparison.disparity) < 1e-6
    np.testing.assert_allclose(between(points_of(result)), between(POINTS), atol=3e-3)


@pytest.mark.parametrize("transform", ["interval", "ordinal"])
def test_two_by_two_rarely_end_where_rows_lie_upon_columns(transform):
    """The singular vectors put them there: of 40, 12 and 15 used to stay."""
    given = np.random.default_rng(7).uniform(1, 3, (40, 2, 2))
    given[0] = [[2.29447554, 1.55075938], [2.72040161, 1.97142533]]
    stress = np.asarray(mds.unfold(given.astype(np.float32), 1, transform=transform).stress)
    assert stress[0] < 0.1 and np.mean(stress > 0.5) < 0.2


@pytest.mark.parametrize("transform", PREFERENCES)
def test_two_by_two_of_points_on_a_line_mostly_find_such_points(transform):
    """From singular vectors alone, 25 % (ratio) to 65 % did."""
    points = np.random.default_rng(8).standard_normal((40, 4, 1))
    given = between(points, 2).astype(np.float32)
    given[:3] = [[1, 2], [2, 1]], [[1, 2], [1, 2]], [[4, 2], [5, 1]]  # the last: 5 - 1 = 4
    stress = np.asarray(mds.unfold(given, 1, transform=transform).stress)
    assert np.mean(stress < 1e-3) > (0.9 if transform == "ratio" else 0.999)
    assert np.max(stress) < 0.5 and np.mean(stress) < 0.03
    assert stress[0] < 1e-6


def test_two_judges_of_three_objects_find_a_perfect_order():
    """From singular vectors alone, 5 of these 20 ended with stress of 0.7 to 1.4."""
    given = np.repeat(np.random.default_rng(3).uniform(1, 3, (20, 1, 3)), 2, axis=1)
    result = mds.unfold(given.astype(np.float32), 1, transform="ordinal")
    assert np.max(result.stress) < 1e-3


@pytest.mark.parametrize(("shape", "num_dims", "transform", "least"), [
    ((2, 5), 1, "ratio", 0.7), ((6, 6), 2, "ratio", 0.98), ((2, 5), 1, "interval", 0.8),
])
def test_few_points_are_mostly_found(shape, num_dims, transform, least):
    """From singular vectors alone: 17 %, 87 % and 28 %."""
    points = np.random.default_rng(1).standard_normal((50, sum(shape), num_dims))
    given = between(points, shape[0]).astype(np.float32)
    result = mds.unfold(given, num_dims, transform=transform)
    assert np.mean(result.stress < 0.01) >= least
    assert np.max(result.stress) < 0.5


@jax.jit
def penalized(points, disparities):
    """The loss as the docstring states it."""
    n = len(disparities)
    offsets = points[:n, None] - points[None, n:]
    distances = jnp.sqrt(jnp.sum(offsets**2, axis=-1))
    stress = jnp.sum((disparities - distances) ** 2, axis=1) / jnp.sum(disparities**2, axis=1)
    variation = jnp.std(disparities, axis=1) / jnp.mean(disparities, axis=1)
    return jnp.sqrt(jnp.mean(stress)) * jnp.mean(1 + 1 / variation**2)


slopes_of_loss = jax.jit(jax.grad(penalized, argnums=(0, 1)))


def few(transform):
    """(10, 8) preferences. One program per transform serves the tests in float64."""
    return PREFERENCES[transform][0, :10, :8]


@pytest.mark.parametrize("transform", ["interval", "ordinal"])
def test_no_direction_lowers_the_loss(transform, x64):
    given = few(transform)
    if transform == "ordinal":  # without structure: it cannot be solved perfectly
        given = np.random.default_rng(1).random(given.shape).argsort(axis=1) + 1.0
    result = mds.unfold(given, K, transform=transform, tolerance=1e-7)
    assert result.converged
    by_points, by_disparities = slopes_of_loss(points_of(result), result.disparities)
    np.testing.assert_allclose(by_points, 0, atol=1e-6)
    disparities, slopes = np.array(result.disparities), np.array(by_disparities)
    np.testing.assert_allclose(np.sum(slopes * disparities, axis=1), 0, atol=1e-4)
    inside = disparities.min(axis=1) > 1e-6  # elsewhere no disparity can be smaller
    np.testing.assert_allclose(np.sum(slopes, axis=1)[inside], 0, atol=1e-4)
    if transform == "interval":
        np.testing.assert_allclose(np.sum(slopes * given, axis=1)[inside], 0, atol=1e-3)
    else:  # to raise the larger disparities keeps the order, and must not help
        in_order = np.take_along_axis(slopes, given.argsort(axis=1), axis=1)
        raised = np.cumsum(in_order[:, ::-1], axis=1)[:, ::-1]
        assert raised.min() > -1e-4 and raised.max() > 1e-2


@pytest.mark.parametrize("transform", ["interval", "ordinal"])
def test_the_loss_never_rises(transform, x64):
    losses = []
    for max_iters in range(15):
        result = mds.unfold(few(transform), K, transform=transform, tolerance=0.0,
                            max_iters=max_iters)
        losses.append(float(penalized(points_of(result), result.disparities)))
    assert np.all(np.diff(losses) <= 1e-12) and losses[-1] < 0.9 * losses[0]


def test_missing_preferences_do_not_matter():
    given = PREFERENCES["ratio"].copy()
    hidden = np.random.default_rng(1).random((N, M)) < 0.1
    given[:, hidden] = np.nan
    result = solve("ratio", given)
    assert np.mean(mds.compare_configurations(points_of(result), POINTS).correlation) > 0.95
    assert (np.array(result.disparities)[:, hidden] == 0).all()
    given[:, hidden] = 77
    weighted = solve("ratio", given, weights=~hidden * 1.0)
    np.testing.assert_allclose(weighted.rows, result.rows, atol=1e-5)
    for transform in ("interval", "ordinal"):
        given = PREFERENCES[transform].copy()
        given[:, hidden] = np.nan
        result = solve(transform, given)
        correlation = mds.compare_configurations(points_of(result), POINTS).correlation
        assert np.mean(correlation) > 0.85


def test_derivatives_are_differences(x64):
    def solution(given):
        result = mds.unfold(given, K, tolerance=1e-10)
        offsets = result.rows[:, None] - result.columns[None]
        return (offsets**2).sum(axis=-1), result.stress

    assert_derivatives_are_differences(
        solution, NOISY[0], RNG.standard_normal((N, M)), number=1, atol=1e-4, pull_atol=1e-7)


def test_bad_problems_have_a_status_and_single_ones_raise():
    for transform, given in PREFERENCES.items():
        batch = given.copy()
        batch[0, 3] = np.nan
        batch[1] = 0
        batch[2, 1, 1] = np.inf
        batch[3, 1, 1] = -5
        result = solve(transform, batch, max_iters=20)
        status = mds.Status
        np.testing.assert_array_equal(
            result.status[:4],
            [status.DISCONNECTED, status.INVALID, status.NON_FINITE, status.INVALID])
        assert np.isnan(result.rows[:4]).all()
        np.testing.assert_array_equal(result.rows[4:], solve(transform, max_iters=20).rows[4:])
    assert np.isfinite(solve("ratio", np.ones((B, N, M))).rows).all()
    assert solve("ratio", PREFERENCES["ratio"][:0]).rows.shape == (0, N, K)
    batch = PREFERENCES["ratio"]
    message = "^preferences: expected some > 0, got only zeros"
    with jax.enable_x64(True), pytest.raises(ValueError, match=message):
        mds.unfold(0 * few("interval"), K, transform="interval")
    with pytest.raises(ValueError, match=r"transform: expected one of .* got 'spline'"):
        solve("spline", batch)
    with pytest.raises(ValueError, match="num_dims: expected 1 to 1 for 20 rows and 2 columns"):
        solve("ratio", batch[..., :2])


@pytest.mark.parametrize("transform", PREFERENCES)
def test_below_zero_by_rounding_is_zero_and_weights_are_numbers(transform):
    given, weights = PREFERENCES[transform].copy(), np.ones((B, N, M), np.float32)
    given[:, 1, 1] = 0
    expected = solve(transform, given, weights=weights, max_iters=20)
    given[:, 1, 1], weights[0, 1, 1], weights[1, 1, 1] = -1e-6, np.inf, np.nan
    found = solve(transform, given, weights=weights, max_iters=20)
    np.testing.assert_array_equal(found.status[:2], 2 * [mds.Status.INVALID])
    assert np.isnan(found.rows[:2]).all()
    np.testing.assert_allclose(found.rows[2:], expected.rows[2:], atol=1e-5)
