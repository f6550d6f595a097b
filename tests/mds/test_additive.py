import jax
import numpy as np
import pytest
from problems import euclidean, symmetric

from deepmds_jax import mds


def by_lapack(dissimilarities):
    """Cailliez's eigenvalue of a 2n x 2n matrix, as R's cmdscale(add = TRUE) computes it."""
    n = len(dissimilarities)
    centring = np.eye(n) - 1 / n
    squares = centring @ dissimilarities**2 @ centring
    linear = centring @ dissimilarities @ centring
    matrix = np.block([[np.zeros((n, n)), -squares], [-np.eye(n), 2 * linear]])
    return np.linalg.eigvals(matrix).real.max()


def random_dissimilarities(n, seed=0):
    return symmetric(np.random.default_rng(seed).uniform(size=(n, n)))


def test_a_bent_triangle_by_hand(x64):
    # 1 + c, 1 + c and 5 + c: the two short sides reach the long one at c = 3.
    dissimilarities = np.array([[0.0, 1, 5], [1, 0, 1], [5, 1, 0]])
    assert mds.additive_constant(dissimilarities) == pytest.approx(3, rel=1e-12)


@pytest.mark.parametrize("name", ["eurodist", "stackloss"])
def test_agrees_with_r_cmdscale(load_oracle, name, dtype):
    oracle = load_oracle(name)
    found = mds.additive_constant(oracle.dissimilarities.astype(dtype))
    assert found.dtype == dtype
    rtol = 2e-6 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(found, oracle.additive_constant, rtol=rtol)


@pytest.mark.parametrize("n", [2, 3, 4, 7, 21, 100])
def test_agrees_with_lapack(n, dtype):
    dissimilarities = random_dissimilarities(n, seed=n)
    expected = by_lapack(dissimilarities)
    tolerance = 2e-6 if dtype == np.float32 else 1e-7  # LAPACK's: its eigenvalue 0 is double
    found = mds.additive_constant(dissimilarities.astype(dtype))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_the_sum_is_euclidean_and_no_smaller_one_is(x64):
    dissimilarities = random_dissimilarities(21)
    constant = mds.additive_constant(dissimilarities)

    def least_eigenvalue(c):
        centring = np.eye(21) - 1 / 21
        shifted = dissimilarities + c * (1 - np.eye(21))
        return np.linalg.eigvalsh(centring @ shifted**2 @ centring / -2)[0]

    assert least_eigenvalue(constant) > -1e-12
    assert least_eigenvalue(0.999 * constant) < -1e-3


def test_euclidean_distances_need_nothing(dtype):
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    for points in np.random.default_rng(0).standard_normal((3, 21, 2)):
        constant = mds.additive_constant(euclidean(points).astype(dtype))
        np.testing.assert_allclose(constant, 0, atol=tolerance)


def test_a_batch_with_a_failed_problem():
    batch = np.stack([random_dissimilarities(7, seed) for seed in range(3)]).astype(np.float32)
    alone = [float(mds.additive_constant(problem)) for problem in batch]
    batch[1, 2, 3] = batch[1, 3, 2] = np.nan
    found = np.asarray(jax.jit(mds.additive_constant)(batch[:, None]))
    assert found.shape == (3, 1)
    np.testing.assert_allclose(found[[0, 2], 0], [alone[0], alone[2]], rtol=1e-6)
    assert np.isnan(found[1, 0])


@jax.jit
def forward_and_reverse(dissimilarities, tangent):
    """The derivative along the tangent, and the gradient, from one linearization."""
    _, linear = jax.linearize(mds.additive_constant, dissimilarities)
    (gradient,) = jax.linear_transpose(linear, dissimilarities)(np.ones((), tangent.dtype))
    return linear(tangent), gradient


def test_derivatives_agree_with_finite_differences(x64):
    dissimilarities = random_dissimilarities(7)
    tangent = random_dissimilarities(7, seed=1)
    step = 1e-6
    high, low = (np.asarray(mds.additive_constant(dissimilarities + s * tangent))
                 for s in (step, -step))
    forward, gradient = forward_and_reverse(dissimilarities, tangent)
    reverse = np.sum(gradient * tangent)
    np.testing.assert_allclose([forward, reverse], (high - low) / (2 * step), rtol=1e-7)


def test_euclidean_distances_have_finite_gradients():
    square = euclidean(np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])).astype(np.float32)
    _, gradient = forward_and_reverse(square, square)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("bad", "message"),
    [(np.ones((3, 4)), r"expected shape \(..., n, n\)"), (-np.ones((3, 3)), "none < 0")],
)
def test_bad_input(bad, message):
    with pytest.raises(ValueError, match=message):
        mds.additive_constant(bad)
