import csv
import json

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io
from absl import logging

from deepmds_jax import topologies
from deepmds_jax.data.formats.shape_files import write_shapes
from deepmds_jax.data.views import Faces
from deepmds_jax.methods.external import external

NAMES = ["a", "b/1", "c"]
POINTS = np.random.default_rng(0).normal(size=(3, 51, 3))
ROWS = Faces(jnp.zeros((2, 51, 2)), None, row=jnp.array([2, 0]))


@pytest.fixture
def warnings(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: lines.append(text % args))
    return lines


def save_csv(path):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["z", "face", "x", "y"])
        writer.writerows([z, name, x, y] for name, face in zip(NAMES, POINTS, strict=True)
                         for x, y, z in face)


def cell(names):
    return np.array(names, object)


WRITERS = {
    "named.npz": lambda path: np.savez(path, names=NAMES[::-1], points=POINTS[::-1]),
    "photographs.npz": lambda path: np.savez(path, names=[f"{n}.jpg" for n in NAMES],
                                             landmarks=POINTS),
    "each.npz": lambda path: np.savez(path, a=POINTS[0], c=POINTS[2], **{"b/1": POINTS[1]}),
    "rows.npy": lambda path: np.save(path, POINTS),
    "named.mat": lambda path: scipy.io.savemat(path, {"points": POINTS, "names": cell(NAMES)}),
    "each.json": lambda path: path.write_text(
        json.dumps(dict(zip(NAMES, POINTS.tolist(), strict=True)))),
    "rows.json": lambda path: path.write_text(json.dumps(POINTS.tolist())),
    "each.csv": save_csv,
}


@pytest.mark.parametrize("file", WRITERS)
def test_reads_every_format(tmp_path, file):
    WRITERS[file](tmp_path / file)
    method = external(tmp_path / file, NAMES, "flame51")
    assert method.title == file.split(".")[0]
    np.testing.assert_allclose(method.predict(ROWS), POINTS[[2, 0]], rtol=1e-6)


@pytest.mark.parametrize("extension", [".npz", ".json", ".csv"])
def test_reads_what_this_package_writes(tmp_path, extension):
    path = tmp_path / f"shapes{extension}"
    faces = {name: {"points": points} for name, points in zip(NAMES, POINTS, strict=True)}
    write_shapes(path, faces, topologies.get("flame51"))
    points = external(path, NAMES, "flame51").predict(ROWS)
    np.testing.assert_allclose(points, POINTS[[2, 0]], rtol=1e-6)


def test_reads_a_folder_and_counts_what_is_missing(tmp_path, warnings):
    np.save(tmp_path / "c.npy", POINTS[2])
    np.save(tmp_path / "another.npy", POINTS[1])
    points = np.asarray(external(tmp_path, NAMES, "flame51").predict(ROWS))
    np.testing.assert_allclose(points[0], POINTS[2], rtol=1e-6)
    assert np.isnan(points[1]).all()
    assert warnings == [f"{tmp_path}: 2 of 3 faces have no prediction and count as not finite: "
                        "a, b/1"]


def test_face_that_is_not_finite_is_missing(tmp_path, warnings):
    points = POINTS.copy()
    points[0, 7, 1] = np.inf
    np.save(tmp_path / "x.npy", points)
    assert np.isnan(external(tmp_path / "x.npy", NAMES, "flame51").predict(ROWS)[1]).all()
    assert "1 of 3 faces" in warnings[0]


@pytest.mark.parametrize(("frame", "signs"), [
    ("camera", (1, 1, 1)), ("mesh", (1, -1, -1)), ("image", (1, 1, -1)),
])
def test_frames(tmp_path, frame, signs):
    np.save(tmp_path / "x.npy", POINTS)
    points = external(tmp_path / "x.npy", NAMES, "flame51", frame).predict(ROWS)
    np.testing.assert_allclose(points, POINTS[[2, 0]] * signs, rtol=1e-6)


