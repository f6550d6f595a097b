"""Files as 3DDFA's MATLAB writes them, from a face known in the frame of its face model."""

import functools
import logging
import re
import shutil

import numpy as np
import pytest
import scipy.io
from PIL import Image
from scipy.spatial.transform import Rotation

from deepmds_jax import topologies
from deepmds_jax.data.sources import aflw2000, synthetic

POSE = np.array([-0.3, 0.5, 0.1, 220.0, 240.0, -60.0, 9e-4])  # pitch, yaw, roll, t, f
HEIGHT = 450


@functools.cache
def head():
    """(68, 3) in our frame and millimetres, about the centroid."""
    face = np.asarray(synthetic.load("ibug68").mean, np.float64)
    face *= 90 / np.ptp(face[:, 0])
    return face - face.mean(axis=0)


def write(folder, name, pose=POSE, **fields):
    """What 3DDFA does: p = f R V + t in micrometres, y up; then y counted down from 1."""
    vertices = head() * [1, -1, -1] * 1000
    pitch, yaw, roll = pose[:3]
    rotation = Rotation.from_euler("XYZ", [-pitch, -yaw, -roll]).as_matrix()
    drawn = pose[6] * vertices @ rotation.T + pose[3:6]
    drawn[:, 1] = HEIGHT + 1 - drawn[:, 1]
    content = {
        "pt3d_68": drawn.T, "Pose_Para": pose[None].astype(np.float32),
        "pt2d": np.full((2, 21), -1.0), "roi": np.array([[1, 1, 450, 450]]),
        "Shape_Para": np.zeros((199, 1)), "Exp_Para": np.zeros((29, 1)),
    } | fields
    scipy.io.savemat(folder / f"{name}.mat", {k: v for k, v in content.items() if v is not None})
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT, HEIGHT, 3), np.uint8)
    Image.fromarray(image).save(folder / f"{name}.jpg")
    return drawn


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aflw2000")
    for name in ("image00002", "image00004", "image00006"):
        write(folder, name)
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "aflw2000")


def test_heads_are_turned_back_to_the_front_in_millimetres(original):
    faces = aflw2000.load("ibug68", original)
    points = np.asarray(faces.points)
    assert faces.names == ("image00002", "image00004", "image00006")
    assert points.shape == (3, 68, 3)
    np.testing.assert_allclose(points[0], head(), atol=1e-3)
    # x right, y down, z away: seen by anatomy.
    names = topologies.get("ibug68").landmarks
    nose, chin, left, right = (
        points[0][names.index(name)]
        for name in ("pronasale", "menton", "exocanthion_left", "exocanthion_right")
    )
    assert nose[2] < left[2] - 10
    assert chin[1] > nose[1] + 10
    assert left[0] > right[0]


def test_a_frontal_nose_has_the_largest_z_in_the_file_and_the_least_in_ours(tmp_path):
    drawn = write(tmp_path, "frontal", np.array([0, 0, 0, 200, 200, 0, 1e-3]))
    nose = topologies.get("ibug68").landmarks.index("pronasale")
    assert drawn[:, 2].argmax() == nose
    assert np.asarray(aflw2000.load("ibug68", tmp_path).points)[0, :, 2].argmin() == nose


def test_image_points_count_from_0_and_images_lie_beside(folder):
    drawn = write(folder, "image00004", POSE * [1, 1, 1, 1, 1, 1, 1.1])
    (folder / "image00006.jpg").unlink()
    faces = aflw2000.load("ibug68", folder)
    np.testing.assert_allclose(np.asarray(faces.x2d)[1], drawn[:, :2] - 1, rtol=1e-6)
    assert faces.images == (folder / "image00002.jpg", folder / "image00004.jpg", None)
    assert (faces.topology, faces.unit) == ("ibug68", "mm")


def test_flame51_are_the_last_51(original):
    all_of_them, inner = (aflw2000.load(name, original) for name in ("ibug68", "flame51"))
    np.testing.assert_array_equal(inner.points, np.asarray(all_of_them.points)[:, 17:])
    np.testing.assert_array_equal(inner.x2d, np.asarray(all_of_them.x2d)[:, 17:])


def points_with(index, value):
    points = np.random.default_rng(0).uniform(50, 400, (3, 68))
    points[:2, index] = value
    return points


DAMAGE = {
    "cut off": (lambda d: cut(d / "image00004.mat"), "expected a MATLAB file"),
    "no pt3d_68, as in 300W-LP": (
        lambda d: write(d, "image00004", pt3d_68=None), "no 'pt3d_68'"),
    "no pose": (lambda d: write(d, "image00004", Pose_Para=None), "no 'Pose_Para'"),
    "21 landmarks": (
        lambda d: write(d, "image00004", pt3d_68=np.ones((3, 21))),
        r"pt3d_68 has shape \(3, 21\), expected \(3, 68\)"),
    "a landmark that is missing": (
        lambda d: write(d, "image00004", pt3d_68=points_with(7, -1)),
        r"landmarks \[7\] are missing"),
    "a landmark that is not finite": (
        lambda d: write(d, "image00004", pt3d_68=points_with(7, np.nan)), "2 and 0 that"),
    "scale 0": (lambda d: write(d, "image00004", POSE, Pose_Para=np.zeros((1, 7))), "scale 0.0"),
    "text": (
        lambda d: write(d, "image00004", pt3d_68=np.array(["a"])), "expected a MATLAB file"),
}


def cut(path, keep=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_left_out_with_a_warning(damage, folder, caplog):
    make, reason = DAMAGE[damage]
    make(folder)
    with caplog.at_level(logging.WARNING, "absl"):
        faces = aflw2000.load("ibug68", folder)
    assert faces.names == ("image00002", "image00006")
    first, last = (record.getMessage() for record in caplog.records)
    assert "image00004.mat" in first
    assert "left out 1 of 3 faces: image00004" in last
    (problem,) = aflw2000.check(folder)
    assert "\n" not in problem
    assert re.search(reason, problem)
    assert problem in first


def test_check_reads_every_photograph(folder):
    assert aflw2000.check(folder) == []
    cut(folder / "image00002.jpg")
    (folder / "image00006.jpg").unlink()
    problems = aflw2000.check(folder)
    assert len(problems) == 2
    assert "image00002.jpg: not a whole picture" in problems[0]
    assert problems[1] == f"no {folder / 'image00006.jpg'}"


def test_an_empty_folder_and_another_topology_raise(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=r"\*\.mat"):
        aflw2000.load("ibug68", empty)
    assert aflw2000.check(empty) == [f"no {empty / '*.mat'}"]
    with pytest.raises(ValueError, match=r"aflw2000 has \['ibug68', 'flame51'\], got 'bfm72'"):
        aflw2000.load("bfm72", folder)


def test_no_file_that_can_be_read_raises(folder):
    for path in folder.glob("*.mat"):
        cut(path)
    with pytest.raises(ValueError, match="none of 3 faces can be read"):
        aflw2000.load("ibug68", folder)
