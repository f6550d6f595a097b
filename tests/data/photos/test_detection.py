"""The detectors with stand-ins, and the real ones where they are.

MediaPipe's model file is part of the shared data; dlib's is made here, of two faces.
"""

import json
import pathlib
import sys
import types

import numpy as np
import pytest
from PIL import Image

from deepmds_jax.data.photos import detection
from deepmds_jax.data.photos.detection import find_faces, open_detector
from deepmds_jax.data.photos.reading import list_photographs

EXAMPLES = pathlib.Path(__file__).resolve().parents[3] / "examples"


def photograph(path, *dots):
    pixels = np.zeros((30, 60, 3), np.uint8)
    for x, y in dots:
        pixels[y, x] = (255, 0, 0)
    Image.fromarray(pixels).save(path)
    return path


class FakeMediaPipe:
    """MediaPipe's task: a face of one repeated point for every red pixel; it fails on white."""

    ImageFormat = types.SimpleNamespace(SRGB=1)
    Image = types.SimpleNamespace

    def __init__(self, num_points=478):
        self.tasks = self.vision = self.FaceLandmarker = self
        self.BaseOptions = self.FaceLandmarkerOptions = types.SimpleNamespace
        self.is_open = False
        self.num_points = num_points

    def create_from_options(self, options):
        assert options.num_faces > 1
        if "cut" in options.base_options.model_asset_path:
            raise RuntimeError("Unable to open zip archive.\ntrace")
        self.is_open = True
        return self

    def close(self):
        self.is_open = False
        raise RuntimeError("what detect has raised")

    def detect(self, image):
        assert image.image_format == 1 and image.data.flags.c_contiguous
        assert image.data.dtype == np.uint8 and image.data.shape[2] == 3
        if image.data.min() == 255:
            raise RuntimeError("CalculatorGraph::Run() failed: \nat all")
        height, width, _ = image.data.shape
        return types.SimpleNamespace(face_landmarks=[
            self.num_points * [types.SimpleNamespace(x=x / width, y=y / height, z=-0.1)]
            for y, x in np.argwhere((image.data == (255, 0, 0)).all(-1))
        ])


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "face_landmarker.task"
    path.touch()
    return path


def test_faces_of_each_photograph_from_left_to_right_in_pixels(tmp_path, monkeypatch, model):
    fake = FakeMediaPipe()
    monkeypatch.setitem(sys.modules, "mediapipe", fake)
    Image.new("RGB", (9, 9), "white").save(tmp_path / "white.png")
    paths = [
        photograph(tmp_path / "two.png", (40, 10), (20, 20)),
        photograph(tmp_path / "none.png"),
        tmp_path / "white.png",
        tmp_path / "missing.png",
    ]
    with open_detector(model) as detector:
        assert fake.is_open and detector.name == "MediaPipe" and not detector.note
        faces, wrong = find_faces(detector, paths)
    assert not fake.is_open
    assert list(faces) == paths[:2]
    assert faces[paths[0]].shape == (2, 478, 3)
    np.testing.assert_allclose(faces[paths[0]][:, 0], [[20, 20, -6], [40, 10, -6]])
    assert len(faces[paths[1]]) == 0
    assert wrong[0] == f"{paths[2]}: MediaPipe failed: CalculatorGraph::Run() failed: "
    assert "missing.png: cannot be read" in wrong[1]


def test_models_that_are_none_are_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", FakeMediaPipe())
    monkeypatch.setitem(sys.modules, "dlib", FakeDlib())
    for name in ("cut.task", "cut.dat"):
        with (pytest.raises(ValueError, match=rf"face_model: .*{name}: no such file$"),
              open_detector(tmp_path / name)):
            pass
        (tmp_path / name).touch()
    for name, reason in (("cut.task", r"Unable to open zip archive\.$"), ("cut.dat", "Unexpected")):
        with (pytest.raises(ValueError, match=f"face_model: .*{name}: no model of .*{reason}"),
              open_detector(tmp_path / name)):
            pass


def test_meshes_of_another_size_are_told(tmp_path, monkeypatch, model):
    monkeypatch.setitem(sys.modules, "mediapipe", FakeMediaPipe(num_points=68))
    with open_detector(model) as detector:
        faces, wrong = find_faces(detector, [photograph(tmp_path / "a.png", (3, 3))])
    assert not faces
    assert wrong[0].endswith("faces of 68 points, expected 468 or 478 that are finite")


def test_no_model_is_that_of_the_cache(monkeypatch, tmp_path, model):
    monkeypatch.setitem(sys.modules, "mediapipe", FakeMediaPipe())
    monkeypatch.setattr(detection, "fetch_face_model", lambda: model)
    with open_detector() as detector:
        assert detector.detect(np.zeros((5, 5, 3), np.uint8)).shape == (0, 468, 3)


@pytest.mark.parametrize(("package", "extra", "file"), [
    ("mediapipe", "photos", "a.task"), ("dlib", "dlib", "a.dat")])
def test_missing_package_names_its_extra(tmp_path, monkeypatch, package, extra, file):
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / file).touch()
    with (pytest.raises(ImportError, match=rf"pip install 'deepmds-jax\[{extra}\]'"),
          open_detector(tmp_path / file)):
        pass


