import jax
import numpy as np
import pytest
from scipy.spatial import procrustes

from deepmds_jax import mds


@pytest.mark.parametrize("shape", [(12, 1), (12, 2), (3, 12, 3), (2, 2, 12, 7)])
@pytest.mark.parametrize("noise", [0.01, 1.0, 30.0])
def test_agrees_with_scipy(shape, noise, dtype):
    rng = np.random.default_rng(0)
    a = (rng.normal(size=shape) + 3).astype(dtype)
    b = (5 * a[..., ::-1] + 5 * noise * rng.normal(size=shape)).astype(dtype)
    found = jax.device_get(mds.compare_configurations(a, b))
    assert found.aligned.shape == shape and found.disparity.dtype == dtype
    a, b = (x.reshape(-1, *shape[-2:]).astype(np.float64) for x in (a, b))
    expected = [procrustes(y, x) for x, y in zip(a, b, strict=True)]  # the second onto the first
    disparity = np.reshape([m2 for *_, m2 in expected], shape[:-2])
    rtol = 2e-4 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(found.disparity, disparity, rtol=rtol)
    np.testing.assert_allclose(found.correlation, np.sqrt(1 - disparity), rtol=rtol)
    for aligned, y, (standard, moved, _) in zip(
        found.aligned.reshape(a.shape), b, expected, strict=True
    ):
        centred = y - y.mean(0)
        np.testing.assert_allclose(standard, centred / np.linalg.norm(centred))
        np.testing.assert_allclose((aligned - y.mean(0)) / np.linalg.norm(centred), moved,
                                   atol=rtol)


disparity_gradient = jax.jit(jax.grad(lambda a, b: mds.compare_configurations(a, b).disparity))


def test_equal_shapes_have_disparity_zero_and_finite_gradients(x64):
    a = np.random.default_rng(1).normal(size=(9, 3))
    b = 0.1 * a @ np.diag([1, 1, -1.0]) + 7
    found = jax.device_get(mds.compare_configurations(a, b))
    np.testing.assert_allclose(found.aligned, b, rtol=1e-13)
    assert found.disparity < 1e-28
    assert found.correlation == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(disparity_gradient(a, b), 0, atol=1e-12)


def test_gradient_agrees_with_finite_differences(x64):
    a, b, tangent = np.random.default_rng(2).normal(size=(3, 9, 3))
    step = 1e-5
    high, low = (mds.compare_configurations(a + s * tangent, b).disparity for s in (step, -step))
    expected = (np.asarray(high) - np.asarray(low)) / (2 * step)
    np.testing.assert_allclose(np.sum(disparity_gradient(a, b) * tangent), expected, rtol=1e-7)


@pytest.mark.parametrize("unit_a", [1e-20, 1, 1e19])
@pytest.mark.parametrize("unit_b", [1e-20, 1e19])
def test_any_unit(unit_a, unit_b):
    a, noise = np.random.default_rng(4).normal(size=(2, 12, 2)).astype(np.float32)
    expected, found = jax.device_get([
        mds.compare_configurations(a, a + noise),
        mds.compare_configurations(np.float32(unit_a) * a, np.float32(unit_b) * (a + noise))])
    np.testing.assert_allclose(found.disparity, expected.disparity, rtol=1e-5)
    np.testing.assert_allclose(found.correlation, expected.correlation, rtol=1e-5)
    np.testing.assert_allclose(found.aligned / np.float32(unit_b), expected.aligned, atol=1e-5)


def test_disparity_is_the_same_either_way_round():
    a, b = np.random.default_rng(3).normal(size=(2, 12, 2)).astype(np.float32)
    there, back = mds.compare_configurations(a, 100 * b), mds.compare_configurations(100 * b, a)
    np.testing.assert_allclose(there.disparity, back.disparity, rtol=1e-5)


@pytest.mark.parametrize("shapes", [((5, 3), (6, 3)), ((5, 3), (5, 2)), ((5,), (5,)),
                                    ((2, 5, 3), (3, 5, 3))])
def test_wrong_shapes_raise(shapes):
    with pytest.raises(ValueError, match="b: expected"):
        mds.compare_configurations(*(np.ones(s, np.float32) for s in shapes))
