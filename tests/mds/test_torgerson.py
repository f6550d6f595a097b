import jax
import numpy as np
import pytest
from problems import euclidean

from deepmds_jax import mds


def detailed(dissimilarities, num_dims):
    """`classical_detailed`, on the host."""
    return jax.device_get(mds.classical_detailed(dissimilarities, num_dims))


@pytest.mark.parametrize(
    ("num_dims", "dtype"), [(2, "float32"), (3, "float64")], indirect=["dtype"]
)
def test_agrees_with_r_cmdscale(oracle, num_dims, dtype):
    points = np.asarray(mds.classical(oracle.dissimilarities.astype(dtype), num_dims))
    expected = oracle.start(num_dims)
    assert points.dtype == dtype
    points = points * np.sign(np.sum(points * expected, axis=0))  # axes may point either way
    tolerance = 3e-4 if dtype == np.float32 else 1e-8
    np.testing.assert_allclose(points, expected, atol=tolerance * np.abs(expected).max())
    np.testing.assert_allclose(
        np.sum(points**2, axis=0), oracle.eigenvalues[:num_dims], rtol=tolerance / 10
    )


def test_euclidean_distances_are_reproduced(dtype):
    points = np.random.default_rng(0).standard_normal((2, 3, 9, 3)).astype(dtype)
    distances = euclidean(points)
    embedded = np.asarray(mds.classical(distances, 3))
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(euclidean(embedded), distances, atol=tolerance)
    np.testing.assert_allclose(np.mean(embedded, axis=-2), 0, atol=tolerance)


def test_points_on_a_line_leave_the_other_axes_zero(x64):
    distances = euclidean(np.arange(6.0)[:, None])
    embedded = np.asarray(mds.classical(distances, 3))
    np.testing.assert_allclose(np.abs(embedded[:, 0]), [2.5, 1.5, 0.5, 0.5, 1.5, 2.5])
    np.testing.assert_allclose(embedded[:, 1:], 0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_unit_does_not_matter(scale):
    distances = np.float32([[0, 3, 4], [3, 0, 5], [4, 5, 0]])
    embedded = np.asarray(mds.classical(distances * np.float32(scale), 2), np.float64)
    np.testing.assert_allclose(euclidean(embedded / scale), distances, rtol=1e-5, atol=1e-7)


def test_a_bad_problem_leaves_its_neighbours_alone():
    good = np.float32([[0, 3, 4], [3, 0, 5], [4, 5, 0]])
    embedded = np.asarray(mds.classical(np.stack([good, np.full_like(good, np.nan)]), 2))
    np.testing.assert_allclose(euclidean(embedded[0]), good, rtol=1e-5, atol=1e-6)
    assert np.isnan(embedded[1]).all()


def test_eigenvalues_and_shares_are_those_of_r(usage, load_oracle, x64):
    names = ["eurodist", "USArrests"]  # not Euclidean, and Euclidean
    found = detailed(np.stack([load_oracle(n).dissimilarities for n in names]), 2)
    for i, name in enumerate(names):
        expected = usage("classical")[name]
        atol = 1e-9 * expected["eigenvalues"][0]
        np.testing.assert_allclose(found.eigenvalues[i], expected["eigenvalues"], atol=atol)
        gof = np.sum(found.share[i]), np.sum(found.share_of_positive[i])
        np.testing.assert_allclose(gof, expected["gof"], rtol=1e-9)
    alone = mds.classical(load_oracle("eurodist").dissimilarities, 2)
    np.testing.assert_allclose(found.embedding[0], alone, rtol=1e-9)


def test_shares_of_three_equal_distances_by_hand(x64):
    # An equilateral triangle: two equal axes. Of unit 1e200, whose square float64 does not have.
    found = detailed(1e200 * (1 - np.eye(3)), 2)
    np.testing.assert_allclose(found.share, [0.5, 0.5])
    np.testing.assert_allclose(found.share_of_positive, [0.5, 0.5])
    # 1, 1 and 4 are sides of no triangle. The eigenvalue of (1, -1, 0) is 16 / 2, all add up to
    # (16 + 1 + 1) / 3, and one is zero.
    sides = np.array([[0.0, 4, 1], [4, 0, 1], [1, 1, 0]])
    found = detailed(np.stack([sides, np.zeros((3, 3))]), 2)
    np.testing.assert_allclose(found.eigenvalues[0], [8, 0, -2], atol=1e-12)
    np.testing.assert_allclose(found.share[0], [0.8, 0], atol=1e-12)
    np.testing.assert_allclose(found.share_of_positive[0], [1, 0], atol=1e-12)
    assert all(np.isnan(part[1]).all() for part in found)
    with pytest.raises(ValueError, match="only zeros"):
        mds.classical_detailed(np.zeros((3, 3)), 2)


def test_jit_is_eager():
    distances = np.float32([[0, 3, 4], [3, 0, 5], [4, 5, 0]])
    compiled = jax.jit(lambda d: mds.classical(d, 2))(distances)
    np.testing.assert_array_equal(compiled, mds.classical(distances, 2))
