"""bin/reconstruct on photographs, with a stand-in for the detector, and with MediaPipe itself."""

import contextlib
import csv
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from deepmds_jax.data.formats.landmark_files import read_landmarks
from deepmds_jax.data.photos import detection
from deepmds_jax.data.photos.detection import Detector
from deepmds_jax.data.photos.face_model import fetch_face_model
from deepmds_jax.data.photos.mesh_landmarks import FLAME51_POINTS, to_landmarks
from deepmds_jax.evaluation import reconstructions

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def stand_in(monkeypatch):
    """Finds a face where the red channel is 1 and one where it is 2, in the box of these pixels.

    Its mesh is the landmarks of an example, with a nose; its depth is half its width. Returns the
    models that were asked for.
    """
    x2d = read_landmarks(EXAMPLES / "hopper.json")["hopper"].points[17:]
    depth = np.abs(x2d[:, 0] - x2d[13, 0]) / np.ptp(x2d[:, 0])
    depth[10:14] = [0, -0.1, -0.2, -0.3]
    mesh = np.zeros((478, 3))
    mesh[FLAME51_POINTS] = np.column_stack([(x2d - x2d.min(0)) / np.ptp(x2d, axis=0), depth])

    def detect(pixels):
        faces = []
        for value in (1, 2):
            y, x = np.nonzero(pixels[..., 0] == value)
            if len(y):
                size = [np.ptp(x), np.ptp(y), np.ptp(x) / 2]
                faces.append(mesh * size + [x.min(), y.min(), 0])
        return np.array(sorted(faces, key=lambda face: face[:, 0].mean())).reshape(-1, 478, 3)

    models = []

    def open_detector(model):
        models.append(model)
        flat = model == "flat.dat"
        return contextlib.nullcontext(Detector(
            "dlib" if flat else "MediaPipe",
            lambda pixels: detect(pixels)[..., : 2 if flat else 3], to_landmarks,
            "note: a licence" if flat else ""))

    monkeypatch.setattr(reconstructions, "open_detector", open_detector)
    return models


def photograph(path, *boxes, exif=None):
    """A photograph with a face in each box (left, top, right, bottom)."""
    pixels = np.full((300, 500, 3), 200, np.uint8)
    for i, (left, top, right, bottom) in enumerate(boxes):
        pixels[top : bottom + 1, left : right + 1, 0] = i + 1
    Image.fromarray(pixels).save(path, **({"exif": exif} if exif else {}))


