"""Shape files, read back by other readers: NumPy, json, csv, trimesh and plain parsing."""

import csv
import json

import numpy as np
import pytest
import trimesh

from deepmds_jax import topologies
from deepmds_jax.data.formats.landmark_files import read_all_landmarks
from deepmds_jax.data.formats.shape_files import write_shapes

TOPOLOGY = topologies.get("flame51")
N, EDGES = TOPOLOGY.num_landmarks, np.array(TOPOLOGY.edges)
SUFFIXES = (".npz", ".json", ".csv", ".obj", ".ply")


@pytest.fixture
def faces():
    rng = np.random.default_rng(0)
    return {
        name: {
            "points": rng.normal(size=(N, 3)).astype(np.float32),
            "frontal": rng.random((N, 2)),
            "stress": np.float32(rng.random()),
            "converged": np.bool_(name == "b c"),
            "num_iters": np.int32(len(name)),
        }
        for name in ("Zoë, 1", "b c")
    }


def test_npz_keeps_every_array(faces, tmp_path):
    write_shapes(tmp_path / "out.npz", faces, TOPOLOGY)
    with np.load(tmp_path / "out.npz") as file:
        assert file["names"].tolist() == list(faces)
        assert file["topology"] == "flame51"
        assert file["landmark_names"].tolist() == list(TOPOLOGY.landmarks)
        np.testing.assert_array_equal(file["edges"], EDGES)
        for i, face in enumerate(faces.values()):
            for key, array in face.items():
                assert file[key].dtype == array.dtype
                np.testing.assert_array_equal(file[key][i], array)


def test_json_keeps_every_array_to_the_last_digit(faces, tmp_path):
    write_shapes(tmp_path / "out.json", faces, TOPOLOGY)
    text = (tmp_path / "out.json").read_text(encoding="utf-8")
    content = json.loads(text)
    assert content["topology"] == "flame51" and content["edges"] == EDGES.tolist()
    assert content["landmark_names"] == list(TOPOLOGY.landmarks)
    assert content["frame"] == "x right, y down, z away from the viewer"
    assert list(content["faces"]) == list(faces)
    for name, face in faces.items():
        assert content["faces"][name]["converged"] is bool(face["converged"])
        for key, array in face.items():
            read = np.array(content["faces"][name][key], array.dtype)
            np.testing.assert_array_equal(read, array)
    # The shortest decimals of float32, not the long ones of its value in float64.
    assert str(faces["b c"]["points"][0, 0]) in text


def test_json_is_read_again_without_a_line(tmp_path):
    points = np.random.default_rng(0).normal(size=(51, 3))
    x2d = 100 * points[:, :2]
    write_shapes(tmp_path / "out.json", {"a": {"points": points, "x2d": x2d}}, TOPOLOGY)
    found = read_all_landmarks([tmp_path / "out.json"])
    assert found.warnings == []
    np.testing.assert_array_equal(found.faces["a"].points, x2d)


def test_csv_has_a_row_per_landmark(faces, tmp_path):
    write_shapes(tmp_path / "out.csv", faces, TOPOLOGY)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["face", "landmark", "name", "x", "y", "z", "converged"]
    assert [row["converged"] for row in rows] == ["False"] * N + ["True"] * N
    assert [row["face"] for row in rows] == ["Zoë, 1"] * N + ["b c"] * N
    assert [int(row["landmark"]) for row in rows] == [*range(N)] * 2
    assert [row["name"] for row in rows] == list(TOPOLOGY.landmarks) * 2
    points = np.array([[row[axis] for axis in "xyz"] for row in rows], np.float32)
    np.testing.assert_array_equal(
        points, np.concatenate([face["points"] for face in faces.values()])
    )


def test_csv_of_a_video_has_frames_and_seconds(faces, tmp_path):
    for i, face in enumerate(faces.values()):
        face |= {"seconds": np.float64(i / 30), "frame": np.int64(7 + i)}
    write_shapes(tmp_path / "out.csv", faces, TOPOLOGY)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[6:] == ["frame", "seconds", "converged"]
    assert [row["frame"] for row in rows] == ["7"] * N + ["8"] * N
    assert [float(row["seconds"]) for row in rows] == [0] * N + [1 / 30] * N


