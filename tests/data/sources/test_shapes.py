"""Anybody's 3D landmarks: files in each layout, read back; and what is wrong with others."""

import csv

import jax
import numpy as np
import pytest
import scipy.io

from deepmds_jax import topologies
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.data.sources import shapes
from deepmds_jax.data.specs import load_spec

KITE = topologies.Topology("kite", ("top", "wing_right", "wing_left", "tail"), (0, 2, 1, 3),
                           ((0, 1), (0, 2), (1, 3), (2, 3)))
POINTS = np.random.default_rng(0).normal((1e6, 0, -3), size=(10, 4, 3))
SUBJECTS = ["ann"] * 4 + ["bob"] * 3 + ["eve"] * 3
CENTRED = (POINTS - POINTS.mean(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def kite(monkeypatch):
    monkeypatch.setattr(topologies, "TOPOLOGIES", {**topologies.TOPOLOGIES, "kite": KITE})


def write_csv(path, points=POINTS, **columns):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["landmark", "z", "y", "x", "face", *columns])
        for i, shape in enumerate(points):
            for j, (x, y, z) in enumerate(shape):
                rows.writerow([j, z, y, x, f"f{i}", *(values[i] for values in columns.values())])


def test_each_layout_gives_the_same_shapes(tmp_path):
    cells = np.array(SUBJECTS, object)
    writers = {
        "npz": lambda path: np.savez(path, points=POINTS, subject=SUBJECTS),
        "mat": lambda path: scipy.io.savemat(path, {"points": POINTS, "subject": cells}),
        "csv": lambda path: write_csv(path, subject=SUBJECTS),
        "npy": lambda path: np.save(path, POINTS),
    }
    for ending, write in writers.items():
        folder = tmp_path / ending
        folder.mkdir()
        write(folder / f"kites.{ending}")
        (folder / "kite.toml").write_text("beside it")
        (folder / "._kites.npz").write_text("what macOS leaves")
        assert shapes.check(folder) == []
        found = shapes.load("kite", folder)
        np.testing.assert_allclose(found.points, CENTRED, atol=1e-6)
        # The last subject; without subjects the last fifth.
        expected = np.arange(10) >= (8 if ending == "npy" else 7)
        np.testing.assert_array_equal(found.is_test, expected)
        assert (found.topology, len(found.names)) == ("kite", 10)


def test_the_file_may_say_what_to_test_on(tmp_path):
    is_test = np.arange(10) % 2 == 1
    np.savez(tmp_path / "kites.npz", points=POINTS, is_test=is_test)
    np.testing.assert_array_equal(shapes.load("kite", tmp_path).is_test, is_test)
    (tmp_path / "kites.npz").unlink()
    write_csv(tmp_path / "kites.csv", is_test=is_test.astype(int))
    found = shapes.load("kite", tmp_path)
    np.testing.assert_array_equal(found.is_test, is_test)
    assert found.names[3] == "f3"


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.filterwarnings("error")
def test_shapes_that_are_not_whole_are_left_out_by_name(tmp_path, caplog, value):
    points = POINTS.copy()
    points[2, :2, 0], points[5] = value, 7
    np.savez(tmp_path / "kites.npz", points=points, names=[f"kite{i}" for i in range(10)])
    found = shapes.load("kite", tmp_path)
    assert found.names == tuple(f"kite{i}" for i in (0, 1, 3, 4, 6, 7, 8, 9))
    np.testing.assert_allclose(found.points[2], CENTRED[3], atol=1e-6)
    assert "left out 2 of 10 shapes, not finite or a single point: kite2, kite5" in caplog.text


@pytest.mark.parametrize(("arrays", "message"), [
    ({"points": POINTS[0]}, r"points of shape \(F, N, 3\), got \(4, 3\)"),
    ({"points": POINTS[..., :2]}, r"got \(10, 4, 2\)"),
    ({"landmarks": POINTS}, r"expected points \(F, N, 3\): no 'points'"),
    ({"points": POINTS, "subject": SUBJECTS[:3]}, "subject has 3 entries for 10 shapes"),
    ({"points": POINTS, "subject": ["ann"] * 10},
     r"got 0 and 10 \(1 subjects, 10 shapes\)"),
    ({"points": POINTS, "is_test": np.zeros(10)}, "got 10 and 0"),
    ({"points": POINTS, "is_test": np.arange(10)}, "is_test: expected 0 or 1 .* got 2"),
    ({"points": POINTS, "is_test": np.arange(10) > 5, "subject": SUBJECTS}, "'bob' in both parts"),
    ({"points": POINTS[:1]}, "got 0 and 1"),
    ({"points": POINTS * np.nan}, "got 0 and 0"),
])
def test_wrong_files_are_named_with_what_is_wrong(tmp_path, arrays, message):
    np.savez(tmp_path / "kites.npz", **arrays)
    with pytest.raises(ValueError, match=rf"kites\.npz: .*{message}"):
        shapes.load("kite", tmp_path)
    (problem,) = shapes.check(tmp_path)
    assert "kites.npz" in problem


def test_wrong_tables_are_named_with_the_line(tmp_path):
    path = tmp_path / "kites.csv"
    write_csv(path)
    lines = path.read_text().splitlines()
    for changed, message in (
        (lines[:-1], "face 'f9' has 3 landmarks, face 'f0' has 4"),
        ([*lines[:6], "0,?,1,1,f1", *lines[7:]], "line 7: x, y, z are no three numbers"),
        ([*lines[:6], "0,1_0,1,1,f1", *lines[7:]], "line 7: x, y, z are no three numbers"),
        ([lines[0].replace("face", "name"), *lines[1:]], "no column face"),
    ):
        path.write_text("\n".join(changed))
        with pytest.raises(ValueError, match=rf"kites\.csv: .*{message}"):
            shapes.load("kite", tmp_path)
    write_csv(path, subject=SUBJECTS)
    path.write_text(path.read_text().replace("f0,ann", "f0,ian", 1))
    with pytest.raises(ValueError, match="line 3: subject differs within face 'f0'"):
        shapes.load("kite", tmp_path)


def test_no_pickle_is_read(tmp_path):
    np.save(tmp_path / "kites.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"kites\.npy: .*allow_pickle=False"):
        shapes.load("kite", tmp_path)


def test_one_file_and_no_other_number_of_landmarks(tmp_path):
    with pytest.raises(FileNotFoundError, match="no "):
        shapes.load("kite", tmp_path)
    np.save(tmp_path / "a.npy", POINTS)
    with pytest.raises(ValueError, match=r"a\.npy: 4 landmarks, expected 51 of topology flame51"):
        shapes.load("flame51", tmp_path)
    np.save(tmp_path / "b.npy", POINTS)
    with pytest.raises(ValueError, match=r"expected one file of shapes, got a\.npy, b\.npy"):
        shapes.load("kite", tmp_path)


SPEC = """
title = "Kites"
source = "shapes"
licence = "none"
obtain = "Fly them."
topologies = ["kite"]
frame = "mesh"
expression = false
num_train = 8
num_test = 4

[[views]]
share = 1
"""


def test_a_spec_states_the_frame_and_the_topology(tmp_path):
    np.save(tmp_path / "kites.npy", POINTS)
    (tmp_path / "kites.toml").write_text(SPEC)
    dataset = open_dataset(load_spec(tmp_path / "kites.toml"), "kite", tmp_path)
    np.testing.assert_allclose(dataset.mean, CENTRED[:8].mean(0) * [1, -1, -1], atol=1e-6)
    faces = dataset.draw(jax.random.key(0), 5, test=True)
    np.testing.assert_allclose(
        faces.points, CENTRED[np.asarray(faces.row)] * [1, -1, -1], atol=1e-6)
    # The package's own takes any topology, and the head frame.
    dataset = open_dataset(load_spec("shapes"), "kite", tmp_path)
    np.testing.assert_allclose(dataset.mean, CENTRED[:8].mean(0), atol=1e-6)
    with pytest.raises(ValueError, match=r"kites\.npy: 4 landmarks, expected 68"):
        open_dataset(load_spec("shapes"), "ibug68", tmp_path)


def test_wrong_frames_are_refused(tmp_path):
    path = tmp_path / "kites.toml"
    path.write_text(SPEC.replace("mesh", "upside down"))
    with pytest.raises(ValueError, match=r"frame: expected one of \['camera', 'mesh', 'image'\]"):
        load_spec(path)
    path.write_text(SPEC.replace("shapes", "synthetic").replace("kite", "ibug68"))
    with pytest.raises(ValueError, match="frame: the source 'synthetic' knows that of its files"):
        open_dataset(load_spec(path), "ibug68", tmp_path)


def test_one_shape_is_read_as_it_is(tmp_path):
    np.savez(tmp_path / "a.npz", points=POINTS[:1])
    np.save(tmp_path / "a.npy", POINTS[0])
    lines = [f"{x},{y},{z}" for x, y, z in POINTS[0]]
    (tmp_path / "a.csv").write_text("\n".join(["x,y,z", *lines]))
    for ending in ("npz", "npy", "csv"):
        found = shapes.read_shape(tmp_path / f"a.{ending}", "kite")
        np.testing.assert_array_equal(found, POINTS[0])


@pytest.mark.parametrize(("points", "topology", "message"), [
    (POINTS[0], "flame51", r"expected one shape \(51, 3\) for topology flame51, got \(1, 4, 3\)"),
    (POINTS, "kite", r"expected one shape \(4, 3\) for topology kite, got \(10, 4, 3\)"),
    (None, "kite", "expected a file of one shape, .npz"),
])
def test_a_file_of_other_than_one_shape_is_named(tmp_path, points, topology, message):
    if points is not None:
        np.save(tmp_path / "a.npy", points)
    with pytest.raises(ValueError, match=f"a.npy: {message}"):
        shapes.read_shape(tmp_path / "a.npy", topology)
