"""The jaw slides to the visible contour of a head that is an upright cylinder of radius 1."""

import jax
import numpy as np
import pytest

from deepmds_jax.data.augmentation import Augmentation, augmented_faces, deformation_basis
from deepmds_jax.data.outline import jaw_landmarks, slide
from deepmds_jax.data.views import Choice, Faces, ViewGroup, view_shapes

STEPS = 17  # points of a line, landmark included: every 5 degrees from 100 degrees off the front
NUM = 2000
RIGHT, LEFT = np.arange(8), np.arange(9, 17)


def on_cylinder(azimuth, height):
    """Points at degrees from the front, to the subject's left; x right, y down, z away."""
    azimuth, height = np.broadcast_arrays(np.deg2rad(azimuth), height)
    return np.stack([np.sin(azimuth), height, -np.cos(azimuth)], axis=-1)


@pytest.fixture(scope="module")
def head():
    """(68, 3) landmarks and (17, STEPS - 1, 3) points of the lines, float32."""
    azimuth = np.linspace(100, 20, STEPS)
    height = np.array([*range(8), 8, *range(7, -1, -1)]) / 8
    lines = np.concatenate([
        on_cylinder(-azimuth[None], height[:8, None]),
        on_cylinder(0, np.linspace(1, 0.5, STEPS))[None],
        on_cylinder(azimuth[None], height[9:, None]),
    ])
    inner = np.random.default_rng(0).uniform(-0.4, 0.4, (51, 3))
    landmarks = np.concatenate([lines[:, 0], inner])
    return landmarks.astype(np.float32), lines[:, 1:].astype(np.float32)


_slide = jax.jit(slide, static_argnames="topology")
_augmented = jax.jit(augmented_faces, static_argnames=("views", "topology"))


def seen(head, share=1.0, **view):
    """Image points (68, 2) before and after, turned upright again."""
    views = (ViewGroup(1.0, **{name: Choice((float(x),)) for name, x in view.items()}),)
    faces = view_shapes(jax.random.key(0), head[0][None], views)
    slid = _slide(faces, head[1][None], share, "ibug68")
    np.testing.assert_array_equal(slid.points, faces.points)
    np.testing.assert_array_equal(slid.x2d[:, 17:], faces.x2d[:, 17:])
    roll = np.deg2rad(view.get("roll", 0))
    upright = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return [np.asarray(x.x2d[0]) @ upright for x in (faces, slid)]


def test_the_jaw_of_the_topologies():
    assert jaw_landmarks("ibug68") == tuple(range(17))
    assert jaw_landmarks("flame51") == ()


@pytest.mark.parametrize(("yaw", "roll"), [(40, 0), (40, 70), (-40, 20), (60, 0)])
def test_the_far_side_goes_to_the_contour_and_the_near_side_stays(head, yaw, roll):
    before, after = seen(head, yaw=yaw, roll=roll)
    far, near = (LEFT, RIGHT) if yaw > 0 else (RIGHT, LEFT)
    axis = np.mean(head[0], 0) @ [np.cos(np.deg2rad(yaw)), 0, -np.sin(np.deg2rad(yaw))]
    width = np.sign(yaw) * (after[far, 0] + axis)  # from the cylinder's axis, to the far side
    away = np.abs(far - 8) > 1  # beside the chin cells are not on the cylinder
    # Within a step, 5 degrees, of where the cylinder turns away.
    assert (width[away] > np.cos(np.deg2rad(5.1))).all()
    assert width.max() < 1 + 1e-5
    assert (np.sign(yaw) * (before[far, 0] + axis) < np.sin(np.deg2rad(91 - abs(yaw)))).all()
    np.testing.assert_allclose(after[far, 1], before[far, 1], atol=1e-5)  # along a circle
    np.testing.assert_allclose(after[near], before[near], atol=1e-6)


