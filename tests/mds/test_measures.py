import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import euclidean, symmetric
from scipy.spatial.distance import pdist, squareform

from deepmds_jax import mds

# The triangle 3, 4, 5 against disparities 3, 5, 5: one residual of 1.
DISTANCES = np.array([[0.0, 3, 4], [3, 0, 5], [4, 5, 0]])
DISPARITIES = np.array([[0.0, 3, 5], [3, 0, 5], [5, 5, 0]])
FUNCTIONS = [
    mds.raw_stress, mds.normalized_stress, mds.stress, mds.stress_2, mds.stress_per_point
]
MEASURES = pytest.mark.parametrize("measure", FUNCTIONS)


@jax.jit
def all_measures(disparities, distances, weights=None):
    """One program, for the tests of all of them."""
    return {f.__name__: f(disparities, distances, weights) for f in FUNCTIONS}


def value_of(measure, *arguments):
    return all_measures(*arguments)[measure.__name__]


@jax.jit
def all_values_and_gradients(disparities, distances, weights=None):
    """Each measure, and the gradients of the sum of its sines by all that it depends on."""
    def summed(arguments, measure):
        value = measure(*arguments)
        return jnp.sum(jnp.sin(value)), value

    differentiate = jax.grad(summed, has_aux=True)
    return {f.__name__: differentiate((disparities, distances, weights), f) for f in FUNCTIONS}


def value_and_gradients(measure, *arguments):
    gradients, value = all_values_and_gradients(*arguments)[measure.__name__]
    return value, gradients


@pytest.mark.parametrize("dtype", [int, np.uint8, bool])
def test_distances_of_integers_are_not_cut(dtype):
    points = np.array([[0, 0], [1, 1], [1, 0]], dtype)
    expected = [[0, 2**0.5, 1], [2**0.5, 0, 1], [1, 1, 0]]
    np.testing.assert_allclose(mds.distances(points), expected, rtol=1e-6)


def test_stress_by_hand():
    found = all_measures(DISPARITIES, DISTANCES)
    assert found["raw_stress"] == pytest.approx(1)
    assert found["stress"] == pytest.approx((1 / (9 + 16 + 25)) ** 0.5)
    assert found["normalized_stress"] == pytest.approx(1 / (9 + 25 + 25))
    # The mean distance is 4: deviations -1, 0 and 1.
    assert found["stress_2"] == pytest.approx(0.5**0.5)
    # The pair (0, 2) alone has a residual.
    np.testing.assert_allclose(found["stress_per_point"], [0.5, 0, 0.5])


def test_weighted_stress_by_hand():
    # Weight 2 for the pair (0, 2), residual 1; 6 for (1, 2), none; the pair (0, 1) is missing.
    weights = np.array([[7.0, 0, 2], [0, 7, 6], [2, 6, 7]])  # the diagonal does not matter
    disparities = DISPARITIES.copy()
    disparities[0, 1] = disparities[1, 0] = np.nan
    found = all_measures(disparities, DISTANCES, weights)
    assert found["raw_stress"] == pytest.approx(2)
    assert found["stress"] == pytest.approx((2 / (2 * 16 + 6 * 25)) ** 0.5)
    assert found["normalized_stress"] == pytest.approx(2 / (8 * 25))
    # The mean distance is (2 * 4 + 6 * 5) / 8 = 4.75: deviations -0.75 and 0.25.
    spread = 2 * 0.75**2 + 6 * 0.25**2
    assert found["stress_2"] == pytest.approx((2 / spread) ** 0.5)
    np.testing.assert_allclose(found["stress_per_point"], [0.5, 0, 0.5])


def random_problem(shape=(2, 3), n=7):
    """Disparities and distances of a batch, and weights of which some are zero."""
    rng = np.random.default_rng(0)
    d = euclidean(rng.normal(size=(*shape, n, 2)))
    dhat, weights = rng.uniform(0.5, 2, size=(2, *shape, n, n))
    weights[..., 0, 3] = weights[..., 2, 4] = 0
    return symmetric(dhat), d, symmetric(weights)


