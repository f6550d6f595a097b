import jax
import numpy as np
import pytest
import scipy.optimize
from scipy.spatial.transform import Rotation

from deepmds_jax import geometry
from deepmds_jax.geometry import place_in_image

# Compiled once per shape, not operation by operation.
affine_rotation = jax.jit(geometry.affine_rotation)
rotation_from_angles = jax.jit(geometry.rotation_from_angles)
likely_rotations = jax.jit(jax.vmap(geometry.likely_rotations, in_axes=(None, 0, 0)))


@pytest.fixture(scope="module")
def shape():
    """A face-like slab: wide, high, half as deep."""
    return (np.random.default_rng(0).normal(size=(40, 3)) * [1, 1.2, 0.5]).astype(np.float32)


def photograph(shape, angles, scale, translation):
    rotation = np.asarray(rotation_from_angles(*map(float, angles)))
    return scale * (shape - shape.mean(0)) @ rotation.T[:, :2] + translation


def test_exact_landmarks_give_back_their_pose(shape):
    angles, scale, translation = (35.0, -20.0, 10.0), 150.0, np.float32([300, 220])
    x2d = photograph(shape, angles, scale, translation).astype(np.float32)
    placed = place_in_image(shape, x2d)
    found = [placed.yaw, placed.pitch, placed.roll]
    np.testing.assert_allclose(found, angles, atol=1e-2)
    np.testing.assert_allclose(placed.scale, scale, rtol=1e-5)
    np.testing.assert_allclose(placed.points[:, :2], x2d, atol=1e-2)  # on the photograph
    np.testing.assert_allclose(placed.translation, translation, rtol=1e-5)


def test_noisy_landmarks_reach_the_least_squares_optimum(shape):
    rng = np.random.default_rng(1)
    x2d = photograph(shape, (20.0, 5.0, -15.0), 100.0, 0.0) + rng.normal(size=(40, 2)) * 10

    def residuals(p):
        rotation = np.asarray(rotation_from_angles(*map(float, p[:3])), np.float64)
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
    batch = place_in_image(np.tile(shape, (5, 1, 1)), x2d)
    good = [0, 1, 2, 4]
    np.testing.assert_allclose(np.linalg.det(np.asarray(batch.rotation)[good]), 1, atol=1e-5)
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


def exact_view(shape, angles, scale=150.0, translation=(300, 220)):
    return photograph(shape, angles, scale, np.float32(translation)).astype(np.float32)


EVEN = np.full(40, 1 / 40, np.float32)


@pytest.mark.parametrize("angles", [
    (0, 0, 0), (35, -20, 10), (-80, 35, -30), (20, 10, 180), (10, -30, 100), (160, 0, 0),
])
def test_affine_rotation_of_an_orthographic_view_is_exact(shape, angles):
    found = affine_rotation(shape, exact_view(shape, angles), EVEN)
    np.testing.assert_allclose(found, rotation_from_angles(*map(float, angles)), atol=1e-3)
    np.testing.assert_allclose(np.linalg.det(found), 1, atol=1e-5)


def test_affine_rotation_does_not_look_at_points_of_weight_zero(shape):
    angles = (35.0, -20.0, 10.0)
    x2d, moved = exact_view(shape, angles), shape.copy()
    weights = np.r_[np.zeros(15), np.full(25, 1 / 25)].astype(np.float32)
    x2d[:15] += 1000 * np.random.default_rng(0).normal(size=(15, 2))
    moved[:15] += 3
    np.testing.assert_allclose(affine_rotation(moved, x2d, weights),
                               rotation_from_angles(*angles), atol=1e-3)


