import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from deepmds_jax import mds

# The triangle 3, 4, 5 against disparities 3, 5, 5: one residual of 1.
DISTANCES = np.array([[0.0, 3, 4], [3, 0, 5], [4, 5, 0]])
DISPARITIES = np.array([[0.0, 3, 5], [3, 0, 5], [5, 5, 0]])


def test_stress_by_hand():
    assert mds.raw_stress(DISPARITIES, DISTANCES) == pytest.approx(1)
    assert mds.stress(DISPARITIES, DISTANCES) == pytest.approx((1 / (9 + 16 + 25)) ** 0.5)
    assert mds.normalized_stress(DISPARITIES, DISTANCES) == pytest.approx(1 / (9 + 25 + 25))


def test_stress_of_a_batch():
    batch = np.stack([DISTANCES, DISPARITIES])
    np.testing.assert_allclose(mds.stress(DISPARITIES[None], batch), [50**-0.5, 0], rtol=1e-6)


@pytest.mark.parametrize("shape", [(5, 2), (2, 4, 3), (3, 2, 6, 1)])
def test_distances_agree_with_scipy(shape):
    points = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = [squareform(pdist(problem)) for problem in points.reshape(-1, *shape[-2:])]
    expected = np.reshape(expected, (*shape[:-1], shape[-2]))
    np.testing.assert_allclose(mds.distances(points), expected, rtol=1e-5, atol=1e-6)


def test_coincident_points_have_finite_gradients():
    points = jnp.array([[0.0, 0], [0, 0], [3, 4]])
    gradient = jax.grad(lambda x: jnp.sum(mds.distances(x)))(points)
    # Each of the first two is pulled by the third alone, once per ordered pair: 2 (-3, -4) / 5.
    np.testing.assert_allclose(gradient, [[-1.2, -1.6], [-1.2, -1.6], [2.4, 3.2]], rtol=1e-6)
