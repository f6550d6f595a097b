"""Landmark files, written by others' writers or by hand, and damaged ones."""

import csv
import json
import pickle

import numpy as np
import pytest
import scipy.io

from deepmds_jax.data.formats.landmark_files import list_landmark_files, read_landmarks

FACE = np.array([[10.0, 20.5], [30.25, 21.0], [20.0, 35.125], [15.5, 44.0]])
FACES = np.stack([FACE, FACE[::-1] + 3.0, FACE * 2.0])
PTS = "version: 1\nn_points:  4\n{\n11 21.5\n31.25 22.0\n21.000 36.125\n16.5 45\n}\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def write_rows(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def assert_faces(faces, expected):
    assert list(faces) == list(expected)
    for name, points in expected.items():
        assert faces[name].points.dtype == np.float64
        np.testing.assert_array_equal(faces[name].points, points)
        assert faces[name].visible.all()


# Every entry writes FACE, or FACES, into a folder and gives back the file and the expected names.
def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def npy(path, array):
    np.save(path, array)
    return path


def mat(path, **arrays):
    scipy.io.savemat(path, arrays)
    return path


WIDE = [f"{axis}{i}" for i in range(4) for axis in "xy"]
ONE_FACE = {
    "300-W, counted from 1": lambda d: write(d / "a.pts", PTS),
    "300-W, Windows line ends": lambda d: write(d / "a.pts", PTS.replace("\n", "\r\n")),
    "npy": lambda d: npy(d / "a.npy", FACE),
    "npy, float32, Fortran order": lambda d: npy(d / "a.npy", np.asfortranarray(FACE, np.float32)),
    "npy, transposed": lambda d: npy(d / "a.npy", FACE.T),
    "npy, batch of one": lambda d: npy(d / "a.npy", FACE[None]),
    "npz, one array of any name": lambda d: npz(d / "a.npz", arr_0=FACE),
    "npz, landmarks": lambda d: npz(d / "a.npz", image=np.zeros((5, 5, 3)), landmarks=FACE),
    "npz, x2d": lambda d: npz(d / "a.npz", x2d=FACE, stress=np.zeros(1)),
    "mat, landmarks": lambda d: mat(d / "a.mat", landmarks=FACE, names="ignored"),
    "mat, one array of any name": lambda d: mat(d / "a.mat", shape=FACE),
    "mat, 300W-LP, counted from 1": lambda d: mat(d / "a.mat", pt2d=FACE.T + 1, roi=[1, 2, 3, 4]),
    "mat, AFLW2000-3D, counted from 1": lambda d: mat(
        d / "a.mat",
        pt2d=-np.ones((2, 21)),
        pt3d_68=np.vstack([FACE.T + 1, np.full(4, 7.0)]),
        Pose_Para=np.zeros((1, 7)),
    ),
    "mat, 300W-LP landmarks, counted from 1": lambda d: mat(
        d / "a.mat", pts_2d=FACE + 1, pts_3d=FACE
    ),
    "json, list": lambda d: write(d / "a.json", json.dumps(FACE.tolist())),
    "json, byte order mark": lambda d: write(d / "a.json", "\ufeff" + json.dumps(FACE.tolist())),
    "json, landmarks": lambda d: write(
        d / "a.json", json.dumps({"version": 1, "landmarks": FACE.tolist()})
    ),
    "json, face by name": lambda d: write(d / "b.json", json.dumps({"a": FACE.tolist()})),
    "csv, x and y": lambda d: write_rows(d / "a.csv", [["x", "y"], *FACE.tolist()]),
    "csv, columns in another order": lambda d: write_rows(
        d / "a.csv", [["Y", "name", "X"], *[[y, "chin, left", x] for x, y in FACE]]
    ),
    "csv, no header": lambda d: write_rows(d / "a.csv", FACE.tolist()),
    "csv, no header, names": lambda d: write_rows(d / "a.csv", [["p", x, y] for x, y in FACE]),
    "csv, blank lines": lambda d: write(
        d / "a.csv", "\n\nx,y\n" + "\n\n".join(f" {x} , {y}" for x, y in FACE) + "\n\n"
    ),
    "csv, row per face": lambda d: write_rows(d / "a.csv", [WIDE, FACE.ravel().tolist()]),
    "csv, row per face, counted from 1": lambda d: write_rows(
        d / "a.csv", [[f"{a}{i}" for i in range(1, 5) for a in "xy"], FACE.ravel().tolist()]
    ),
    "csv, OpenFace": lambda d: write_rows(
        d / "a.csv",
        [
            ["frame", *[f" {a}_{i}" for a in "xyXYZ" for i in range(4)], "eye_lmk_x_0"],
            [1, *FACE.T.ravel(), *range(100, 112), 5],
        ],
    ),
}
SEVERAL_FACES = {
    "npy": lambda d: (npy(d / "a.npy", FACES), "a#0 a#1 a#2"),
    "npy, transposed": lambda d: (npy(d / "a.npy", FACES.swapaxes(1, 2)), "a#0 a#1 a#2"),
    "npz, array per face": lambda d: (
        npz(d / "a.npz", **dict(zip("pqr", FACES, strict=True))),
        "p q r",
    ),
    "npz, names": lambda d: (npz(d / "a.npz", points=FACES, names=list("rpq")), "r p q"),
    "mat": lambda d: (mat(d / "a.mat", points=FACES), "a#0 a#1 a#2"),
    "mat, array per face": lambda d: (
        mat(d / "a.mat", **dict(zip("pqr", FACES, strict=True))),
        "p q r",
    ),
    "json, batch": lambda d: (write(d / "a.json", json.dumps(FACES.tolist())), "a#0 a#1 a#2"),
    "json, names": lambda d: (
        write(d / "a.json", json.dumps({"points": FACES.tolist(), "names": ["r", "p", "q"]})),
        "r p q",
    ),
    "json, face by name": lambda d: (
        write(d / "a.json", json.dumps(dict(zip("rpq", FACES.tolist(), strict=True)))),
        "r p q",
    ),
    "csv, column face": lambda d: (
        write_rows(
            d / "a.csv",
            [["face", "landmark", "x", "y"]]
            + [[f, i, *FACES[k, i]] for k, f in enumerate("rpq") for i in range(4)],
        ),
        "r p q",
    ),
    "csv, row per face, names": lambda d: (
        write_rows(
            d / "a.csv",
            [["image", *WIDE]] + [[f, *FACES[k].ravel()] for k, f in enumerate("rpq")],
        ),
        "r p q",
    ),
    "csv, row per face, no header": lambda d: (
        write_rows(d / "a.csv", [[f, *FACES[k].ravel()] for k, f in enumerate("rpq")]),
        "r p q",
    ),
    "csv, row per face, no header, no names": lambda d: (
        write_rows(d / "a.csv", FACES.reshape(3, 8).tolist()),
        "a#0 a#1 a#2",
    ),
}


