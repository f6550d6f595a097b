import dataclasses
import logging
import pickle
import shutil

import jax
import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.data.sources import coma, flame

SUBJECTS = ["FaceTalk_170725_00137_TA", "FaceTalk_170731_00024_TA", "FaceTalk_170728_03272_TA"]
NAMES = [f"{subject}/{expression}/{expression}.{number:06d}" for subject in SUBJECTS
         for expression, number in [("bareteeth", 1), ("bareteeth", 2), ("mouth_open", 17)]]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A tree of nine meshes, each the template moved rigidly."""
    tmp_path = tmp_path_factory.mktemp("coma")
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(5023, 3)).astype(np.float32) * 0.1
    triangles = rng.integers(0, 5023, (9976, 3))
    template = trimesh.Trimesh(vertices, triangles, process=False)
    template.export(tmp_path / "template.ply")
    embedding = {
        "lmk_face_idx": rng.integers(0, 9976, 51).astype(np.uint32),
        "lmk_b_coords": rng.dirichlet(np.ones(3), 51),
    }
    (tmp_path / "flame_static_embedding.pkl").write_bytes(pickle.dumps(embedding, 4))
    for name in NAMES:
        angles = rng.uniform(-40, 40, 3)
        rotation = Rotation.from_euler("yxz", angles, degrees=True).as_matrix()
        moved = template.copy()
        moved.vertices = vertices @ rotation.T + rng.normal(size=3)
        path = tmp_path / f"{name}.ply"
        path.parent.mkdir(parents=True, exist_ok=True)
        moved.export(path)
    return tmp_path


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "coma")


def test_reads_the_tree_split_by_subject_in_the_head_frame(folder):
    shapes = coma.load("flame51", folder)
    assert list(shapes.names) == sorted(NAMES)
    np.testing.assert_array_equal(
        shapes.is_test, ["FaceTalk_170731_00024_TA" in name for name in shapes.names]
    )
    assert (shapes.topology, shapes.unit, shapes.points.shape) == ("flame51", "m", (9, 51, 3))
    template = flame.load("flame51", folder).mean
    np.testing.assert_allclose(shapes.points, np.stack([template] * 9), atol=2e-6)


def test_an_open_mouth_does_not_turn_the_head(folder):
    """Only nose and eyes, landmarks 10 to 30, decide how a face is turned."""
    path = folder / f"{NAMES[2]}.ply"
    embedding = flame.read_embedding("flame51", folder)
    template = trimesh.load_mesh(folder / "template.ply", process=False)
    stiff = template.faces[embedding.triangles[10:31]].ravel()
    moving = np.setdiff1d(template.faces[embedding.triangles[31:]].ravel(), stiff)
    vertices = np.array(template.vertices)
    vertices[moving] += [0.0, -0.03, 0.01]
    trimesh.Trimesh(vertices, template.faces, process=False).export(path)
    shapes = coma.load("flame51", folder)
    found = np.asarray(shapes.points)[list(shapes.names).index(NAMES[2])]
    expected = np.asarray(flame.load("flame51", folder).mean)
    np.testing.assert_allclose(found[10:31], expected[10:31], atol=2e-6)
    assert (found - expected)[31:, 1].max() > 0.02  # lower: y down


def test_faces_are_drawn_from_the_test_subjects(folder):
    spec = specs.load_spec("coma")
    assert spec.topologies == ("flame51", "ibug68")
    frontal = dataclasses.replace(spec, views=spec.views[2:])  # the others take longer to compile
    data = open_dataset(frontal, "flame51", folder)
    faces = data.draw(jax.random.key(0), 30, test=True)
    assert faces.x2d.shape == (30, 51, 2)
    rows = np.unique(np.asarray(faces.row))
    np.testing.assert_array_equal(rows, np.flatnonzero(data.source.is_test))


def test_damaged_meshes_are_left_out_and_named(folder, caplog):
    cut, other, spoilt, wrong = (folder / f"{name}.ply" for name in NAMES[:4])
    cut.write_bytes(cut.read_bytes()[:-300])
    trimesh.creation.box().export(other)
    mesh = trimesh.load_mesh(spoilt, process=False)
    mesh.vertices = np.where(np.arange(5023)[:, None] == 7, np.nan, mesh.vertices)
    mesh.export(spoilt)
    mesh = trimesh.load_mesh(wrong, process=False)
    trimesh.Trimesh(mesh.vertices, mesh.faces[::-1], process=False).export(wrong)
    with caplog.at_level(logging.WARNING, "absl"):
        shapes = coma.load("flame51", folder)
    assert sorted(shapes.names) == sorted(NAMES[4:])
    *lines, summary = (record.getMessage() for record in caplog.records)
    for line, path, message in zip(lines, (cut, other, spoilt, wrong), (
        "not a whole mesh", "got 8 and 12", "1 of 5023 vertices are not finite",
        "its triangles are not those of template.ply",
    ), strict=True):
        assert line.startswith(f"coma: left out {path}: ")
        assert message in line
    assert summary == f"coma: left out 4 of 9 meshes: {', '.join(NAMES[:4])}"
    assert len(coma.check(folder)) == 4


def test_meshes_are_read_once_and_again_when_they_change(folder, monkeypatch):
    read = []
    monkeypatch.setattr(flame, "read_mesh", _noting(read, flame.read_mesh))
    first = coma.load("flame51", folder)
    assert len(read) == 1 + 9
    read.clear()
    second = coma.load("flame51", folder)
    assert [path.name for path in read] == ["template.ply"]
    np.testing.assert_array_equal(first.points, second.points)
    assert (first.names, first.is_test.tolist()) == (second.names, second.is_test.tolist())
    changed = folder / f"{NAMES[4]}.ply"
    mesh = trimesh.load_mesh(changed, process=False)
    mesh.vertices *= 1.5
    mesh.export(changed)
    (folder / f"{NAMES[5]}.ply").unlink()
    read.clear()
    third = coma.load("flame51", folder)
    assert read[1:] == [changed]
    assert sorted(third.names) == sorted(set(NAMES) - {NAMES[5]})
    row = list(third.names).index(NAMES[4])
    assert np.abs(np.asarray(third.points)[row] - np.asarray(first.points)[row]).max() > 0.01
    read.clear()
    np.testing.assert_array_equal(coma.load("flame51", folder).points, third.points)
    assert len(read) == 1


def test_kept_landmarks_of_another_embedding_or_damaged_are_not_used(folder):
    before = coma.load("flame51", folder)
    embedding = pickle.loads((folder / "flame_static_embedding.pkl").read_bytes())
    embedding["lmk_b_coords"] = np.roll(embedding["lmk_b_coords"], 1, axis=1)
    (folder / "flame_static_embedding.pkl").write_bytes(pickle.dumps(embedding, 4))
    after = coma.load("flame51", folder)
    assert np.abs(np.subtract(after.points, before.points)).max() > 0.01
    kept = folder / "landmarks_flame51.npz"
    kept.write_bytes(kept.read_bytes()[:-100])
    np.testing.assert_array_equal(coma.load("flame51", folder).points, after.points)
    assert np.load(kept)["points"].shape == (9, 51, 3)  # whole again


def test_a_folder_that_cannot_be_written_to_is_read(folder):
    (folder / "landmarks_flame51.npz").mkdir()
    assert coma.load("flame51", folder).points.shape == (9, 51, 3)


def test_no_readable_mesh_raises(folder):
    for name in NAMES:
        (folder / f"{name}.ply").write_bytes(b"ply\n")
    with pytest.raises(ValueError, match="none of its 9 meshes can be read"):
        coma.load("flame51", folder)


@pytest.mark.parametrize(("kept", "counts"), [(SUBJECTS[1], "3 and 0"), (SUBJECTS[0], "0 and 3")])
def test_both_parts_are_needed(folder, kept, counts):
    for path in folder.glob("*/*/*.ply"):
        if kept not in path.parts:
            path.unlink()
    with pytest.raises(ValueError, match=f"FaceTalk_170731_00024_TA or .* got {counts}"):
        coma.load("flame51", folder)
    assert len(coma.check(folder)) == 1


def test_missing_files_are_named(folder, tmp_path):
    assert coma.check(folder) == []
    (folder / "template.ply").unlink()
    with pytest.raises(FileNotFoundError, match=r"template\.ply"):
        coma.load("flame51", folder)
    with pytest.raises(FileNotFoundError, match=r"flame_static_embedding_68\.pkl"):
        coma.load("ibug68", folder)
    assert [line for line in coma.check(folder) if "template.ply" in line]
    for path in folder.glob("*/*/*.ply"):
        path.unlink()
    assert any(line.endswith("SUBJECT/EXPRESSION/*.ply") for line in coma.check(folder))


def test_a_real_registered_mesh_is_turned_to_the_template(shared, tmp_path):
    source = shared / "data" / "flame_topology"
    for name in ("template.ply", "flame_static_embedding.pkl"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    for subject in SUBJECTS[:2]:
        path = tmp_path / subject / "bareteeth" / "bareteeth.000001.ply"
        path.parent.mkdir(parents=True)
        path.write_bytes((source / "registered_mesh.ply").read_bytes())
    found = np.asarray(coma.load("flame51", tmp_path).points)[0]
    template = np.asarray(flame.load("flame51", tmp_path).mean)
    embedding = flame.read_embedding("flame51", source)
    raw = flame.embed(flame.read_mesh(source / "registered_mesh.ply"), embedding) * flame.TO_FRAME
    # Rigid: distances are kept.
    np.testing.assert_allclose(_distances(found), _distances(raw), atol=1e-6)
    # 15 degrees and 3 cm off as it comes.
    assert np.linalg.norm(raw - template, axis=1).mean() > 0.03
    assert np.linalg.norm(found - template, axis=1)[10:31].mean() < 0.004


def _distances(points):
    return np.linalg.norm(points[:, None] - points, axis=-1)


def _noting(calls, function):
    def note(path):
        calls.append(path)
        return function(path)

    return note