@MEASURES
def test_measures_of_a_batch_are_those_of_its_problems(measure, dtype):
    dhat, d, weights = (x.astype(dtype) for x in random_problem())
    for arguments in ((dhat, d), (dhat, d, weights)):
        found = np.asarray(value_of(measure, *arguments))
        single = value_of(measure, *(x[1, 2] for x in arguments))
        assert found.dtype == dtype and found.shape == (2, 3, *single.shape)
        np.testing.assert_allclose(found[1, 2], single, rtol=1e-5)
    np.testing.assert_allclose(
        value_of(measure, dhat, d, np.ones_like(d)), value_of(measure, dhat, d), rtol=1e-5,
        atol=1e-7,
    )


@MEASURES
def test_missing_pairs_do_not_matter_whatever_they_hold(measure, x64):
    dhat, d, weights = random_problem()
    holes = np.where(weights == 0, np.nan, dhat)
    value, gradients = value_and_gradients(measure, holes, d, weights)
    expected_value, expected = value_and_gradients(measure, dhat, d, weights)
    np.testing.assert_array_equal(value, expected_value)
    for i in range(2):
        np.testing.assert_array_equal(gradients[i], expected[i])
    # For all finite pairs the derivative with respect to the weights is that without holes.
    assert np.isfinite(gradients[2]).all()
    observed = weights > 0
    np.testing.assert_array_equal(np.asarray(gradients[2])[observed],
                                  np.asarray(expected[2])[observed])


@MEASURES
def test_derivatives_agree_with_finite_differences(measure, x64):
    arguments = random_problem(shape=())
    tangents = np.random.default_rng(1).normal(size=(3, 7, 7))

    def summed(t):
        moved = [x + t * tangent for x, tangent in zip(arguments, tangents, strict=True)]
        return np.sum(np.sin(value_of(measure, *moved)))

    expected = (summed(1e-5) - summed(-1e-5)) / 2e-5
    _, gradients = value_and_gradients(measure, *arguments)
    found = sum(np.sum(g * t) for g, t in zip(gradients, tangents, strict=True))
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize("weighted", [False, True])
@MEASURES
def test_a_perfect_fit_is_zero_with_finite_derivatives(measure, weighted):
    _, d, weights = (x.astype(np.float32) for x in random_problem(shape=()))
    value, gradients = value_and_gradients(measure, d, d, weights if weighted else None)
    if measure is mds.stress_per_point:
        np.testing.assert_allclose(value, np.full(7, 1 / 7), rtol=1e-6)
    else:
        assert value == 0
    for gradient in gradients[:2]:
        assert np.isfinite(gradient).all()


def test_shares_of_the_points_add_up_to_one():
    dhat, d, weights = (x.astype(np.float32) for x in random_problem())
    shares = np.asarray(value_of(mds.stress_per_point, dhat, d, weights))
    np.testing.assert_allclose(np.sum(shares, axis=-1), np.ones((2, 3)), rtol=1e-6)
    squares = weights * (dhat - d) ** 2  # R's smacof: column means over their sum
    np.testing.assert_allclose(shares[0, 1], squares[0, 1].mean(0) / squares[0, 1].mean(0).sum(),
                               rtol=1e-5)


def test_stress_of_a_batch():
    batch = np.stack([DISTANCES, DISPARITIES])
    found = value_of(mds.stress, DISPARITIES[None], batch)
    np.testing.assert_allclose(found, [50**-0.5, 0], rtol=1e-6)


@pytest.mark.parametrize("shape", [(5, 2), (2, 4, 3), (3, 2, 6, 1)])
def test_distances_agree_with_scipy(shape):
    points = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = [squareform(pdist(problem)) for problem in points.reshape(-1, *shape[-2:])]
    expected = np.reshape(expected, (*shape[:-1], shape[-2]))
    np.testing.assert_allclose(jax.jit(mds.distances)(points), expected, rtol=1e-5, atol=1e-6)


def test_coincident_points_have_finite_gradients():
    points = np.float32([[0, 0], [0, 0], [3, 4]])
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(mds.distances(x))))(points)
    # Each of the first two is pulled by the third alone, once per ordered pair: 2 (-3, -4) / 5.
    np.testing.assert_allclose(gradient, [[-1.2, -1.6], [-1.2, -1.6], [2.4, 3.2]], rtol=1e-6)


