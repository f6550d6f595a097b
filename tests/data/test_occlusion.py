import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.occlusion import hidden, visible_landmarks
from deepmds_jax.data.sources import ict
from deepmds_jax.data.views import View


def view_of(yaw, field_of_view=0.0):
    """Of one face."""
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    return View(np.float32([yaw]), zero, zero, np.float32([field_of_view]),
                np.zeros(1, np.int32), one, np.zeros((1, 2), np.float32))


@pytest.fixture(scope="module")
def ellipsoid():
    """A fine ellipsoid, and 60 of its vertices in pairs on opposite sides as landmarks."""
    mesh = trimesh.creation.icosphere(subdivisions=5)
    points = mesh.vertices * (1, 1.5, 0.7)
    first = np.random.default_rng(0).permutation(len(points))[:30]
    opposite = [np.abs(points + points[i]).sum(1).argmin() for i in first]
    landmarks = np.concatenate([first, opposite])
    empty = np.zeros((0, *points.shape), np.float32)
    shape = MorphableModel(jnp.asarray(points, jnp.float32), empty, empty, "none", "mm")
    return DenseModel(shape, jnp.asarray(mesh.faces), jnp.asarray(landmarks), np.float32(0),
                      np.float32(0), topology="none")


@pytest.mark.parametrize(("yaw", "field_of_view"), [(0.0, 0.0), (50.0, 0.0), (-70.0, 60.0)])
def test_of_a_convex_surface_the_side_turned_away_is_hidden(ellipsoid, yaw, field_of_view):
    points = np.asarray(ellipsoid.shape.mean)[np.asarray(ellipsoid.landmarks)]
    none = np.zeros((1, 0), np.float32)
    found = np.asarray(visible_landmarks(ellipsoid, none, none, view_of(yaw, field_of_view)))[0]
    # The camera in the head frame; from far away only its direction counts.
    distance = (np.linalg.norm(points, axis=1).max() / np.tan(np.radians(field_of_view / 2))
                if field_of_view else 1e4)
    camera = -distance * np.array([np.sin(np.radians(yaw)), 0, np.cos(np.radians(yaw))])
    to_camera = camera - points
    to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
    normal = points / np.square([1, 1.5, 0.7])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    facing = np.sum(normal * to_camera, axis=1)
    # Between, a point has turned away but lies less than the margin behind the outline.
    clear = (facing > 0.02) | (facing < -0.3)
    assert clear.sum() > 40
    np.testing.assert_array_equal(found[clear], facing[clear] > 0)


def test_hidden_by_hand():
    vertices = np.float32([[0, 0, 0], [4, 0, 0], [0, 4, 4], [0, 0, 9], [1, 1, 9], [2, 2, 9]])
    triangles = np.int32([[0, 1, 2], [3, 4, 5], [0, 0, 1]])  # two of them are seen from the edge
    points = np.float32([
        [1, 1, 1.5],  # 0.5 behind the slanted triangle, whose depth is y
        [1, 1, 1.05],  # less than the margin behind
        [1, 1, 0.5],  # before
        [3, 3, 9],  # beside
        [0, 0, 0],  # its own vertices
        [0, 4, 4],
        [2, 1, 99],  # far behind
    ])
    found = jax.jit(hidden)(points, vertices, triangles, 0.1)
    np.testing.assert_array_equal(found, [True, False, False, False, False, False, True])


def test_turned_face_hides_its_far_side(shared):
    folder = shared / "data" / "ict_facekit"
    dense = ict.load_dense("ibug68", folder)
    none = np.zeros((1, 100), np.float32), np.zeros((1, 53), np.float32)

    def seen(yaw):
        return np.asarray(visible_landmarks(dense, *none, view_of(yaw)))[0]

    # From the front the cheeks hide the mandible below the ears, but for a hair.
    np.testing.assert_array_equal(np.flatnonzero(~seen(0.0)), [2, 3, 13, 14])
    left, right = seen(60.0), seen(-60.0)
    # Yaw turns the face to the image's right: its left half, 9-16 and 42-47, goes out of sight.
    far, near = [10, 11, 12, 13, 14, 15, 16, 42, 45], [0, 1, 2, 3, 4, 5, 6, 36, 39]
    assert not left[far].any()
    assert left[near].all()
    assert left[[8, 17, 21, 27, 30, 31, 48]].all()
    assert not right[near].any()
    assert right[far].all()