def test_obj_has_an_object_per_face(faces, tmp_path):
    write_shapes(tmp_path / "out.obj", faces, TOPOLOGY)
    lines = (tmp_path / "out.obj").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# flame51 landmarks, x right, y up, z toward the viewer"
    assert [line for line in lines if line[0] == "o"] == ["o Zoë,_1", "o b_c"]
    vertices = np.array([line.split()[1:] for line in lines if line[0] == "v"], np.float32)
    edges = np.array([line.split()[1:] for line in lines if line[0] == "l"], int)
    points = np.concatenate([face["points"] for face in faces.values()])
    np.testing.assert_array_equal(vertices, points * np.float32([1, -1, -1]))
    np.testing.assert_array_equal(edges, np.concatenate([EDGES, EDGES + N]) + 1)
    second = lines.index("o b_c")
    assert sum(line[0] == "v" for line in lines[:second]) == N
    assert sum(line[0] == "l" for line in lines[:second]) == len(EDGES)


def test_ply_is_read_by_trimesh(faces, tmp_path):
    write_shapes(tmp_path / "out.ply", faces, TOPOLOGY)
    cloud = trimesh.load(tmp_path / "out.ply", process=False)
    points = np.concatenate([face["points"] for face in faces.values()])
    np.testing.assert_array_equal(np.float32(cloud.vertices), points * np.float32([1, -1, -1]))
    elements = cloud.metadata["_ply_raw"]
    np.testing.assert_array_equal(elements["vertex"]["data"]["face"].ravel(), [0] * N + [1] * N)
    edges = np.column_stack([elements["edge"]["data"][f"vertex{k}"].ravel() for k in (1, 2)])
    np.testing.assert_array_equal(edges, np.concatenate([EDGES, EDGES + N]))
    header = (tmp_path / "out.ply").read_text(encoding="utf-8").splitlines()[:5]
    assert header == [
        "ply",
        "format ascii 1.0",
        "comment flame51 landmarks, x right, y up, z toward the viewer",
        "comment face 0 is Zoë,_1",
        "comment face 1 is b_c",
    ]


def test_mesh_frame_does_not_mirror(faces, tmp_path):
    faces = {"a": {"points": np.float64([[1, 0, 0], [0, 1, 0], [0, 0, 1]] * (N // 3))}}
    write_shapes(tmp_path / "out.ply", faces, TOPOLOGY)
    axes = trimesh.load(tmp_path / "out.ply", process=False).vertices[:3]
    assert np.linalg.det(axes) == 1
    assert "-0.0" not in (tmp_path / "out.ply").read_text()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_writes_float64_to_the_last_digit_and_nothing_else(suffix, tmp_path):
    points = np.random.default_rng(1).normal(size=(N, 3)) / 3
    path = tmp_path / "new" / "folder" / f"out{suffix.upper()}"
    write_shapes(str(path), {"a": {"points": points}}, TOPOLOGY)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    if suffix != ".npz":
        assert all(str(abs(value)) in path.read_text() for value in points.ravel())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_refuses_before_anything_is_written(suffix, faces, tmp_path):
    path = tmp_path / f"out{suffix}"
    path.write_text("before")

    def refuses(faces, match):
        with pytest.raises(ValueError, match=match):
            write_shapes(path, faces, TOPOLOGY)
        assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]

    a, b = faces
    refuses({}, "no faces to write, expected at least one")
    refuses({a: {"points": np.ones((68, 3))}}, r"points of 'Zoë, 1' .* \(68, 3\), .* \(51, 3\)")
    refuses({a: {"frontal": np.ones((N, 2))}}, "points of 'Zoë, 1' .* None, expected")
    refuses({a: faces[a], b: {"points": faces[b]["points"]}}, "the arrays of 'b c' differ")
    refuses({a: faces[a], b: faces[b] | {"frontal": np.ones((N, 3))}}, "the arrays of 'b c' differ")
    refuses({a: faces[a] | {"stress": np.float32(np.nan)}}, "stress of 'Zoë, 1' is not finite")
    refuses({a: {"points": np.full((N, 3), np.inf)}}, "points of 'Zoë, 1' is not finite")


def test_refuses_unknown_format(faces, tmp_path):
    with pytest.raises(ValueError, match=r"out\.stl: unknown shape format, expected \.npz, \.json"):
        write_shapes(tmp_path / "folder" / "out.stl", faces, TOPOLOGY)
    assert not list(tmp_path.iterdir())
