import functools

import jax
import numpy as np
import pytest
from scipy.optimize import minimize

from deepmds_jax.mds.placement import place


def random_problem(seed, n=20, num_dims=3, num_new=6, noise=0.0):
    """Fitted points, new points, and distances between them that are off by random factors."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((n, num_dims)) + 2
    new = 1.5 * rng.standard_normal((num_new, num_dims)) + 2
    distances = np.linalg.norm(new[:, None] - points, axis=-1)
    return points, new, distances * np.exp(noise * rng.standard_normal(distances.shape))


def loss(x, points, disparities, weights=1):
    return np.sum(weights * (disparities - np.linalg.norm(x - points, axis=-1)) ** 2)


def slope(x, points, disparities):
    """The gradient of the loss, with weights of 1."""
    offsets = x - points
    distances = np.linalg.norm(offsets, axis=-1)
    return 2 * np.sum(((distances - disparities) / distances)[:, None] * offsets, axis=0)


def losses(new, points, disparities):
    new = np.asarray(new, np.float64)
    return np.array([loss(x, points, row) for x, row in zip(new, disparities, strict=True)])


def minimum(points, disparities):
    """The lowest of many independently found minima."""
    spread = 2 * np.random.default_rng(0).standard_normal((30, points.shape[1]))
    runs = (minimize(loss, x, (points, disparities), jac=slope) for x in points.mean(0) + spread)
    return min(runs, key=lambda run: run.fun).x


@functools.cache
def noisy_problem_and_minima(num_dims):
    points, _, disparities = random_problem(1, num_dims=num_dims, noise=0.2)
    return points, disparities, [minimum(points, row) for row in disparities]


def place_by_six(points, disparities):
    """`place` in calls of the size of `random_problem`, which share a compiled program."""
    return np.concatenate([place(points, disparities[i:i + 6])
                           for i in range(0, len(disparities), 6)])


@pytest.mark.parametrize("num_dims", [1, 2, 3, 5])
def test_distances_without_error_give_the_place(num_dims, dtype):
    points, new, distances = random_problem(0, num_dims=num_dims)
    placed = place(points.astype(dtype), distances.astype(dtype))
    assert placed.dtype == dtype
    np.testing.assert_allclose(placed, new, atol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_distances_with_errors_give_the_least_loss(num_dims, dtype):
    points, disparities, expected = noisy_problem_and_minima(num_dims)
    placed = place(points.astype(dtype), disparities.astype(dtype), tolerance=0)
    np.testing.assert_allclose(placed, expected, atol=2e-5 if dtype == "float64" else 2e-3)
    np.testing.assert_allclose(
        losses(placed, points, disparities), losses(expected, points, disparities), rtol=1e-5
    )


def test_the_right_side_of_a_nearly_flat_configuration():
    points, new, _ = random_problem(2, num_new=60)
    center = points.mean(0)
    points, new = ((x - center) * [1, 1, 0.1] for x in (points, new))
    exact = np.linalg.norm(new[:, None] - points, axis=-1)
    np.testing.assert_allclose(place_by_six(points, exact), new, atol=1e-4)
    disparities = exact * np.exp(0.1 * np.random.default_rng(0).standard_normal(exact.shape))
    placed = place_by_six(points, disparities)
    rivals = [
        minimize(loss, x * [1, 1, -1], (points, row), jac=slope).x
        for x, row in zip(placed, disparities, strict=True)
    ]
    ours, theirs = losses(placed, points, disparities), losses(rivals, points, disparities)
    assert np.all(ours <= theirs * (1 + 1e-5))
    assert np.sum(ours < theirs * (1 - 1e-5)) > 5  # there are minima to avoid


def test_local_minima_in_one_dimension_are_rare():
    rng = np.random.default_rng(0)
    points, new = rng.standard_normal((20, 4)), 1.5 * rng.standard_normal((198, 4))
    disparities = np.linalg.norm(new[:, None] - points, axis=-1)
    line = np.linspace(-10, 10, 2001)
    table = np.sum((disparities[:, None] - np.abs(line[:, None] - points[:, 0])) ** 2, axis=-1)
    placed = place_by_six(points[:, :1], disparities)
    ours = losses(placed, points[:, :1], disparities)
    assert np.mean(ours <= table.min(axis=1) * (1 + 1e-4)) > 0.95


def test_off_a_line_of_points():
    points = np.array([[-1.0, 0], [0, 0], [2, 0]])
    # (0, 2) and (0, -2) are equally good.
    placed = place(points, np.array([5**0.5, 2, 8**0.5]))
    np.testing.assert_allclose(np.abs(placed), [0, 2], atol=1e-5)
    # One point alone fixes only the distance to it, and so do coincident points.
    alone = place(points, np.array([np.nan, np.nan, 3.0]))
    np.testing.assert_allclose(np.linalg.norm(np.asarray(alone) - points[2]), 3, rtol=1e-6)
    coincident = place(np.ones((3, 2)), np.full(3, 2.0))
    np.testing.assert_allclose(np.linalg.norm(np.asarray(coincident) - 1), 2, rtol=1e-6)


def test_disparity_zero_is_placed_on_the_point():
    points, _, disparities = random_problem(3, noise=0.5)
    points = points.astype(np.float32)
    disparities[0, 7] = disparities[1, [4, 9]] = disparities[2, 5] = 0
    weights = np.ones_like(disparities)
    weights[2, 5] = 0
    placed = np.asarray(place(points, disparities, weights))
    np.testing.assert_array_equal(placed[:2], points[[7, 4]])
    assert np.linalg.norm(placed[2] - points[5]) > 0.1  # that zero is not observed


def test_missing_is_left_out(x64):
    points, _, disparities = random_problem(4, noise=0.3)
    expected = place(points[8:], disparities[:, 8:], np.ones(12))
    for missing in (np.nan, 0, 1e30):
        holed = disparities.copy()
        holed[:, :8] = missing
        weights = None if np.isnan(missing) else np.arange(20) >= 8
        np.testing.assert_allclose(place(points, holed, weights), expected, atol=1e-8)


def test_weight_two_counts_twice(x64):
    points, _, disparities = random_problem(5, n=12, noise=0.3)
    weights = np.where(np.arange(12) < 8, 2, 1)
    repeated = place(np.r_[points, points[:8]], np.c_[disparities, disparities[:, :8]])
    weighted = np.asarray(place(points, disparities, weights))
    np.testing.assert_allclose(weighted, repeated, atol=1e-8)
    assert np.abs(weighted - place(points, disparities, np.ones(12))).max() > 1e-2


def test_neighbours_change_nothing():
    points, _, disparities = random_problem(6, num_new=300, noise=0.3)  # more than one batch
    points, disparities = points.astype(np.float32), disparities.astype(np.float32)
    expected = np.asarray(place(points, disparities))
    changed = disparities.copy()
    changed[3], changed[5, 0], changed[290] = np.nan, np.inf, 1e-3
    placed = np.asarray(place(points, changed))
    assert np.isnan(placed[[3, 5]]).all()  # nothing known, not finite
    assert np.isfinite(placed[290]).all()
    others = np.setdiff1d(np.arange(300), [3, 5, 290])
    np.testing.assert_array_equal(placed[others], expected[others])
    alone = place(points, disparities[0])
    assert alone.shape == (3,)
    np.testing.assert_allclose(alone, expected[0], atol=1e-4)
    folded = np.asarray(place(points, disparities.reshape(3, 100, 20)))
    np.testing.assert_array_equal(folded.reshape(300, 3), expected)
    mapped = jax.jit(jax.vmap(place, in_axes=(None, 0)))(points, disparities)
    # A loss that is flat about its minimum lets the rounding of another program show.
    np.testing.assert_allclose(mapped, expected, atol=3e-4)


@pytest.mark.parametrize("unit", [1e-15, 1e15])
def test_unit_of_length(unit):
    points, _, disparities = random_problem(7, noise=0.3)
    scaled = place(np.float32(unit * points), np.float32(unit * disparities))
    placed = np.asarray(scaled, np.float64) / unit
    np.testing.assert_allclose(placed, place(points, disparities), atol=1e-4)


def test_step_limit():
    points, _, disparities = random_problem(8, noise=0.5)
    totals = [
        losses(place(points, disparities, max_iters=i, tolerance=0), points, disparities).sum()
        for i in range(5)
    ]
    assert np.all(np.diff(totals) <= 1e-6 * totals[0])
    assert totals[-1] < totals[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 4, 3)), np.ones(4)), r"points: expected shape \(n, k\), got \(2, 4, 3\)"),
        ((np.ones((4, 3)), np.ones((4, 3))), r"disparities: expected shape \(\.\.\., 4\), got"),
        ((np.ones((4, 3)), np.ones(4), np.ones(3)), r"weights: expected to broadcast to \(4,\)"),
        ((np.ones((4, 3)), -np.ones(4)), "disparities: expected none < 0, got -1"),
        ((np.ones((4, 3)), np.ones(4), -np.ones(4)), "weights: expected none < 0, got -1"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        place(*arguments)
