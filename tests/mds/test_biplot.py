import jax
import numpy as np
import pytest

from deepmds_jax import mds


def test_vectors_are_those_of_vegans_envfit(usage, x64):
    expected = usage("vectors")
    found = mds.fit_vectors(np.array(expected["points"]), np.array(expected["variables"]))
    np.testing.assert_allclose(found.directions, expected["arrows"], atol=1e-8)
    np.testing.assert_allclose(found.r_squared, expected["r"], rtol=1e-8)


def fit(points, variables):
    """`fit_vectors`, on the host."""
    return jax.device_get(mds.fit_vectors(points, variables))


def test_by_hand_and_in_a_batch():
    points = np.float32([[0, 0], [2, 0], [0, 2], [2, 2]])
    variables = np.float32([[1, 5, 1], [7, 5, np.nan], [9, 5, 1], [15, 5, 1]])
    found = fit(np.stack([points, points[:, ::-1]]), np.stack([variables] * 2))
    # The first is 1 + 3 x + 4 y.
    np.testing.assert_allclose(found.directions[0, 0], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(found.directions[1, 0], [0.8, 0.6], rtol=1e-6)
    np.testing.assert_allclose(found.r_squared[:, 0], 1, rtol=1e-6)
    assert np.isnan(found.r_squared[:, 1:]).all()
    with pytest.raises(ValueError, match=r"variables: expected shape \(..., n, m\) and points"):
        mds.fit_vectors(points, variables[:3])


def test_any_unit_and_constants_that_no_float_is_equal_to():
    points = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    variables = np.stack([points[:, 0] ** 2, np.full(5, 12345.678)], axis=1).astype(np.float32)
    found = fit(points, variables)
    assert np.isnan(found.directions[1]).all() and np.isnan(found.r_squared[1])
    for unit in (1e30, 1e-30):
        other = fit(points * np.float32(unit), variables * np.float32(unit))
        np.testing.assert_allclose(other.directions, found.directions, atol=1e-5)
        np.testing.assert_allclose(other.r_squared, found.r_squared, rtol=1e-4)


@jax.jit
@jax.grad
def gradient_of_first(points, variables):
    return mds.fit_vectors(points, variables).r_squared[0]


@pytest.mark.parametrize("unknown", [3.0, np.nan])
def test_variables_that_are_unknown_leave_the_derivatives_of_others(unknown):
    rng = np.random.default_rng(0)
    points, variables = (rng.normal(size=(9, k)).astype(np.float32) for k in (2, 2))
    variables[:, 1] = unknown

    alone = gradient_of_first(points, variables[:, :1])
    assert np.max(np.abs(alone)) > 1e-3
    np.testing.assert_allclose(gradient_of_first(points, variables), alone, atol=1e-6)


def test_a_variable_without_a_direction_has_finite_derivatives():
    square = np.float32([[1, 0], [-1, 0], [0, 1], [0, -1]])
    apart = np.float32([[1], [1], [-1], [-1]])  # no line explains any of it
    np.testing.assert_allclose(mds.fit_vectors(square, apart).directions, 0, atol=1e-6)
    change = jax.jit(jax.grad(lambda v: mds.fit_vectors(square, v).directions.sum()))(apart)
    assert np.isfinite(change).all()


def test_axes_that_are_zero_have_no_part():
    points = np.float32([[-1, 0], [0, 0], [1, 0]])
    found = fit(points, points[:, :1] ** 2 + 2 * points[:, :1])
    np.testing.assert_array_equal(found.directions, [[1, 0]])
    # Of 2 x + x^2 = -1, 0, 3: the line explains 8 of 26 / 3.
    np.testing.assert_allclose(found.r_squared, [8 / (26 / 3)], rtol=1e-6)
