import jax
import numpy as np
import pytest

from deepmds_jax import geometry
from deepmds_jax.geometry import centre

min_max = jax.jit(geometry.min_max)
standardize = jax.jit(geometry.standardize)


def test_min_max_is_joint_over_the_coordinates():
    # x in [2, 4], y in [0, 1]: jointly [0, 4].
    np.testing.assert_allclose(min_max(np.float32([[2, 0], [4, 1]])), [[0.5, 0], [1, 0.25]])


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_standardize_gives_unit_rms_distance_in_any_unit(unit):
    points = unit * np.random.default_rng(0).normal(size=(3, 50, 3)).astype(np.float32)
    standard = np.asarray(standardize(points))
    np.testing.assert_allclose(standard.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(np.mean(np.sum(standard**2, -1), -1), 1, rtol=1e-5)


def test_degenerate_configurations_are_nan_and_alone():
    points = np.stack([np.ones((5, 2)), np.arange(10).reshape(5, 2)]).astype(np.float32)
    for scaling in (min_max, standardize):
        scaled = np.asarray(scaling(points))
        assert np.isnan(scaled[0]).all()
        assert np.isfinite(scaled[1]).all()


def test_centre():
    np.testing.assert_allclose(centre(np.float32([[1, 2], [3, 6]])), [[-1, -2], [1, 2]])
