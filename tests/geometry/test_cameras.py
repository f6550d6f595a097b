import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepmds_jax import geometry
from deepmds_jax.geometry import cameras

# Compiled once per shape, not operation by operation.
angles_from_rotation = jax.jit(geometry.angles_from_rotation)
project = jax.jit(geometry.project)
project_with_depth = jax.jit(cameras.project_with_depth)
rotation_from_angles = jax.jit(geometry.rotation_from_angles)
rotation_from_vector = jax.jit(geometry.rotation_from_vector)

# Head frame: x right, y down, z away from the viewer.
NOSE, CROWN, LEFT_EAR = np.float32([0, 0, -1]), np.float32([0, -1, 0]), np.float32([1, 0, 0])


@pytest.mark.parametrize(("angles", "point", "axis", "sign"), [
    ((30, 0, 0), NOSE, 0, 1),  # positive yaw: nose to the image's right
    ((0, 30, 0), NOSE, 1, -1),  # positive pitch: nose up
    ((0, 0, 30), CROWN, 0, 1),  # positive roll: clockwise, the crown moves right
    ((0, 0, 30), LEFT_EAR, 1, 1),  # and the image's right side moves down
])
def test_signs_of_the_angles(angles, point, axis, sign):
    moved = np.asarray(rotation_from_angles(*map(float, angles))) @ point
    np.testing.assert_allclose(moved[axis], sign * 0.5, atol=1e-6)  # sin 30 degrees


def test_angles_come_back_from_the_rotation():
    rng = np.random.default_rng(0)
    angles = rng.uniform((-180, -89, -180), (180, 89, 180), size=(500, 3)).T.astype(np.float32)
    rotation = rotation_from_angles(*angles)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-5)
    np.testing.assert_allclose(np.stack(angles_from_rotation(rotation)), angles, atol=2e-2)


def test_orthography_drops_depth():
    points = np.random.default_rng(0).normal(size=(4, 20, 3)).astype(np.float32)
    seen = project(points, np.tile(np.eye(3, dtype=np.float32), (4, 1, 1)), np.zeros(4, np.float32))
    np.testing.assert_allclose(seen, (points - points.mean(1, keepdims=True))[..., :2], atol=1e-6)


def test_perspective_by_hand():
    # Two points 1 before and 1 behind the centroid, both 0.75 up and then a pair 0.75 down: the
    # sphere has radius 1.25; at 90 degrees tan(45) = 1, so the camera is 1.25 away. Depths are
    # then 0.25 and 2.25, and y = 0.75 * 1.25 / depth = 3.75 and 0.416667.
    points = np.float32([[0, -0.75, -1], [0, -0.75, 1], [0, 0.75, -1], [0, 0.75, 1]])
    seen = project(points, np.eye(3, dtype=np.float32), np.float32(90))
    np.testing.assert_allclose(seen[:, 1], [-3.75, -0.416667, 3.75, 0.416667], rtol=1e-4)
    np.testing.assert_allclose(seen[:, 0], 0, atol=1e-6)


def test_depth_by_hand():
    # The camera of the test above, 1.25 before the centroid, sees a point 1 nearer or farther five
    # times or 1 / 1.8 times as large, along all three axes.
    landmarks = np.float32([[0, -0.75, -1], [0, -0.75, 1], [0, 0.75, -1], [0, 0.75, 1]])
    points = np.float32([[0.1, 0.2, -1], [0, 0, 0], [9, 9, 1]])
    seen = project_with_depth(points, np.eye(3, dtype=np.float32), np.float32(90), landmarks)
    expected = [[0.5, 1, -5], [0, 0, 0], [5, 5, 1 / 1.8]]
    np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-6)


def test_lines_stay_lines_in_image_and_depth():
    rng = np.random.default_rng(0)
    landmarks, a, b = (rng.normal(size=(n, 3)).astype(np.float32) for n in (20, 1, 1))
    line = a + np.linspace(-0.5, 0.5, 9, dtype=np.float32)[:, None] * (b - a)
    rotation = rotation_from_angles(np.float32(50), np.float32(10), np.float32(-20))
    seen = np.asarray(project_with_depth(line, rotation, np.float32(40), landmarks), np.float64)
    singular = np.linalg.svd(seen - seen.mean(0), compute_uv=False)
    assert singular[1] < 1e-5 * singular[0]
    assert not np.allclose(np.diff(seen, axis=0), np.diff(seen, axis=0)[0], rtol=1e-2)
    turned = (line - landmarks.mean(0)) @ np.asarray(rotation).T
    np.testing.assert_array_equal(np.argsort(seen[:, 2]), np.argsort(turned[:, 2]))


def test_rotation_vectors_are_those_of_scipy():
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(300, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    lengths = np.r_[10.0 ** rng.uniform(-8, 0, 200), rng.uniform(0, 2 * np.pi, 99), 0]
    vectors = (axes * lengths[:, None]).astype(np.float32)
    found = rotation_from_vector(vectors.reshape(3, 100, 3))
    expected = Rotation.from_rotvec(vectors).as_matrix().reshape(3, 100, 3, 3)
    np.testing.assert_allclose(found, expected, atol=2e-6)


rotation_jacobian = jax.jit(jax.jacobian(geometry.rotation_from_vector))


def test_rotation_vectors_have_gradients_at_tiny_angles():
    with jax.enable_x64(True):
        generators = np.zeros((3, 3, 3))  # of the turns about x, y and z
        generators[2, 1, 0] = generators[0, 2, 1] = generators[1, 0, 2] = 1
        generators -= generators.swapaxes(0, 1)
        for angle in (0.0, 1e-12, 1e-7, 1e-3):
            jacobian = rotation_jacobian(np.full(3, angle))
            np.testing.assert_allclose(jacobian, generators, atol=3 * angle + 1e-5)
    single = rotation_jacobian(np.zeros(3, np.float32))
    np.testing.assert_allclose(single, generators, atol=1e-5)
