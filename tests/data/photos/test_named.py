"""Photographs of named faces: the names that faces get, and the photographs that names get."""

import numpy as np
import pytest
from PIL import Image

from deepmds_jax.data.photos import named
from deepmds_jax.data.photos.detection import Detector, check_topology
from deepmds_jax.data.photos.mesh_landmarks import to_landmarks

RED = (255, 0, 0)


@pytest.fixture
def folder(tmp_path):
    """Photographs of one colour, in a folder."""
    def make(*names):
        for name in names:
            Image.new("RGB", (4, 3), RED).save(tmp_path / name)
        return tmp_path

    return make


def meshes(number):
    """Meshes (number, 478, 3) that tell each other apart."""
    return np.arange(number)[:, None, None] + np.random.default_rng(0).random((number, 478, 3))


def test_faces_have_the_name_of_their_photograph_and_a_number(folder, monkeypatch):
    photographs = folder("one.png", "two.png", "same.bmp", "same.png", "none.png")
    found = {photographs / name: meshes(number) for name, number in (
        ("one.png", 1), ("two.png", 2), ("same.bmp", 1), ("same.png", 2), ("none.png", 0))}
    detector = Detector("MediaPipe", lambda image: meshes(0), to_landmarks, "")
    asked = []

    def find_faces(detector, files):
        asked.append((detector, files))
        return found, ["cut.jpg: cannot be read"]

    monkeypatch.setattr(named, "find_faces", find_faces)
    faces = named.find_named_faces(named.list_files(photographs), "flame51", detector)
    assert asked == [(detector, sorted(found))]
    assert list(faces.landmarks) == [
        "one", "two#0", "two#1", "same.bmp", "same.png#0", "same.png#1"]
    np.testing.assert_array_equal(
        faces.landmarks["two#1"], to_landmarks(found[photographs / "two.png"][1], "flame51"))
    assert faces.files["same.png#1"] == photographs / "same.png"
    assert faces.left_out == ["cut.jpg: cannot be read",
                              f"{photographs / 'none.png'}: no face found"]


def test_landmarks_that_detectors_do_not_have_are_told():
    check_topology("ibug68")
    with pytest.raises(ValueError, match=r"^weights: detectors find .*, not of bfm72"):
        check_topology("bfm72")


def test_no_photographs_name_the_flag(tmp_path):
    for call in (lambda image: named.match_photographs(image, ["a"]),
                 named.list_files):
        with pytest.raises(ValueError, match=r"^image: no such file or folder: .*none.png"):
            call(tmp_path / "none.png")
        with pytest.raises(ValueError, match=r"^image: .*: no photographs, expected some of"):
            call(tmp_path)


def test_names_begin_like_the_file_of_their_photograph(folder):
    photographs = folder("face.png", "face_1.png", "face10.jpg")
    found, without = named.match_photographs(
        photographs, ["face", "face#2", "face_1", "face_1_lmks#0", "face10", "face100", "other"])
    assert {name: file.name for name, file in found.items()} == {
        "face": "face.png", "face#2": "face.png", "face_1": "face_1.png",
        "face_1_lmks#0": "face_1.png", "face10": "face10.jpg",
    }  # the longest name that ends where the face's goes on with no letter or digit
    assert without == ["face100", "other"]


def test_whole_file_names_tell_photographs_of_one_stem_apart(folder):
    photographs = folder("a.png", "a.jpg")
    found, without = named.match_photographs(photographs, ["a.png", "a.jpg#1"])
    assert {name: file.name for name, file in found.items()} == {
        "a.png": "a.png", "a.jpg#1": "a.jpg"}
    assert not without


def test_one_photograph_is_of_all_faces(folder):
    file = folder("face.png") / "face.png"
    assert named.match_photographs(file, ["a", "b"]) == ({"a": file, "b": file}, [])
    assert named.match_photographs(None, ["a"]) == ({}, [])
    assert named.match_photographs("nowhere", []) == ({}, [])  # no face asks for one


def test_photographs_are_read_once_and_those_that_cannot_be_are_told(folder, monkeypatch):
    photographs = folder("face.png")
    (photographs / "cut.png").write_bytes((photographs / "face.png").read_bytes()[:40])
    read = []
    read_photograph = named.read_photograph
    monkeypatch.setattr(
        named, "read_photograph", lambda file: read.append(file) or read_photograph(file))
    files = {"a": photographs / "face.png", "b": photographs / "cut.png",
             "c": photographs / "face.png", "d": photographs / "cut.png"}
    opened, left_out = named.read_photographs(files)
    assert list(opened) == ["a", "c"]
    np.testing.assert_array_equal(opened["c"], np.full((3, 4, 3), RED))
    assert read == [photographs / "face.png", photographs / "cut.png"]
    assert len(left_out) == 1
    assert "cut.png: cannot be read" in left_out[0]