def test_affine_rotation_turns_with_the_image_and_scales_with_nothing(shape):
    rng = np.random.default_rng(1)
    x2d = exact_view(shape, (35, -20, 10)) + 10 * rng.normal(size=(40, 2)).astype(np.float32)
    plain = np.asarray(affine_rotation(shape, x2d, EVEN))
    c, s = np.cos(2.0), np.sin(2.0)
    turn = np.float32([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    for scale in (1e-2, 1, 50):
        turned = affine_rotation(shape, scale * x2d @ turn[:2, :2].T, EVEN)
        np.testing.assert_allclose(turned, turn @ plain, atol=1e-4)
    np.testing.assert_allclose(plain @ plain.T, np.eye(3), atol=1e-5)


def test_affine_rotation_is_near_the_least_squares_pose_of_noisy_points(shape):
    rng = np.random.default_rng(2)
    x2d = exact_view(shape, (20, 5, -15)) + 5 * rng.normal(size=(40, 2)).astype(np.float32)
    start = np.asarray(affine_rotation(shape, x2d, EVEN))
    best = np.asarray(place_in_image(shape, x2d).rotation)
    angle = Rotation.from_matrix(start @ best.T).magnitude()
    assert np.degrees(angle) < 3


def test_affine_rotation_of_batches_and_of_points_on_a_line(shape):
    x2d = np.stack([exact_view(shape, (a, 0, 0)) for a in (-40.0, 0.0, 60.0)] * 2)
    t = np.random.default_rng(3).normal(size=40)
    x2d[1] = t[:, None] * [30, 40]
    x2d[4] = np.nan
    found = affine_rotation(shape, x2d.reshape(2, 3, 40, 2), np.tile(EVEN, (2, 3, 1)))
    found = np.asarray(found).reshape(6, 3, 3)
    for i in (0, 2, 3, 5):
        np.testing.assert_allclose(found[i], affine_rotation(shape, x2d[i], EVEN), atol=1e-5)
    assert np.isfinite(found[1]).all()
    assert np.sum(found[1] ** 2) < 2.5  # of a rotation 3
    assert np.isnan(found[4]).all()


def test_affine_rotation_has_a_finite_gradient_at_an_exact_view_and_on_a_line(shape):
    gradient = jax.jit(jax.grad(lambda x: affine_rotation(shape, x, EVEN)[0, 2]))
    assert np.isfinite(gradient(exact_view(shape, (0, 0, 0)))).all()
    assert np.isfinite(gradient(np.float32([1, 2]) * np.arange(40.0, dtype="f")[:, None])).all()


def test_hidden_points_have_no_say(shape):
    x2d = exact_view(shape, (30.0, 10.0, -5.0))
    visible = np.arange(40) >= 12
    whole = place_in_image(shape, x2d)
    for filler in (0, np.nan, 1e6):
        filled = np.where(visible[:, None], x2d, np.float32(filler))
        placed = place_in_image(shape, filled, visible)
        np.testing.assert_allclose(placed.rotation, whole.rotation, atol=1e-4)
        np.testing.assert_allclose(placed.points, whole.points, rtol=1e-4, atol=0.05)
        np.testing.assert_allclose(placed.translation, whole.translation, atol=0.05)


def test_a_nan_face_has_nan_angles_and_its_neighbours_none(shape):
    views = np.stack([exact_view(shape, (30.0, 10.0, -5.0))] * 5)
    shapes = np.stack([shape, shape * np.nan, shape, shape, shape])
    views[2, 5] = np.nan
    placed = place_in_image(shapes, views)
    angles = np.stack([placed.yaw, placed.pitch, placed.roll], axis=1)
    np.testing.assert_allclose(angles[[0, 3, 4]], np.tile([30, 10, -5], (3, 1)), atol=1e-2)
    assert np.isnan(angles[1:3]).all()


def test_a_known_rotation_is_kept(shape):
    x2d, given = exact_view(shape, (30.0, 10.0, -5.0)), rotation_from_angles(25.0, 8.0, 0.0)
    placed = place_in_image(shape, x2d, rotation=given)
    np.testing.assert_allclose(placed.yaw, 25, atol=1e-3)

    def misfit(scale):
        image = scale * (shape - shape.mean(0)) @ np.asarray(given)[:2].T
        return np.sum((x2d - x2d.mean(0) - image) ** 2)

    best = scipy.optimize.minimize_scalar(misfit, bracket=(1, 100)).x
    np.testing.assert_allclose(placed.scale, best, rtol=1e-4)
    np.testing.assert_allclose(placed.translation, x2d.mean(0), rtol=1e-5)


def test_wrong_shapes_are_named(shape):
    x2d = exact_view(shape, (0, 0, 0))
    with pytest.raises(ValueError, match=r"visible: expected \(..., 40\) like x2d, got \(39,\)"):
        place_in_image(shape, x2d, np.ones(39, bool))
    with pytest.raises(ValueError, match=r"rotation: expected \(..., 3, 3\), got \(2, 2\)"):
        place_in_image(shape, x2d, rotation=np.eye(2))


def test_things_are_found_from_any_side(shape):
    rng = np.random.default_rng(4)
    turns = Rotation.random(50, rng=rng).as_matrix()
    x2d = 30 * shape @ turns[:, :2].swapaxes(1, 2) + 200
    visible = rng.random((50, 40)) < 0.8
    x2d = np.where(visible[..., None], x2d, np.nan).astype(np.float32)
    found = likely_rotations(shape, x2d, visible)
    np.testing.assert_allclose(found[:, 0], turns, atol=5e-2)
    np.testing.assert_allclose(np.linalg.det(found), 1, atol=1e-4)


def test_flat_things_have_two_poses(shape):
    flat = shape * [1, 1, 0]
    turn = Rotation.from_euler("xyz", [40, 20, 10], degrees=True).as_matrix()
    x2d = (flat @ turn[:2].T).astype(np.float32)
    alike = np.broadcast_to(x2d, (50, 40, 2))  # as many as above: the same program
    found = likely_rotations(flat.astype(np.float32), alike, np.ones((50, 40), bool))[0]
    other = turn * [[1, 1, -1], [1, 1, -1], [-1, -1, 1]]  # its depth the other way round
    errors = [np.abs(np.asarray(found) - x).max(axis=(1, 2)).min() for x in (turn, other)]
    assert max(errors) < 1e-2