@pytest.mark.parametrize("layout", ONE_FACE)
def test_reads_one_face(layout, tmp_path):
    assert_faces(read_landmarks(ONE_FACE[layout](tmp_path)), {"a": FACE})


@pytest.mark.parametrize("layout", SEVERAL_FACES)
def test_reads_several_faces(layout, tmp_path):
    path, names = SEVERAL_FACES[layout](tmp_path)
    assert_faces(read_landmarks(path), dict(zip(names.split(), FACES, strict=True)))


def test_two_points_are_rows(tmp_path):
    assert_faces(read_landmarks(npy(tmp_path / "a.npy", FACE[:2])), {"a": FACE[:2]})


def test_takes_path_as_text_and_any_case(tmp_path):
    assert_faces(read_landmarks(str(write(tmp_path / "A.PTS", PTS))), {"A": FACE})


def test_landmarks_of_photographs(shared):
    path = shared / "data/celeba_hq_samples/imgHQ00039_lmks.npy"
    (face,) = read_landmarks(path).values()
    points = face.points
    assert points.shape == (51, 2) and points.min() > 0 and points.max() < 1024


def nan_face(value=np.nan):
    points = FACE.copy()
    points[2, 1] = value
    return points


def cut(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


TABLE = r"expected \(N, 2\) or \(faces, N, 2\)$"
BROKEN = {
    "unknown extension": (
        lambda d: write(d / "a.doc", PTS),
        r"unknown landmark format, expected \.pts, \.json, \.csv, \.npy, \.npz, \.mat, ",
    ),
    "missing, unknown extension": (lambda d: d / "a", "a: no such file or folder$"),
    "missing": (lambda d: d / "a.pts", "cannot be read: No such file or directory$"),
    "folder": (lambda d: (d / "a.pts").mkdir() or d / "a.pts", "cannot be read: Is a directory$"),
    "pts, point missing": (
        lambda d: write(d / "a.pts", PTS.replace("31.25 22.0\n", "")),
        "3 points where the header says 4$",
    ),
    "pts, cut off": (lambda d: write(d / "a.pts", PTS[:45]), "cut off after 2 of 4 points"),
    "pts, no header": (lambda d: write(d / "a.pts", "11 21\n31 22\n"), "no header of 300-W"),
    "pts, empty": (lambda d: write(d / "a.pts", ""), "no header of 300-W"),
    "pts, no points": (
        lambda d: write(d / "a.pts", "n_points: 0\n{\n}\n"),
        "no points$",
    ),
    "pts, third coordinate": (
        lambda d: write(d / "a.pts", PTS.replace("31.25 22.0", "31 22 9")),
        "landmark 1: '31 22 9', expected two numbers, or three",
    ),
    "pts, letters": (
        lambda d: write(d / "a.pts", PTS.replace("22.0", "2Z")),
        "landmark 1: '2Z', expected a number$",
    ),
    "pts, binary": (
        lambda d: (d / "a.pts").write_bytes(b"\xff\xd8\xff\xe0") and d / "a.pts",
        "cannot be read",
    ),
    "npy, 4D": (lambda d: npy(d / "a.npy", np.ones((4, 5))), r"'a' has shape \(4, 5\), " + TABLE),
    "npy, flat": (lambda d: npy(d / "a.npy", FACE.ravel()), r"'a' has shape \(8,\), " + TABLE),
    "npy, no points": (
        lambda d: npy(d / "a.npy", np.ones((0, 2))),
        r"'a' has shape \(0, 2\), " + TABLE,
    ),
    "npy, no faces": (
        lambda d: npy(d / "a.npy", np.ones((0, 4, 2))),
        r"'a' has shape \(0, 4, 2\), " + TABLE,
    ),
    "npy, complex": (lambda d: npy(d / "a.npy", FACE * 1j), "'a' is not a table of numbers"),
    "npy, text": (lambda d: npy(d / "a.npy", FACE.astype(str)), "'a' is not a table of numbers"),
    "npy, cut off": (lambda d: cut(npy(d / "a.npy", FACE), 0.9), "cannot be read"),
    "npy, header cut off": (lambda d: cut(npy(d / "a.npy", FACE), 0.1), "cannot be read"),
    "npy, empty": (lambda d: cut(npy(d / "a.npy", FACE), 0), "cannot be read"),
    "npz, cut off": (lambda d: cut(npz(d / "a.npz", landmarks=FACE), 0.5), "cannot be read"),
    "npz, nothing in it": (lambda d: npz(d / "a.npz"), "no landmarks"),
    "npz, one name too few": (
        lambda d: npz(d / "a.npz", points=FACES, names=["a", "b"]),
        r"names have shape \(2,\), expected \(3,\)$",
    ),
    "mat, cut off": (lambda d: cut(mat(d / "a.mat", landmarks=FACE), 0.6), "cannot be read"),
    "mat, not one": (lambda d: write(d / "a.mat", PTS), "cannot be read"),
    "mat, 7.3": (
        lambda d: (
            (d / "a.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(64))
            and d / "a.mat"
        ),
        "MATLAB's 7.3 format",
    ),
    "mat, cells": (
        lambda d: mat(d / "a.mat", landmarks=np.array([FACE, "a"], object)),
        "'a' is not a table of numbers",
    ),
    "json, cut off": (
        lambda d: cut(write(d / "a.json", json.dumps(FACE.tolist())), 0.5),
        "cannot be read",
    ),
    "json, unequal rows": (
        lambda d: write(d / "a.json", "[[1, 2], [3]]"),
        "'a' is not a table of numbers, " + TABLE,
    ),
    "json, a number": (lambda d: write(d / "a.json", "3"), r"'a' has shape \(\), " + TABLE),
    "json, empty object": (lambda d: write(d / "a.json", "{}"), "no landmarks, " + TABLE),
    "csv, empty": (lambda d: write(d / "a.csv", "\n"), "no rows"),
    "csv, header alone": (
        lambda d: write(d / "a.csv", ",".join(WIDE)),
        "no rows under the header",
    ),
    "csv, header x,y alone": (lambda d: write(d / "a.csv", "x,y\n"), "no rows"),
    "csv, unknown header": (
        lambda d: write(d / "a.csv", "u,v\n1,2\n"),
        r"header 'u,v', expected x,y or x0,y0,",
    ),
    "csv, a column missing": (
        lambda d: write_rows(d / "a.csv", [WIDE[:-1], FACE.ravel()[:-1].tolist()]),
        "header 'x0,y0",
    ),
    "csv, row cut off": (
        lambda d: write(d / "a.csv", "x,y\n1,2\n\n3\n"),
        "line 4: 1 cells, expected 2$",
    ),
    "csv, letters": (
        lambda d: write(d / "a.csv", "x,y\n1,2\n3,four\n"),
        "line 3: 'four', expected a number$",
    ),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_refuses_in_one_line_that_names_the_file(damage, tmp_path):
    make, reason = BROKEN[damage]
    path = make(tmp_path)
    with pytest.raises(ValueError, match=reason) as refusal:
        read_landmarks(path)
    assert str(refusal.value).startswith(f"{path}: ") and "\n" not in str(refusal.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".json", ".csv", ".pts"])
def test_never_unpickles(suffix, tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise KeyboardInterrupt('code from a file ran')",))

    trap = np.array([Trap()], object)
    plain, in_npy, in_npz = (tmp_path / f"{name}{suffix}" for name in ("plain", "npy", "npz"))
    plain.write_bytes(pickle.dumps(trap))
    with in_npy.open("wb") as file:
        np.save(file, trap, allow_pickle=True)
    with in_npz.open("wb") as file:
        np.savez(file, landmarks=trap)
    for path in (plain, in_npy, in_npz):
        with pytest.raises(ValueError, match=r"cannot be read|expected"):
            read_landmarks(path)


def test_lists_landmark_files_sorted(tmp_path):
    for name in ("b.pts", "a.JSON", "photo.jpeg", "._a.pts", "notes.txt", "c.mat"):
        write(tmp_path / name, "")
    (tmp_path / "d.npz").mkdir()
    assert [file.name for file in list_landmark_files(tmp_path)] == ["a.JSON", "b.pts", "c.mat"]
    with pytest.raises(ValueError, match=r"d\.npz: no landmark files, expected some of \.pts"):
        list_landmark_files(tmp_path / "d.npz")
    with pytest.raises(ValueError, match=r"b\.pts: no such folder$"):
        list_landmark_files(str(tmp_path / "b.pts"))