class FakeDlib:
    """dlib: a face of 68 points on a diagonal for every red pixel."""

    def __init__(self, num_points=68):
        self.num_points = num_points

    def get_frontal_face_detector(self):
        return lambda pixels, upsampled: np.argwhere((pixels == (255, 0, 0)).all(-1))

    def shape_predictor(self, path):
        if "cut" in path:
            raise RuntimeError("Unexpected version found\nwhile")
        return lambda pixels, box: types.SimpleNamespace(parts=lambda: [
            types.SimpleNamespace(x=int(box[1]) + i, y=int(box[0]) + i)
            for i in range(self.num_points)])


def test_dlibs_faces_are_68_landmarks_and_its_licence_is_told(tmp_path, monkeypatch):
    model = tmp_path / "shape_predictor_68_face_landmarks.dat"
    model.touch()
    monkeypatch.setitem(sys.modules, "dlib", FakeDlib())
    path = photograph(tmp_path / "two.png", (40, 10), (20, 20))
    with open_detector(model) as detector:
        assert detector.name == "dlib" and "exclude commercial use" in detector.note
        faces = find_faces(detector, [path, photograph(tmp_path / "none.png")])[0]
    assert [len(found) for found in faces.values()] == [2, 0]
    np.testing.assert_array_equal(faces[path][:, 0], [[20, 20], [40, 10]])
    np.testing.assert_array_equal(detector.landmarks(faces[path][0], "ibug68"), faces[path][0])
    np.testing.assert_array_equal(detector.landmarks(faces[path][0], "flame51")[0], [37, 37])
    monkeypatch.setitem(sys.modules, "dlib", FakeDlib(5))
    with open_detector(model) as detector:
        faces, (line,) = find_faces(detector, [path])
    assert not faces and "5 landmarks, expected the 68" in line


# The detectors themselves


def read_examples():
    rows = (EXAMPLES / "collins.pts").read_text().split("{")[1].split("}")[0].split()
    collins = np.array(rows, float).reshape(68, 2) - 1
    hopper = np.array(json.loads((EXAMPLES / "hopper.json").read_text())["landmarks"])
    return {"collins": collins, "hopper": hopper}


@pytest.fixture(scope="module")
def mediapipe(shared):
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    model = shared / "data/face_landmarker/face_landmarker.task"
    if not model.is_file():
        pytest.skip(f"no {model}")
    with open_detector(model) as detector:
        yield detector


def test_mediapipe_finds_the_landmarks_placed_by_hand(tmp_path, mediapipe):
    landmarks = read_examples()
    both = [np.asarray(Image.open(EXAMPLES / f"{name}.jpg").convert("RGB"))[:340]
            for name in landmarks]
    Image.fromarray(np.hstack(both)).save(tmp_path / "both.png")
    alone = [EXAMPLES / f"{name}.jpg" for name in landmarks]
    paths = [*alone, tmp_path / "both.png", photograph(tmp_path / "black.png")]
    faces, wrong = find_faces(mediapipe, paths)
    assert not wrong
    assert [len(faces[path]) for path in paths] == [1, 1, 2, 0]
    right = np.pad([[[both[0].shape[1], 0]]], ((1, 0), (0, 0), (0, 0)))
    meshes = np.stack([faces[path][0] for path in alone])
    for found in (meshes, faces[paths[2]] - np.pad(right, ((0, 0), (0, 0), (0, 1)))):
        for mesh, points in zip(found, landmarks.values(), strict=True):
            eyes = np.linalg.norm(points[36] - points[45])
            placed = mediapipe.landmarks(mesh, "ibug68")
            off = np.linalg.norm(placed[:, :2] - points, axis=1) / eyes
            assert off[:17].mean() < 0.06 and off[17:].mean() < 0.04
            nose, chin, ears = (placed[i, 2] for i in (30, 8, [0, 16]))
            assert nose < chin < ears.min()  # z away from the viewer


def test_mediapipe_agrees_with_its_stored_points(shared, mediapipe):
    """Those are of the model without refined eyes and lips."""
    folder = shared / "data/celeba_hq_samples"
    faces, _ = find_faces(mediapipe, list_photographs(folder))
    assert len(faces) == 4
    for path, (mesh,) in faces.items():
        stored = np.load(folder / f"{path.stem}_mediapipe468.npy")
        off = np.linalg.norm(mesh[:468] - stored, axis=1).mean()
        assert off < 0.03 * np.linalg.norm(stored[33] - stored[263])


def test_dlib_itself(tmp_path):
    """With a model that has learnt the two example faces, not the one people have."""
    dlib = pytest.importorskip("dlib", reason="dlib is not installed")
    landmarks, find = read_examples(), dlib.get_frontal_face_detector()
    images = [np.asarray(Image.open(EXAMPLES / f"{name}.jpg")) for name in landmarks]
    boxes = [find(image, 1)[0] for image in images]
    taught = [[dlib.full_object_detection(box, [dlib.point(*map(round, xy)) for xy in points])]
              for box, points in zip(boxes, landmarks.values(), strict=True)]
    options = dlib.shape_predictor_training_options()
    options.cascade_depth, options.num_trees_per_cascade_level = 3, 20
    options.oversampling_amount, options.num_test_splits, options.num_threads = 5, 10, 1
    dlib.train_shape_predictor(images, taught, options).save(str(tmp_path / "two.dat"))
    with open_detector(tmp_path / "two.dat") as detector:
        faces, wrong = find_faces(detector, [EXAMPLES / f"{name}.jpg" for name in landmarks])
    assert not wrong
    for (face,), points in zip(faces.values(), landmarks.values(), strict=True):
        assert np.linalg.norm(face - points, axis=1).mean() < 10  # the eyes are 120 apart
