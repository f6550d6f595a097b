import jax
import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from deepmds_jax.geometry.registration import icp, icp_by_tree, nearest_points
from deepmds_jax.geometry.similarity import Similarity

BUMPS = [(0, 5, -25, 11), (3, 60, -12, 15), (-30, -25, 8, 10), (32, -22, 8, 10)]


def face(rng, num_points):
    """Points and normals of a dome with nose, chin and eyes, which no motion maps to itself; mm."""
    x, y = rng.uniform(-1, 1, (2, num_points)) * np.array([[60], [80]])
    z, dx, dy = 0.008 * x**2 + 0.004 * y**2, 0.016 * x, 0.008 * y
    for centre_x, centre_y, height, width in BUMPS:
        u, v = (x - centre_x) / width, (y - centre_y) / width
        bump = height * np.exp(-(u**2 + v**2) / 2)
        z, dx, dy = z + bump, dx - bump * u / width, dy - bump * v / width
    normals = np.stack([dx, dy, -np.ones_like(x)], axis=1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return np.stack([x, y, z], axis=1).astype(np.float32), normals.astype(np.float32)


def start_of(motion, rng, degrees=8.0, offset=5.0, scale=1.0):
    """`motion` (rotation, scale, translation of row vectors), somewhat off, as landmarks give."""
    rotation, size, translation = motion
    error = Rotation.from_rotvec(np.deg2rad(degrees) * np.array([0.6, 0.64, 0.48])).as_matrix()
    return Similarity(
        np.float32(rotation @ error), np.float32(size * scale),
        np.float32(translation + offset * rng.choice([-1, 1], 3)),
    )


def scan_of(rng, motion, noise=0.2):
    """Another sampling of the face, moved; without the left quarter, and with noise."""
    rotation, size, translation = motion
    points, _ = face(rng, 6000)  # 1.8 mm from one to the next
    points = points[points[:, 0] < 30][:4200]  # as many for each seed: one program
    points = size * points @ rotation + translation
    return (points + rng.normal(scale=noise * size, size=points.shape)).astype(np.float32)


@jax.jit
def apply(similarity, points):
    return similarity(points)


@pytest.fixture
def motion():
    rotation = Rotation.from_euler("xyz", [25, -40, 10], degrees=True).as_matrix()
    return rotation, 1.0, np.array([120.0, -30.0, -900.0])


def test_recovers_the_motion_of_a_noisy_scan_of_a_part(motion):
    rng = np.random.default_rng(0)
    source, normals = face(rng, 500)
    scan = scan_of(rng, motion)
    fit = icp(source, normals, scan, start_of(motion, rng), keep=0.7)
    assert fit.converged
    assert fit.similarity.scale == 1
    truth = source @ motion[0] + motion[2]
    # 8 degrees and 5 mm along each axis off at the start.
    start = apply(start_of(motion, np.random.default_rng(0)), source)
    assert np.linalg.norm(start - truth, axis=1).mean() > 8
    assert np.linalg.norm(apply(fit.similarity, source) - truth, axis=1).max() < 0.5
    angle = Rotation.from_matrix(motion[0].T @ np.asarray(fit.similarity.rotation)).magnitude()
    assert np.rad2deg(angle) < 0.3


def test_size_is_estimated_where_asked():
    rng = np.random.default_rng(1)
    metres, normals = face(rng, 500)
    metres = metres / 1000
    motion = Rotation.from_euler("y", 15, degrees=True).as_matrix(), 1e3, np.array([0, 0, -1000.0])
    rotation, _, translation = motion
    scan = scan_of(rng, (rotation, 1.0, translation))
    start = start_of(motion, rng, degrees=4, offset=2, scale=1.04)
    fit = icp(metres, normals, scan, start, scale=True, keep=0.7)
    np.testing.assert_allclose(fit.similarity.scale, 1e3, rtol=0.01)
    kept = icp(metres, normals, scan, start, keep=0.7)
    np.testing.assert_allclose(kept.similarity.scale, 1040, rtol=1e-6)
    assert fit.error < kept.error


def test_trimming_ignores_what_the_scan_does_not_have(motion):
    rng = np.random.default_rng(2)
    source, normals = face(rng, 500)
    scan = scan_of(rng, motion)
    start = start_of(motion, rng)
    truth = source @ motion[0] + motion[2]
    fits = [icp(source, normals, scan, start, keep=keep) for keep in (0.7, 1.0)]
    off = [np.linalg.norm(apply(fit.similarity, source) - truth, axis=1).mean()
           for fit in fits]
    assert off[0] < 0.3
    assert off[1] > 3 * off[0]


def test_error_is_that_of_the_kept_pairs(motion):
    rng = np.random.default_rng(3)
    source, normals = face(rng, 500)
    scan = scan_of(rng, motion)
    fit = icp(source, normals, scan, start_of(motion, rng), keep=0.7)
    distance = cKDTree(scan).query(apply(fit.similarity, source))[0]
    expected = np.sqrt(np.mean(np.sort(distance)[:350] ** 2))
    np.testing.assert_allclose(fit.error, expected, rtol=1e-3)


def test_nearest_points_agree_with_a_tree():
    rng = np.random.default_rng(4)
    cloud = (rng.normal(size=(3000, 3)) * 60 + [0, 0, -900]).astype(np.float32)
    points = (rng.normal(size=(700, 3)) * 60 + [0, 0, -900]).astype(np.float32)
    index, distance = nearest_points(points, cloud)
    expected, place = cKDTree(cloud).query(points)
    np.testing.assert_array_equal(index, place)
    np.testing.assert_allclose(distance, expected, rtol=1e-4)


def test_nearest_points_of_a_scan_lie_on_the_true_landmarks(motion):
    rng = np.random.default_rng(5)
    source, normals = face(rng, 500)
    scan = scan_of(rng, motion, noise=0.1)
    fit = icp(source, normals, scan, start_of(motion, rng), keep=0.7)
    landmarks, _ = face(rng, 40)
    landmarks = landmarks[landmarks[:, 0] < 25]
    placed = apply(fit.similarity, landmarks)
    found = scan[np.asarray(nearest_points(placed, scan)[0])]
    truth = landmarks @ motion[0] + motion[2]
    # As near as the points of the scan lie to each other.
    assert np.linalg.norm(found - truth, axis=1).mean() < 1.2


def test_batches_and_what_is_not_finite(motion):
    rng = np.random.default_rng(6)
    source, normals = face(rng, 300)
    scan = scan_of(rng, motion)[::6]
    bad = np.full_like(scan, np.nan)
    start = start_of(motion, rng)
    register = jax.jit(jax.vmap(lambda target: icp(source, normals, target, start, keep=0.7)))
    fits = register(np.stack([scan, bad]))
    alone = icp(source, normals, scan, start, keep=0.7)
    assert fits.converged.tolist() == [True, False]
    np.testing.assert_allclose(apply(fits.similarity, np.stack([source] * 2))[0],
                               apply(alone.similarity, source), atol=1e-2)


def test_a_tree_finds_the_same_alignment(motion):
    rng = np.random.default_rng(0)
    source, normals = face(rng, 500)
    scan = scan_of(rng, motion)
    start = start_of(motion, rng, scale=1.03)
    expected = icp(source, normals, scan, start, keep=0.7)
    found = icp_by_tree(source, normals, scan, start, keep=0.7)
    np.testing.assert_allclose(apply(found.similarity, source),
                               apply(expected.similarity, source), atol=0.05)
    np.testing.assert_allclose(found.error, expected.error, rtol=1e-2)
    assert found.converged
    assert abs(int(found.num_iters) - int(expected.num_iters)) <= 1
    np.testing.assert_allclose(found.similarity.scale, 1.03, rtol=1e-6)
    freed = icp_by_tree(source, normals, scan, start, scale=True, keep=0.7)
    np.testing.assert_allclose(freed.similarity.scale, 1, atol=5e-3)


def test_a_tree_gives_up_where_numbers_are_not_finite(motion):
    rng = np.random.default_rng(8)
    source, normals = face(rng, 500)
    scan = scan_of(rng, motion)
    start = start_of(motion, rng)._replace(scale=np.float32(np.nan))
    found = icp_by_tree(source, normals, scan, start)
    assert not found.converged
    assert found.num_iters == 0
    assert np.isnan(found.error)
    scan[3] = np.inf
    with pytest.raises(ValueError, match="target: expected finite points, got 1 that are not"):
        icp_by_tree(source, normals, scan, start)
    with pytest.raises(ValueError, match=r"keep: expected a fraction in \(0, 1\], got 2"):
        icp_by_tree(source, normals, scan, start, keep=2)


def test_wrong_shapes_and_fractions_are_named(motion):
    start = start_of(motion, np.random.default_rng(7))
    points = np.zeros((10, 3), np.float32)
    with pytest.raises(ValueError, match=r"source: expected \(N, 3\), got \(10, 2\)"):
        icp(points[:, :2], points, points, start)
    with pytest.raises(ValueError, match=r"normals: expected \(10, 3\) like source, got \(9, 3\)"):
        icp(points, points[:9], points, start)
    with pytest.raises(ValueError, match=r"keep: expected a fraction in \(0, 1\], got 0"):
        icp(points, points, points, start, keep=0)
