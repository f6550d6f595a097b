import json

import numpy as np
import pytest

from deepmds_jax.data import ict


@pytest.fixture
def tree(tmp_path):
    """A FaceXModel folder laid out like the real one, with 70 vertices a mesh.

    Vertex i of mesh m is at (i, m, i * m): every offset is known.
    """
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    vertices = list(range(68, 0, -1))
    table = {"expressions": ["jawOpen", "smile"], "idx_to_landmark_verts": vertices}
    (folder / "vertex_indices.json").write_text(json.dumps(table))
    names = ["generic_neutral_mesh", "identity000", "identity001", "jawOpen", "smile"]
    for m, name in enumerate(names):
        lines = [f"v {i} {m} {i * m}" for i in range(70)]
        # What real OBJ files have besides: comments, other records, face groups.
        text = ["# a comment", "vt 0 0", *lines, "vn 0 0 1", "g head", "f 1/1 2/1 3/1"]
        (folder / f"{name}.obj").write_text("\n".join(text))
    return folder


def test_reads_a_tree(tree):
    mean, identity, expression = ict.read_tree(tree, num_identities=2)
    i = np.arange(68, 0, -1)
    np.testing.assert_allclose(mean, np.stack([i, 0 * i, 0 * i], axis=1))
    assert identity.shape == expression.shape == (2, 68, 3)
    np.testing.assert_allclose(identity[1], np.stack([0 * i, 0 * i + 2, 2 * i], axis=1))
    np.testing.assert_allclose(expression[0], np.stack([0 * i, 0 * i + 3, 3 * i], axis=1))


def test_missing_mesh_is_named(tree):
    with pytest.raises(FileNotFoundError, match=r"identity002\.obj"):
        ict.read_tree(tree, num_identities=3)


def test_truncated_mesh_is_named(tree):
    (tree / "smile.obj").write_text("v 0 0 0\nv 1 1 1\n")
    with pytest.raises(ValueError, match=r"smile\.obj: 2 vertices, but vertex 68"):
        ict.read_tree(tree, num_identities=2)


def test_damaged_vertex_is_named(tree):
    (tree / "smile.obj").write_text("v 0 0 zero\n" * 70)
    with pytest.raises(ValueError, match=r"smile\.obj: a vertex line is not three numbers"):
        ict.read_tree(tree, num_identities=2)


def test_damaged_table_is_named(tree):
    (tree / "vertex_indices.json").write_text('{"expressions": []')
    with pytest.raises(ValueError, match=r"vertex_indices\.json"):
        ict.read_tree(tree, num_identities=2)


def test_original_meshes_agree_with_the_arrays_of_the_full_model(shared):
    folder = shared / "data" / "ict_facekit"
    arrays = np.load(folder / "ict68.npz")
    vertices = arrays["landmark_vertices"]
    meshes = folder / "FaceXModel"
    mean = ict.read_obj_vertices(meshes / "generic_neutral_mesh.obj", vertices)
    np.testing.assert_allclose(mean, arrays["mean"], atol=1e-6)
    for name, offset in [
        ("identity042", arrays["identity"][42]),
        ("jawOpen", arrays["expression"][list(arrays["expression_names"]).index("jawOpen")]),
    ]:
        found = ict.read_obj_vertices(meshes / f"{name}.obj", vertices) - mean
        np.testing.assert_allclose(found, offset, atol=1e-6)
    table = json.loads((meshes / "vertex_indices.json").read_text())
    np.testing.assert_array_equal(table["idx_to_landmark_verts"], vertices)


def test_arrays_come_in_the_frame_of_the_package(shared):
    folder = shared / "data" / "ict_facekit"
    model = ict.load("ibug68", folder)
    assert (model.identity.shape, model.expression.shape) == ((100, 68, 3), (53, 68, 3))
    mean = np.asarray(model.mean)
    nose, chin, brow, left_eye, right_eye = mean[30], mean[8], mean[19], mean[45], mean[36]
    assert nose[2] == mean[:, 2].min()  # z away from the viewer
    assert chin[1] > brow[1]  # y down
    assert left_eye[0] > right_eye[0]  # x right: the subject's left is at the image's right
    inner = ict.load("flame51", folder)
    np.testing.assert_array_equal(inner.mean, mean[17:])


def test_damaged_arrays_are_named(tmp_path):
    np.savez(tmp_path / "ict68.npz", mean=np.zeros((67, 3)), identity=np.zeros((1, 67, 3)),
             expression=np.zeros((1, 67, 3)))
    with pytest.raises(ValueError, match=r"ict68\.npz: expected \(\.\.\., 68, 3\)"):
        ict.load("ibug68", tmp_path)
    (tmp_path / "ict68.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ValueError, match=r"ict68\.npz: expected an \.npz"):
        ict.load("ibug68", tmp_path)


def test_other_topology_raises(tmp_path):
    with pytest.raises(ValueError, match="'bfm72'"):
        ict.load("bfm72", tmp_path)
