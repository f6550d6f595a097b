import contextlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io
from absl import logging

from deepmds_jax import topologies
from deepmds_jax.data.photos.mesh_landmarks import FLAME51_POINTS
from deepmds_jax.data.views import Faces
from deepmds_jax.geometry import procrustes
from deepmds_jax.methods import mediapipe as module
from deepmds_jax.methods.mediapipe import mediapipe, mediapipe_live

PHOTOGRAPHS = ["imgHQ00039", "imgHQ00088", "imgHQ00095", "imgHQ01148"]


def folder_of(shared):
    return shared / "data" / "celeba_hq_samples"


def all_rows(num_faces):
    return Faces(jnp.zeros((num_faces, 51, 2)), None, row=jnp.arange(num_faces))


def test_points_are_where_the_landmarks_are(shared):
    """On four photographs, and nearer to the landmarks than the table of the release."""
    released = scipy.io.loadmat(
        shared / "data" / "authors_release" / "mediapipe_51_lmks.mat"
    )["mediapipe_51_lmks"].ravel().astype(int) - 1
    assert np.sum(released == FLAME51_POINTS) > 15
    distances = {"ours": [], "released": []}
    for name in PHOTOGRAPHS:
        landmarks = np.load(folder_of(shared) / f"{name}_lmks.npy")
        points = np.load(folder_of(shared) / f"{name}_mediapipe468.npy")[:, :2]
        eyes = np.linalg.norm(landmarks[19] - landmarks[28])
        for table, chosen in (("ours", FLAME51_POINTS), ("released", released)):
            distances[table].append(np.linalg.norm(points[chosen] - landmarks, axis=1) / eyes)
    mean = {table: np.mean(d, axis=0) for table, d in distances.items()}
    assert mean["ours"].max() < 0.08
    assert mean["ours"].mean() < 0.6 * mean["released"].mean()


def test_files_come_in_our_frame(shared):
    method = mediapipe(folder_of(shared), PHOTOGRAPHS)
    points = np.asarray(method.predict(all_rows(4)))
    assert points.shape == (4, 51, 3)
    topology = topologies.get("flame51")
    assert set(np.argmin(points[..., 2], axis=1)) == {topology.landmarks.index("pronasale")}
    brows, mouth = points[:, :10, 1].mean(), points[:, 31:, 1].mean()
    assert brows < mouth  # y down
    # Left and right are partners: a face and its mirror image are nearly the same.
    mirrored = points[:, list(topology.mirror)] * np.array([-1, 1, 1])
    fitted = procrustes(mirrored, points, reflection=False)(mirrored)
    eyes = np.linalg.norm(points[:, 19] - points[:, 28], axis=-1)
    assert (np.linalg.norm(fitted - points, axis=-1).mean(axis=1) / eyes).max() < 0.05


def test_irises_do_not_matter(tmp_path):
    points = np.random.default_rng(0).normal(size=(478, 3))
    np.save(tmp_path / "a.npy", points)
    np.save(tmp_path / "b.npy", points[:468])
    a, b = mediapipe(tmp_path, ["a", "b"]).predict(all_rows(2))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(a[13], points[4], rtol=1e-6)


def test_another_mesh_is_named(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((68, 3)))
    with pytest.raises(ValueError, match="'a' has 68 points, expected 468"):
        mediapipe(tmp_path, ["a"])


def test_live_needs_its_model_file(tmp_path):
    with pytest.raises(ValueError, match=r"face_landmarker\.task: no such file"):
        mediapipe_live(tmp_path / "face_landmarker.task", [None], ["a"])


def test_live_takes_the_largest_face_and_goes_on_past_photographs_without(monkeypatch):
    two, none, damaged = map(Path, ("two.jpg", "none.jpg", "damaged.jpg"))
    rng = np.random.default_rng(0)
    small = rng.uniform(0, 50, (478, 3))
    large = small * 3 + 200

    def find_faces(detector, paths):
        assert detector == "opened face_landmarker.task"
        found = {two: np.stack([small, large]), none: np.empty((0, 468, 3))}
        wrong = [f"{damaged}: cannot be read"] if damaged in paths else []
        return {path: found[path] for path in paths if path != damaged}, wrong

    monkeypatch.setattr(module, "find_faces", find_faces)
    monkeypatch.setattr(
        module, "open_detector", lambda model: contextlib.nullcontext(f"opened {model}"))
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: lines.append(text % args))

    def live(images, names):
        return mediapipe_live("face_landmarker.task", images, names)

    points = live([None, two, damaged, none], list("abcd")).predict(all_rows(4))
    np.testing.assert_allclose(points[1], large[FLAME51_POINTS], rtol=1e-6)
    assert np.isnan(points[np.array([0, 2, 3])]).all()
    assert "damaged.jpg" in lines[0]
    assert "3 of 4 faces" in lines[1]
    with pytest.raises(ValueError, match="a face in none of the photographs"):
        live([none, None], list("ab"))
    with pytest.raises(ValueError, match=r"damaged\.jpg"):
        live([damaged], ["a"])