def test_68_points_are_cut_to_51(tmp_path):
    points = np.random.default_rng(1).normal(size=(3, 68, 3))
    np.save(tmp_path / "x.npy", points)
    np.testing.assert_allclose(
        external(tmp_path / "x.npy", NAMES, "flame51").predict(ROWS), points[[2, 0], 17:], rtol=1e-6
    )


BAD = {
    "cut.npz": (lambda p: p.write_bytes(b"PK\x03\x04 cut off"), "cannot be read"),
    "pickle.npy": (lambda p: np.save(p, cell(["x"]), allow_pickle=True), "cannot be read"),
    "two.npy": (lambda p: np.save(p, POINTS[:2]), "2 faces for 3 names"),
    "flat.npy": (lambda p: np.save(p, POINTS[..., :2]), r"'a' has shape \(51, 2\), expected"),
    "few.npy": (lambda p: np.save(p, POINTS[:, :50]), "'a' has 50 landmarks, expected 51"),
    "other.npz": (lambda p: np.savez(p, z=POINTS[0]), "none of its 1 faces is of the dataset"),
    "twice.npz": (lambda p: np.savez(p, names=["a", "a", "c"], points=POINTS), "the same"),
    "text.json": (lambda p: p.write_text('{"a": [["x", 1, 2]]}'), "'a' is no table of numbers"),
    "cut.json": (lambda p: p.write_text('{"a": [[1, 2'), "cannot be read"),
    "columns.csv": (lambda p: p.write_text("face,x,y\na,1,2\n"), "no column z"),
    "row.csv": (lambda p: p.write_text("face,x,y,z\na,1,2,3\na,1,2\n"), "line 3"),
    "word.csv": (lambda p: p.write_text("face,x,y,z\na,1,2,3\na,1,2_0,3\n"), "line 3: x, y, z are"),
    "x.obj": (lambda p: p.write_text("v 1 2 3\n"), "unknown format"),
}


@pytest.mark.parametrize("file", BAD)
def test_bad_file_is_named(tmp_path, file):
    write, message = BAD[file]
    write(tmp_path / file)
    with pytest.raises(ValueError, match=rf"(?s){file}.*{message}"):
        external(tmp_path / file, NAMES, "flame51")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.npz: cannot be read: No such file"):
        external(tmp_path / "nowhere.npz", NAMES, "flame51")


def test_drawn_faces_have_no_predictions(tmp_path):
    np.save(tmp_path / "x.npy", POINTS)
    with pytest.raises(ValueError, match="for recorded faces"):
        external(tmp_path / "x.npy", NAMES, "flame51").predict(ROWS._replace(row=None))


def test_unknown_frame_raises(tmp_path):
    with pytest.raises(ValueError, match=r"frame: expected one of .*'up'"):
        external(tmp_path, NAMES, "flame51", "up")


def test_faces_that_cannot_be_used_are_left_out_one_by_one(tmp_path, warnings):
    folder = tmp_path / "folder"
    (folder / "b").mkdir(parents=True)
    np.save(folder / "c.npy", POINTS[2])
    np.save(folder / "b" / "1.npy", POINTS[1])
    (folder / "a.npy").write_bytes(b"cut off")
    (folder / "._c.npy").write_bytes(b"of macOS")
    np.savez(tmp_path / "x.npz", **{"a": POINTS[0, :50], "b/1": POINTS[1], "c": POINTS[2]})
    for path, reason in ((folder, "a.npy: cannot be read"), (tmp_path / "x.npz", "'a' has 50")):
        warnings.clear()
        points = external(path, NAMES, "flame51").predict(ROWS._replace(row=jnp.arange(3)))
        np.testing.assert_allclose(points[1:], POINTS[1:], rtol=1e-6)
        assert np.isnan(points[0]).all()
        assert reason in warnings[0]
        assert "1 of 3 faces" in warnings[1]
        assert len(warnings) == 2
