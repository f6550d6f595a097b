import jax
import numpy as np
import pytest
import scipy.optimize

from deepmds_jax.geometry import place_in_image, rotation_from_angles


@pytest.fixture(scope="module")
def shape():
    """A face-like slab: wide, high, half as deep."""
    return (np.random.default_rng(0).normal(size=(40, 3)) * [1, 1.2, 0.5]).astype(np.float32)


def photograph(shape, angles, scale, translation):
    rotation = np.asarray(rotation_from_angles(*angles))
    return scale * (shape - shape.mean(0)) @ rotation.T[:, :2] + translation


def test_exact_landmarks_give_back_their_pose(shape):
    angles, scale, translation = (35.0, -20.0, 10.0), 150.0, np.float32([300, 220])
    x2d = photograph(shape, angles, scale, translation).astype(np.float32)
    placed = jax.jit(place_in_image)(shape, x2d)
    found = [placed.yaw, placed.pitch, placed.roll]
    np.testing.assert_allclose(found, angles, atol=1e-2)
    np.testing.assert_allclose(placed.scale, scale, rtol=1e-5)
    np.testing.assert_allclose(placed.points[:, :2], x2d, atol=1e-2)  # on the photograph
    np.testing.assert_allclose(placed.translation, translation, rtol=1e-5)


def test_noisy_landmarks_reach_the_least_squares_optimum(shape):
    rng = np.random.default_rng(1)
    x2d = photograph(shape, (20.0, 5.0, -15.0), 100.0, 0.0) + rng.normal(size=(40, 2)) * 10

    def residuals(p):
        rotation = np.asarray(rotation_from_angles(*p[:3].astype(np.float32)), np.float64)
        return (p[3] * (shape - shape.mean(0)) @ rotation.T[:, :2] + p[4:] - x2d).ravel()

    start = np.array([20, 5, -15, 100, 0, 0], float)
    best = scipy.optimize.least_squares(residuals, start, diff_step=1e-3).cost
    placed = place_in_image(shape, x2d.astype(np.float32))
    ours = 0.5 * np.sum((placed.points[:, :2] - x2d) ** 2)
    assert ours <= best * (1 + 1e-4)


def test_the_pose_is_proper_and_batches_do_not_mix(shape):
    rng = np.random.default_rng(2)
    x2d = rng.normal(size=(5, 40, 2)).astype(np.float32) * 50
    x2d[3] = np.nan
    batch = jax.jit(place_in_image)(np.tile(shape, (5, 1, 1)), x2d)
    good = [0, 1, 2, 4]
    np.testing.assert_allclose(np.linalg.det(batch.rotation[np.array(good)]), 1, atol=1e-5)
    assert np.isnan(batch.points[3]).all()
    for i in good:
        alone = place_in_image(shape, x2d[i])
        np.testing.assert_allclose(batch.points[i], alone.points, atol=1e-2)


def test_one_shape_in_many_images(shape):
    x2d = np.random.default_rng(3).normal(size=(4, 40, 2)).astype(np.float32)
    placed = place_in_image(shape, x2d)
    assert placed.points.shape == (4, 40, 3)
    np.testing.assert_allclose(placed.points[2], place_in_image(shape, x2d[2]).points, atol=1e-4)
    many = place_in_image(np.tile(shape, (3, 1, 1)), x2d[0])
    np.testing.assert_allclose(many.points[1], place_in_image(shape, x2d[0]).points, atol=1e-4)


def test_wrong_shapes_raise(shape):
    with pytest.raises(ValueError, match=r"\(39, 2\)"):
        place_in_image(shape, np.ones((39, 2), np.float32))
