import importlib
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io
from absl import logging

from deepmds_jax import topologies
from deepmds_jax.data.views import Faces
from deepmds_jax.geometry import procrustes
from deepmds_jax.methods import mediapipe
from deepmds_jax.methods.mediapipe import FLAME51, mediapipe_live

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
    assert np.sum(released == FLAME51) > 15
    distances = {"ours": [], "released": []}
    for name in PHOTOGRAPHS:
        landmarks = np.load(folder_of(shared) / f"{name}_lmks.npy")
        points = np.load(folder_of(shared) / f"{name}_mediapipe468.npy")[:, :2]
        eyes = np.linalg.norm(landmarks[19] - landmarks[28])
        for table, chosen in (("ours", FLAME51), ("released", released)):
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
    with pytest.raises(ValueError, match="no such model file"):
        mediapipe_live(tmp_path / "face_landmarker.task", [None], ["a"])


class FakeMediaPipe:
    """What MediaPipe's landmarker does, of an image that a word in its path describes."""

    ImageFormat = types.SimpleNamespace(SRGB=1)

    class Image:
        def __init__(self, image_format, data, empty=False):
            self.data, self.empty = data, empty
            self.height, self.width = data.shape[:2]

        @classmethod
        def create_from_file(cls, path):
            if "damaged" in path:
                raise RuntimeError("Image decoding failed (unknown image type): " + path)
            channels = () if "grey" in path else (3,)
            return cls(None, np.zeros((100, 200, *channels), np.uint8), "empty" in path)

        def numpy_view(self):
            return self.data

    def __init__(self):
        self.tasks = self.vision = self.FaceLandmarker = self
        self.is_open = True

    def create_from_model_path(self, path):
        if "cut" in path:
            raise RuntimeError("Unable to open zip archive.\ntrace")
        return self

    def close(self):
        self.is_open = False

    def detect(self, image):
        if image.data.shape != (100, 200, 3):
            raise RuntimeError("CalculatorGraph::Run() failed: ")
        face = [types.SimpleNamespace(x=0.5, y=0.25, z=-0.1)] * 478
        return types.SimpleNamespace(face_landmarks=[] if image.empty else [face])


def test_live_goes_on_past_photographs_that_are_damaged_or_without_a_face(tmp_path, monkeypatch):
    module = importlib.import_module("deepmds_jax.methods.mediapipe")
    fake = FakeMediaPipe()
    monkeypatch.setattr(module, "require", lambda *_, **__: fake)
    model, lines = tmp_path / "face_landmarker.task", []
    monkeypatch.setattr(logging, "warning", lambda text, *args: lines.append(text % args))
    model.touch()
    images = [*map(Path, ("good.jpg", "grey.jpg", "damaged.jpg", "empty.jpg")), None]
    points = mediapipe_live(model, images, list("abcde")).predict(all_rows(5))
    np.testing.assert_allclose(points[:2], np.tile([100, 25, -20], (2, 51, 1)))
    assert np.isnan(points[2:]).all()
    assert "damaged.jpg" in lines[0]
    assert "3 of 5 faces" in lines[1]
    assert not fake.is_open
    with pytest.raises(ValueError, match="a face in none of the photographs"):
        mediapipe_live(model, images[3:4], ["d"])
    with pytest.raises(ValueError, match=r"damaged\.jpg"):
        mediapipe_live(model, images[2:3], ["c"])
    cut = tmp_path / "cut.task"
    cut.touch()
    with pytest.raises(ValueError, match=r"cut\.task.*Unable to open zip archive\.$"):
        mediapipe_live(cut, images, list("abcde"))
