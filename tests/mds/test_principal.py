import jax
import numpy as np
import pytest
from problems import euclidean

from deepmds_jax import mds


def test_axes_are_those_of_principal_components(usage, x64):
    points = 5 + np.array(usage("searched")["stackloss"]["configuration"])
    found = np.asarray(mds.to_principal_axes(points))
    centred = points - points.mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes.T
    expected *= np.sign(expected[np.abs(expected).argmax(0), range(3)])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), sizes)
    # vegan's metaMDS has done the same.
    np.testing.assert_allclose(np.abs(found), np.abs(centred), atol=1e-9)


def test_solutions_of_one_shape_become_the_same_points():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((9, 2)) * [3, 1]
    turn = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    both = np.stack([points, (points @ turn) * [1, -1] + 7]).astype(np.float32)
    one, other = np.asarray(mds.to_principal_axes(both))
    assert one.dtype == np.float32
    np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(euclidean(one), euclidean(points), rtol=1e-5, atol=1e-5)


def test_differentiable_and_odd_shapes():
    assert mds.to_principal_axes(np.array([[0], [1], [2], [5]])).ravel().tolist() == [-2, -1, 0, 3]
    points = np.random.default_rng(1).standard_normal((5, 2)).astype(np.float32)
    # Distances do not depend on the turn.
    slope = jax.jit(jax.grad(lambda x: mds.to_principal_axes(x).var()))(points)
    # Of the mean of squares: the centre's own part cancels.
    expected = 2 * (points - points.mean(0)) / points.size
    np.testing.assert_allclose(slope, expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"points: expected shape \(..., n, k\), got \(3,\)"):
        mds.to_principal_axes(np.zeros(3))
