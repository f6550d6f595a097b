"""The detector's plumbing with stand-ins, and MediaPipe itself where it is.

Set DEEPMDS_FACE_MESH_PYTHON to the Python of an environment with mediapipe 0.10.21 (and
DEEPMDS_FACE_MODEL to Google's face_landmarker.task, with MediaPipe in this environment).
"""

import importlib.util
import json
import os
import pathlib
import stat
import sys
import types

import numpy as np
import pytest
from PIL import Image

from deepmds_jax.data.photos import detection, face_mesh_script
from deepmds_jax.data.photos.detection import find_faces
from deepmds_jax.data.photos.mesh_landmarks import to_landmarks
from deepmds_jax.data.photos.reading import list_photographs

EXAMPLES = pathlib.Path(__file__).resolve().parents[3] / "examples"


def executable(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


# The older Face Mesh, run by another interpreter


class FakeFaceMesh:
    """MediaPipe's: a face of one repeated point for every red pixel, but fails on a green one."""

    def __init__(self, static_image_mode, max_num_faces, refine_landmarks):
        assert static_image_mode and refine_landmarks and max_num_faces > 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def process(self, pixels):
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
        if (pixels == (0, 255, 0)).all(-1).any():
            raise RuntimeError("no green\nat all")
        height, width, _ = pixels.shape
        faces = [
            types.SimpleNamespace(landmark=478 * [types.SimpleNamespace(
                x=x / width, y=y / height, z=-0.1)])
            for y, x in np.argwhere((pixels == (255, 0, 0)).all(-1))
        ]
        return types.SimpleNamespace(multi_face_landmarks=faces or None)


@pytest.fixture
def stand_in(monkeypatch):
    """The script runs in this process, with a stand-in of MediaPipe."""
    fake = types.SimpleNamespace(solutions=types.SimpleNamespace(
        face_mesh=types.SimpleNamespace(FaceMesh=FakeFaceMesh)))
    monkeypatch.setitem(sys.modules, "mediapipe", fake)
    runs = []

    def run(command, timeout, **_):
        assert command[:3] == ["there/python", "-I", face_mesh_script.__file__]
        runs.append(timeout)
        face_mesh_script.main(pathlib.Path(command[3]), int(command[4]))
        return types.SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(detection.subprocess, "run", run)
    return runs


def photograph(path, *dots, colour=(255, 0, 0), exif=None):
    pixels = np.zeros((30, 60, 3), np.uint8)
    for x, y in dots:
        pixels[y, x] = colour
    Image.fromarray(pixels).save(path, **({"exif": exif} if exif else {}))
    return path


def test_faces_of_each_photograph_from_left_to_right_in_pixels(tmp_path, stand_in):
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    paths = [
        photograph(tmp_path / "two.png", (40, 10), (20, 20)),
        photograph(tmp_path / "none.png"),
        photograph(tmp_path / "green.png", (5, 5), colour=(0, 255, 0)),
        tmp_path / "missing.png",
        photograph(tmp_path / "turned.png", (59, 29), exif=turned),
    ]
    faces, wrong = find_faces(paths, python="there/python")
    assert list(faces) == [paths[0], paths[1], paths[4]]
    assert faces[paths[0]].shape == (2, 478, 3)
    np.testing.assert_allclose(faces[paths[0]][:, 0], [[20, 20, -6], [40, 10, -6]])
    assert len(faces[paths[1]]) == 0
    np.testing.assert_allclose(faces[paths[4]][0, 477], [0, 0, -6], atol=1e-9)
    assert len(wrong) == 2
    assert "missing.png: cannot be read" in wrong[0]
    assert wrong[1] == f"{paths[2]}: MediaPipe failed: no green"


def test_many_photographs_are_found_in_batches(tmp_path, stand_in):
    paths = [photograph(tmp_path / f"{i}.png", (i, 1)) for i in range(19)]
    faces, wrong = find_faces(paths, python="there/python")
    assert not wrong
    assert [round(face[0, 0, 0]) for face in faces.values()] == list(range(19))
    assert len(stand_in) == 2 and stand_in[0] > stand_in[1] > 60


@pytest.mark.parametrize(("script", "reason"), [
    ("#!/bin/sh\necho trace >&2; echo 'ModuleNotFoundError: No module' >&2; exit 1\n",
     "ModuleNotFoundError: No module;"),
    ("#!/bin/sh\nexit 7\n", "no answer, exit status 7"),
    ("#!/bin/sh\nexit 0\n", "no answer, exit status 0"),
    ("#!/bin/sh\necho rubbish > $3/faces.npz\n", "no answer, exit status 0"),
    ("#!/bin/sh\nexec sleep 60\n", "no answer within 1 s"),
    (None, "No such file"),
])
def test_failing_interpreter_is_reported_with_the_commands_for_a_good_one(
    tmp_path, monkeypatch, script, reason
):
    monkeypatch.setattr(detection, "_START_SECONDS", 1)
    monkeypatch.setattr(detection, "_PHOTOGRAPH_SECONDS", 0)
    python = tmp_path / "python"
    if script:
        executable(python, script)
    with pytest.raises(ValueError, match=reason) as error:
        find_faces([photograph(tmp_path / "a.png")], python=python)
    assert "pip install 'mediapipe==0.10.21' 'numpy<2'" in str(error.value)
    assert "\n" not in str(error.value)


def test_answer_is_read_without_pickle_and_checked(tmp_path):
    path = photograph(tmp_path / "a.png")
    answer = (f"#!{sys.executable}\nimport sys\nimport numpy as np\n"
              "np.savez(sys.argv[3] + '/faces.npz', **{'0': %s})\n")
    for found, reason in (("np.zeros((1, 68, 3))", "shape (68, 3), expected (468, 3)"),
                          ("np.full((1, 468, 3), np.nan)", "not finite")):
        python = executable(tmp_path / "python", answer % found)
        faces, (line,) = find_faces([path], python=python)
        assert not faces and reason in line
    python = executable(tmp_path / "python", answer % "np.array([{}], object)")
    with pytest.raises(ValueError, match="cannot be run by"):
        find_faces([path], python=python)


# The Face Landmarker, in this environment


class FakeMediaPipe:
    """The task of MediaPipe: a face in every photograph that is not black, but fails on white."""

    ImageFormat = types.SimpleNamespace(SRGB=1)
    Image = types.SimpleNamespace

    def __init__(self):
        self.tasks = self.vision = self.FaceLandmarker = self
        self.BaseOptions = self.FaceLandmarkerOptions = types.SimpleNamespace
        self.is_open = False

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
        face = [types.SimpleNamespace(x=0.5, y=0.25, z=-0.1)] * 478
        return types.SimpleNamespace(face_landmarks=[face] if image.data.any() else [])


def test_landmarker_goes_on_past_photographs_that_fail(tmp_path, monkeypatch):
    fake = FakeMediaPipe()
    monkeypatch.setitem(sys.modules, "mediapipe", fake)
    shades = {"grey": 90, "black": 0, "white": 255}
    paths = [tmp_path / f"{name}.png" for name in (*shades, "missing")]
    for path, shade in zip(paths, shades.values(), strict=False):
        Image.fromarray(np.full((100, 200), shade, np.uint8)).save(path)
    model = tmp_path / "face_landmarker.task"
    model.touch()
    faces, wrong = find_faces(paths, model=model)
    np.testing.assert_allclose(faces.pop(paths[0]), np.tile([100, 25, -20], (1, 478, 1)))
    assert [len(found) for found in faces.values()] == [0]
    assert "missing.png: cannot be read" in wrong[0]
    assert wrong[1].endswith("white.png: MediaPipe failed: CalculatorGraph::Run() failed: ")
    assert not fake.is_open
    cut = tmp_path / "cut.task"
    cut.touch()
    with pytest.raises(ValueError, match=r"cut\.task.*Unable to open zip archive\.$"):
        find_faces(paths, model=cut)


def test_one_way_to_mediapipe_is_named(tmp_path):
    for ways in ({}, {"model": "a", "python": "b"}):
        with pytest.raises(ValueError, match="model, python: expected one"):
            find_faces([], **ways)
    with pytest.raises(ValueError, match="no such model file"):
        find_faces([], model=tmp_path / "face_landmarker.task")
    if importlib.util.find_spec("mediapipe") is None:
        (tmp_path / "face_landmarker.task").touch()
        with pytest.raises(ImportError, match=r"pip install 'deepmds-jax\[mediapipe\]'"):
            find_faces([], model=tmp_path / "face_landmarker.task")


# MediaPipe itself


@pytest.fixture(params=["python", "model"])
def way(request):
    if request.param == "python":
        value = os.environ.get("DEEPMDS_FACE_MESH_PYTHON")
        if not value:
            pytest.skip("no environment with MediaPipe's Face Mesh: DEEPMDS_FACE_MESH_PYTHON")
    else:
        value = os.environ.get("DEEPMDS_FACE_MODEL")
        if not value:
            pytest.skip("no model file of MediaPipe's face landmarker: DEEPMDS_FACE_MODEL")
        pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    return {request.param: value}


def read_examples():
    rows = (EXAMPLES / "collins.pts").read_text().split("{")[1].split("}")[0].split()
    collins = np.array(rows, float).reshape(68, 2) - 1
    hopper = np.array(json.loads((EXAMPLES / "hopper.json").read_text())["landmarks"])
    return {"collins": collins, "hopper": hopper}


def test_mediapipe_finds_the_landmarks_placed_by_hand(tmp_path, way):
    landmarks = read_examples()
    both = [np.asarray(Image.open(EXAMPLES / f"{name}.jpg").convert("RGB"))[:340]
            for name in landmarks]
    Image.fromarray(np.hstack(both)).save(tmp_path / "both.png")
    Image.fromarray(np.zeros((99, 120, 3), np.uint8)).save(tmp_path / "black.png")
    alone = [EXAMPLES / f"{name}.jpg" for name in landmarks]
    paths = [*alone, tmp_path / "both.png", tmp_path / "black.png"]
    faces, wrong = find_faces(paths, **way)
    assert not wrong
    assert [len(faces[path]) for path in paths] == [1, 1, 2, 0]
    right = np.pad([[[both[0].shape[1], 0]]], ((1, 0), (0, 0), (0, 0)))
    meshes = np.stack([faces[path][0] for path in alone])
    for found in (meshes, faces[paths[2]] - np.pad(right, ((0, 0), (0, 0), (0, 1)))):
        for mesh, points in zip(found, landmarks.values(), strict=True):
            eyes = np.linalg.norm(points[36] - points[45])
            off = np.linalg.norm(to_landmarks(mesh, "ibug68")[:, :2] - points, axis=1) / eyes
            assert off[:17].mean() < 0.09 and off[17:].mean() < 0.05
            nose, chin, ears = (to_landmarks(mesh, "ibug68")[i, 2] for i in (30, 8, [0, 16]))
            assert nose < chin < ears.min()  # z away from the viewer


def test_mediapipe_agrees_with_its_stored_points(shared, way):
    """Those are of the model without refined eyes and lips."""
    folder = shared / "data/celeba_hq_samples"
    faces, _ = find_faces(list_photographs(folder), **way)
    assert len(faces) == 4
    for path, (mesh,) in faces.items():
        stored = np.load(folder / f"{path.stem}_mediapipe468.npy")
        off = np.linalg.norm(mesh[:468] - stored, axis=1).mean()
        assert off < 0.04 * np.linalg.norm(stored[33] - stored[263])