def test_faces_in_photographs_are_lifted_beside_mediapipes(tmp_path, stand_in, call):
    folder = tmp_path / "photographs"
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    photograph(folder / "one.png", (100, 100, 300, 250), exif=turned)
    photograph(folder / "two.png", (300, 20, 480, 160), (20, 30, 200, 170))
    photograph(folder / "same.png", (100, 100, 300, 250))
    photograph(folder / "same.bmp", (100, 100, 300, 250))
    photograph(folder / "none.png")
    (folder / "cut.jpg").write_bytes((EXAMPLES / "collins.jpg").read_bytes()[:3000])
    done = call("reconstruct", f"--image={folder}",
                "--out=o/f.npz,o/f.json,o/f.csv,o/f.obj,o/f.ply")
    assert stand_in == [None]
    assert done.status == 0, done.stderr
    assert "none.png: no face found" in done.stderr
    assert "cut.jpg: cannot be read" in done.stderr
    found = np.load(tmp_path / "o/f.npz")
    assert list(found["names"]) == ["one", "same.bmp", "same.png", "two#0", "two#1"]
    assert found["topology"] == "flame51"
    boxes = [(199, 49, 399, 199), (100, 100, 300, 250), (100, 100, 300, 250),
             (20, 30, 200, 170), (300, 20, 480, 160)]
    np.testing.assert_allclose(found["x2d"].min(1), [box[:2] for box in boxes], atol=1e-6)
    np.testing.assert_allclose(found["x2d"].max(1), [box[2:] for box in boxes], atol=1e-6)
    np.testing.assert_allclose(found["mediapipe"][..., :2], found["x2d"])
    assert found["points"].shape == (5, 51, 3)
    assert (found["points"][:, 13, 2] < found["points"][:, 28, 2]).all()  # nose before the eyes
    for suffix in ("json", "csv", "obj", "ply"):
        assert (tmp_path / "o" / f"f.{suffix}").stat().st_size > 5000
    with open(tmp_path / "o/f.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 5 * 51
    assert "mediapipe" in json.loads((tmp_path / "o/f.json").read_text())["faces"]["two#0"]
    with Image.open(tmp_path / "o/f.png") as picture:
        assert picture.size[1] > 10 * 2.2 * 200  # a row for each face, and one for MediaPipe's

    summary, compared = done.stdout.split("beside MediaPipe")
    assert "yaw (deg)" in summary
    rows = [line.split() for line in compared.splitlines() if line.startswith(("two#", "same"))]
    assert [row[-1] for row in rows] == ["yes"] * 4  # the same handedness
    numbers = np.array([[float(cell) for cell in row[1:-1]] for row in rows])
    np.testing.assert_allclose(numbers[0], numbers[1], rtol=1e-2)  # one photograph in two formats
    reprojection, _, _, difference, correlation = numbers.T
    assert (reprojection > 0).all() and (reprojection < 25).all()
    assert (difference > 1).all() and (correlation < 1).all()
    # What the file holds gives the same: distances over the outer eyes'.
    placed = found["image_points"][3]
    off = np.linalg.norm(placed[:, :2] - found["x2d"][3], axis=1).mean()
    assert numbers[2, 0] == pytest.approx(100 * off / np.linalg.norm(placed[19] - placed[28]),
                                          rel=1e-2)


def test_a_detector_without_depth_has_no_shape_beside_ours(tmp_path, stand_in, call):
    photograph(tmp_path / "one.png", (100, 100, 300, 250))
    done = call("reconstruct", "--image=one.png", "--face_model=flat.dat", "--out=f.npz")
    assert done.status == 0 and stand_in == ["flat.dat"]
    assert done.stderr == "note: a licence\n"
    assert "beside" not in done.stdout
    assert "mediapipe" not in np.load(tmp_path / "f.npz")


@pytest.mark.parametrize(("arguments", "message"), [
    (("--image=none.png",), "image: no such file or folder"),
    (("--image=face.png",), "face.png: no face found"),
    (("--image=face.png", "--weights=bfm.safetensors"), "bfm.safetensors"),
    ((EXAMPLES / "hopper.json", "--image=face.png", "--face_model=a.task"), "no landmark files"),
    (("--face_model=a.task",), "give --image"),
])
def test_bad_input_is_told_in_a_line(tmp_path, stand_in, fail, arguments, message):
    photograph(tmp_path / "face.png")
    assert message in fail("reconstruct", *arguments, "--out=out/f.npz")
    assert not (tmp_path / "out").exists()


def test_missing_models_are_told_in_a_line(tmp_path, fail, monkeypatch):
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    pytest.importorskip("pooch", reason="pooch is not installed")
    photograph(tmp_path / "face.png")
    monkeypatch.setattr(detection, "fetch_face_model", lambda: fetch_face_model(
        tmp_path / "cache", "http://127.0.0.1:9/face_landmarker.task"))
    told = fail("reconstruct", "--image=face.png").splitlines()
    assert told[-1].startswith("error: face_model: ") and "(no connection); fetch it" in told[-1]
    assert "no such file or folder: none.png" in fail("reconstruct", "--image=none.png")
    told = fail("reconstruct", "--image=face.png", "--face_model=none.task")
    assert told == "error: face_model: none.task: no such file\n"


def test_photographs_that_fit_no_landmark_file_are_told(tmp_path, call):
    folder = tmp_path / "photographs"
    folder.mkdir()
    photograph(folder / "else.png")
    (folder / "hopper.jpg").write_bytes((EXAMPLES / "hopper.jpg").read_bytes()[:3000])
    done = call("reconstruct", EXAMPLES, f"--image={folder}")
    assert "image: none of the photographs in" in done.stderr
    assert "is named like collins; drawn without" in done.stderr
    assert "hopper.jpg: cannot be read" in done.stderr
    assert done.status == 1  # that one is no whole photograph
    assert (tmp_path / "out/faces.png").exists()
    assert len(np.load(tmp_path / "out/faces.npz")["names"]) == 2


def test_examples_with_mediapipe_itself(tmp_path, shared, succeed):
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    model = shared / "data/face_landmarker/face_landmarker.task"
    if not model.is_file():
        pytest.skip(f"no {model}")
    succeed("reconstruct", f"--image={EXAMPLES}", f"--face_model={model}", "--weights=ibug68")
    found = np.load(tmp_path / "out/faces.npz")
    for name, x2d in zip(found["names"], found["x2d"], strict=True):
        file = next(EXAMPLES.glob(f"{name}.[pj][ts]*"))
        by_hand = next(iter(read_landmarks(file).values())).points
        off = np.linalg.norm(x2d - by_hand, axis=1).mean()
        assert off < 0.045 * np.linalg.norm(by_hand[36] - by_hand[45])
