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
    # The mean distance is 4: deviations -1, 0 and 1.
    assert mds.stress_2(DISPARITIES, DISTANCES) == pytest.approx(0.5**0.5)
    # The pair (0, 2) alone has a residual.
    np.testing.assert_allclose(mds.stress_per_point(DISPARITIES, DISTANCES), [0.5, 0, 0.5])


def test_weighted_stress_by_hand():
    # Weight 2 for the pair (0, 2), residual 1; 6 for (1, 2), none; the pair (0, 1) is missing.
    weights = np.array([[7.0, 0, 2], [0, 7, 6], [2, 6, 7]])  # the diagonal does not matter
    disparities = DISPARITIES.copy()
    disparities[0, 1] = disparities[1, 0] = np.nan
    assert mds.raw_stress(disparities, DISTANCES, weights) == pytest.approx(2)
    sum_of_squares = 2 * 16 + 6 * 25
    assert mds.stress(disparities, DISTANCES, weights) == pytest.approx((2 / sum_of_squares) ** 0.5)
    assert mds.normalized_stress(disparities, DISTANCES, weights) == pytest.approx(2 / (8 * 25))
    # The mean distance is (2 * 4 + 6 * 5) / 8 = 4.75: deviations -0.75 and 0.25.
    spread = 2 * 0.75**2 + 6 * 0.25**2
    assert mds.stress_2(disparities, DISTANCES, weights) == pytest.approx((2 / spread) ** 0.5)
    np.testing.assert_allclose(
        mds.stress_per_point(disparities, DISTANCES, weights), [0.5, 0, 0.5]
    )


MEASURES = [
    mds.raw_stress, mds.normalized_stress, mds.stress, mds.stress_2, mds.stress_per_point
]


def random_problem(shape=(2, 3), n=7):
    """Disparities and distances of a batch, and weights of which some are zero."""
    rng = np.random.default_rng(0)
    d = np.asarray(mds.distances(rng.normal(size=(*shape, n, 2))))
    dhat, weights = (np.triu(x, 1) for x in rng.uniform(0.5, 2, size=(2, *shape, n, n)))
    weights[..., 0, 3] = weights[..., 2, 4] = 0
    return dhat + dhat.mT, d, weights + weights.mT


@pytest.mark.parametrize("measure", MEASURES)
def test_measures_of_a_batch_are_those_of_its_problems(measure, dtype):
    dhat, d, weights = (x.astype(dtype) for x in random_problem())
    for arguments in ((dhat, d), (dhat, d, weights)):
        found = jax.jit(measure)(*arguments)
        single = measure(*(x[1, 2] for x in arguments))
        assert found.dtype == dtype and found.shape == (2, 3, *single.shape)
        np.testing.assert_allclose(found[1, 2], single, rtol=1e-5)
    np.testing.assert_allclose(
        measure(dhat, d, np.ones_like(d)), measure(dhat, d), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_missing_pairs_do_not_matter_whatever_they_hold(measure, x64):
    dhat, d, weights = random_problem()
    holes = np.where(weights == 0, np.nan, dhat)

    def summed(dhat, d, weights):
        return jnp.sum(jnp.sin(measure(dhat, d, weights)))

    np.testing.assert_array_equal(measure(holes, d, weights), measure(dhat, d, weights))
    for found, expected in zip(
        jax.grad(summed, (0, 1))(holes, d, weights),
        jax.grad(summed, (0, 1))(dhat, d, weights), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    # For all finite pairs the derivative with respect to the weights is that without holes.
    found, expected = (jax.grad(summed, 2)(x, d, weights) for x in (holes, dhat))
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[weights > 0], expected[weights > 0])


@pytest.mark.parametrize("measure", MEASURES)
def test_derivatives_agree_with_finite_differences(measure, x64):
    arguments = random_problem(shape=())
    tangents = np.random.default_rng(1).normal(size=(3, 7, 7))

    def summed(t):
        moved = [x + t * tangent for x, tangent in zip(arguments, tangents, strict=True)]
        return jnp.sum(jnp.sin(measure(*moved)))

    expected = (summed(1e-5) - summed(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(summed)(0.0), expected, rtol=1e-7)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("measure", MEASURES)
def test_a_perfect_fit_is_zero_with_finite_derivatives(measure, weighted):
    _, d, weights = (jnp.asarray(x, jnp.float32) for x in random_problem(shape=()))
    weights = weights if weighted else None
    if measure is mds.stress_per_point:
        np.testing.assert_allclose(measure(d, d, weights), np.full(7, 1 / 7), rtol=1e-6)
    else:
        assert measure(d, d, weights) == 0
    for gradient in jax.grad(lambda x, y: jnp.sum(measure(x, y, weights)), (0, 1))(d, d):
        assert np.isfinite(gradient).all()


def test_shares_of_the_points_add_up_to_one():
    dhat, d, weights = (x.astype(np.float32) for x in random_problem())
    shares = mds.stress_per_point(dhat, d, weights)
    np.testing.assert_allclose(jnp.sum(shares, axis=-1), np.ones((2, 3)), rtol=1e-6)
    squares = weights * (dhat - d) ** 2  # R's smacof: column means over their sum
    np.testing.assert_allclose(shares[0, 1], squares[0, 1].mean(0) / squares[0, 1].mean(0).sum(),
                               rtol=1e-5)


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