def test_from_the_front_both_sides_go_a_little(head):
    before, after = seen(head)
    np.testing.assert_allclose(np.abs(before[[1, 15], 0]), np.sin(np.deg2rad(100)), atol=0.02)
    inner = np.r_[0:7, 10:17]
    np.testing.assert_allclose(np.ptp(after[inner].reshape(2, 7, 2)[..., 0], axis=0)[:6], 2,
                               atol=0.02)
    np.testing.assert_allclose(after[8], before[8], atol=1e-6)


def test_near_the_camera_less_of_the_head_is_seen(head):
    """In perspective the contour lies closer to the viewer, and the way is scaled with the view."""
    _, far = seen(head, yaw=40)
    before, near = seen(head, yaw=40, field_of_view=40)
    _, larger = seen(head, yaw=40, field_of_view=40, scale=3)
    np.testing.assert_allclose(larger, 3 * near, atol=1e-5)
    assert (np.ptp(near[[3, 13], 0]) > np.ptp(far[[3, 13], 0])).all()
    _, half = seen(head, 0.5, yaw=40, field_of_view=40)
    np.testing.assert_allclose(half, (before + near) / 2, atol=1e-6)


def test_where_no_point_is_seen_the_last_is_taken(head):
    _, after = seen(head, yaw=80)  # the contour is 10 degrees off the front, the lines end at 20
    centre = head[0].mean(0)
    last = (head[1][10:16, -1] - centre) @ [np.cos(np.deg2rad(80)), 0, -np.sin(np.deg2rad(80))]
    np.testing.assert_allclose(after[10:16, 0], last, atol=1e-5)


def test_faces_without_a_view_are_refused(head):
    with pytest.raises(ValueError, match="expected faces with a view"):
        slide(Faces(head[0][None, :, :2], head[0][None]), head[1][None], 1.0, "ibug68")


def draw(head, **augmentation):
    points = np.concatenate([head[0], head[1].reshape(-1, 3)])
    points = np.broadcast_to(points, (NUM, *points.shape))
    faces = _augmented(jax.random.key(0), points, (ViewGroup(1.0, Choice((60.0,))),), 0.0,
                       Augmentation(**augmentation), "ibug68", deformation_basis(head[0]))
    return jax.tree.map(np.asarray, faces)


def test_training_faces_are_of_both_habits(head):
    plain, faces = draw(head), draw(head, outline=0.8)
    assert faces.x2d.shape == (NUM, 68, 2)
    np.testing.assert_array_equal(faces.points, plain.points)
    before, after = seen(head, yaw=60)
    share = ((faces.x2d - plain.x2d)[:, 13, 0]) / (after - before)[13, 0]
    np.testing.assert_allclose((faces.x2d - plain.x2d)[:, :17],
                               share[:, None, None] * (after - before)[:17], atol=1e-5)
    assert np.mean(share < 1e-5) == pytest.approx(0.25, abs=0.04)
    assert np.mean(share > 0.8 - 1e-5) == pytest.approx(0.25, abs=0.04)
    between = share[(share > 1e-5) & (share < 0.8 - 1e-5)]
    np.testing.assert_allclose(np.quantile(between, [0.25, 0.5, 0.75]), [0.2, 0.4, 0.6], atol=0.04)


def test_lines_go_with_the_deformed_face(head):
    plain = draw(head, deformation=1.0)
    faces = draw(head, deformation=1.0, outline=1.0)
    np.testing.assert_array_equal(faces.points, plain.points)
    way = (faces.x2d - plain.x2d)[:, :17]
    before, after = seen(head, yaw=60)
    # Wherever the face went: a line keeps its form, so the ways are those of its points.
    whole = np.abs(way[:, 13, 0]) > 0
    points = np.concatenate([head[0][13][None], head[1][13]]) - head[0][13]
    possible = points @ [np.cos(np.deg2rad(60)), 0, -np.sin(np.deg2rad(60))]
    assert whole.mean() > 0.6
    assert way[:, 13, 0].max() < possible.max() + 1e-4
    reached = np.quantile(way[:, 13, 0], 0.9)
    assert reached == pytest.approx((after - before)[13, 0], abs=0.05)