@pytest.mark.parametrize("power", [-100, 100])
def test_ratios_of_sums_of_any_unit(power):
    """Powers of two only move the exponent: even the last bit must stay."""
    d, disparities = DISTANCES.astype(np.float32), DISPARITIES.astype(np.float32)
    weights = (1 + d) ** 0.3
    factor = np.float32(2) ** power
    expected = all_measures(disparities, d, weights)
    found = all_measures(factor * disparities, factor * d, weights / factor)
    for measure in FUNCTIONS[1:]:
        name = measure.__name__
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


SIX = np.ones((6, 6))
MISFITS = [
    ((3.0, SIX), r"disparities: expected shape \(..., n, n\), got \(\)"),
    ((np.ones(15), SIX), r"disparities: .* got \(15,\): these can be the pairs of 6 points"),
    ((SIX, SIX[:, :2]), r"distances: expected shape \(..., n, n\), got \(6, 2\)"),
    ((SIX, SIX[:1, :1]), "distances: expected as many points as the disparities have, 6, got"),
    ((SIX, SIX, SIX[:5, :5]), "weights: expected as many points as the disparities have, 6, got"),
    ((SIX, SIX, 0.5), r"weights: expected shape \(..., n, n\), got \(\)"),
    ((SIX, np.ones((2, 6, 6)), np.ones((3, 6, 6))),
     r"weights: expected leading axes that broadcast against \(2,\), got shape \(3, 6, 6\)"),
    ((SIX, "abc"), "distances: expected real numbers"),
    ((None, SIX), "disparities: expected real numbers"),
]


@MEASURES
def test_matrices_that_do_not_fit_are_refused(measure):
    for given, message in MISFITS:
        with pytest.raises(ValueError, match=f"^{message}"):
            measure(*given)
    with pytest.raises(ValueError, match=r"^distances: .* got \(6, 2\)"):
        jax.eval_shape(jax.vmap(measure), SIX[None], SIX[None, :, :2])


@MEASURES
def test_leading_axes_that_broadcast_and_lists(measure):
    problems = np.stack([DISTANCES, 2 * DISTANCES])[:, None]
    weights = np.stack([1 + np.ones((3, 3)), np.ones((3, 3)), SIX[:3, :3]])
    found = np.asarray(measure(DISPARITIES, problems, weights=weights))
    assert found.shape[:2] == (2, 3)
    np.testing.assert_allclose(found[1, 0], measure(DISPARITIES, 2 * DISTANCES, weights[0]),
                               rtol=1e-6)
    np.testing.assert_array_equal(measure(DISPARITIES.tolist(), DISTANCES),
                                  measure(DISPARITIES, DISTANCES))


@pytest.mark.parametrize("measure", FUNCTIONS[:3])
def test_blocks_of_matrices(measure):
    rng = np.random.default_rng(0)
    block, d, weights = rng.uniform(1, 2, (3, 2, 5, 8))
    rows = weights[..., :1]
    # The whole matrices, whose other pairs are missing.
    whole = [np.zeros((2, 13, 13)) for _ in range(3)]
    for full, part in zip(whole, (block, d, rows * np.ones(8)), strict=True):
        full[:, :5, 5:], full[:, 5:, :5] = part, part.swapaxes(1, 2)
    factor = 0.5 if measure is mds.raw_stress else 1
    expected = factor * np.asarray(measure(*whole))
    np.testing.assert_allclose(measure(block, d, rows), expected, rtol=1e-5)
    np.testing.assert_array_equal(measure(block, d), measure(block, d, np.ones((1, 1))))
    with pytest.raises(ValueError, match=r"^distances: expected shape \(..., 5, 8\) as the disp"):
        measure(block, d.swapaxes(1, 2))
    with pytest.raises(ValueError, match=r"^weights: expected shape \(..., 5, 8\) as the disp"):
        measure(block, d, np.ones((5, 2)))


@pytest.mark.parametrize("measure", FUNCTIONS[3:])
def test_measures_of_square_matrices_refuse_blocks(measure):
    with pytest.raises(ValueError, match=r"^disparities: expected shape \(..., n, n\), got"):
        measure(SIX[:5], SIX[:5])


@MEASURES
def test_weights_of_rows(measure):
    weights = np.array([[1.0], [2], [3]])
    np.testing.assert_allclose(measure(DISPARITIES, DISTANCES, weights),
                               measure(DISPARITIES, DISTANCES, weights * np.ones(3)), rtol=1e-6)
