"""Landmarks taken from MediaPipe's mesh."""

import numpy as np
import pytest

from deepmds_jax import topologies
from deepmds_jax.data.photos import mesh_landmarks
from deepmds_jax.data.photos.mesh_landmarks import to_landmarks


def test_jaw_is_spread_evenly_over_a_contour_and_the_rest_are_points():
    rng = np.random.default_rng(0)
    mesh = rng.normal(size=(478, 3))
    contour = [*mesh_landmarks.RIGHT_JAW, *mesh_landmarks.LEFT_JAW[1:]]
    assert len(set(contour)) == 23
    # Uneven steps along an arc of unit radius in the plane y = 0.3 z.
    angles = np.pi * np.r_[np.sort(rng.uniform(0, 0.5, 11)), 0.5, np.sort(rng.uniform(0.5, 1, 11))]
    angles[[0, -1]] = 0, np.pi
    mesh[contour] = np.stack([-np.cos(angles), np.sin(angles), 0.3 * np.sin(angles)], axis=1)
    landmarks = to_landmarks(mesh, "ibug68")
    assert landmarks.shape == (68, 3)
    np.testing.assert_array_equal(landmarks[17:], mesh[mesh_landmarks.FLAME51_POINTS])
    np.testing.assert_array_equal(to_landmarks(mesh, "flame51"), landmarks[17:])
    np.testing.assert_allclose(landmarks[[0, 8, 16]], mesh[[127, 152, 356]])
    steps = np.linalg.norm(np.diff(landmarks[:17], axis=0), axis=1)
    for half in (steps[:8], steps[8:]):
        assert half.std() < 0.1 * half.mean()
    assert (np.diff(landmarks[:17, 0]) > 0).all()
    with pytest.raises(ValueError, match="flame51 and ibug68, not of bfm72"):
        to_landmarks(mesh, "bfm72")


def test_sides_of_the_mesh_are_those_of_the_landmarks(shared):
    """On a mesh of a real face: mirrored landmarks are where their partners are."""
    mesh = np.load(shared / "data/celeba_hq_samples/imgHQ01148_mediapipe468.npy")
    for topology in map(topologies.get, mesh_landmarks.TOPOLOGIES):
        x, y, _ = to_landmarks(mesh, topology.name).T
        assert (x[[i for i, name in enumerate(topology.landmarks) if name.endswith("_left")]]
                > x[topology.landmarks.index("pronasale")]).all()
        width = np.ptp(x)
        np.testing.assert_allclose(y[list(topology.mirror)], y, atol=0.06 * width)
        assert topology.name == "flame51" or y.argmax() == topology.landmarks.index("menton")
