import json

import numpy as np
import pytest

from deepmds_jax.data.sources import ict, ict_jaw


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
        ict.load("flame51", tmp_path)
    (tmp_path / "ict68.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ValueError, match=r"ict68\.npz: expected an \.npz"):
        ict.load("flame51", tmp_path)


def test_landmarks_alone_lack_the_mandible(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"mean": rng.normal(size=(68, 3)), "identity": rng.normal(size=(2, 68, 3)),
              "expression": rng.normal(size=(1, 68, 3))}
    np.savez(tmp_path / "ict68.npz", **arrays)
    inner = ict.load("flame51", tmp_path)
    np.testing.assert_allclose(inner.mean, arrays["mean"][17:] * [1, -1, -1], rtol=1e-6)
    assert inner.jaw_lines is None
    with pytest.raises(FileNotFoundError,
                       match=r"no .*ict_face_dense\.npz and no .*FaceXModel: ict68\.npz has"):
        ict.load("ibug68", tmp_path)
    assert len(ict.check(tmp_path)) == 1
    np.savez(tmp_path / "ict_face_dense.npz", quads=np.zeros((1, 4), int),
             landmark_vertices=np.arange(68), **arrays)
    with pytest.raises(ValueError, match=r"dense\.npz: the landmarks have vertices 7 to 9183, but "
                                         "the skin has 0 to 67"):
        ict.load("ibug68", tmp_path)


@pytest.fixture
def plate(monkeypatch):
    """An 11 x 9 grid of quads with three holes, each of 2 x 2 quads: mouth below, eyes above.

    Its jaw are vertices 0-16, from each of which a line of two more leads on.
    """
    monkeypatch.setattr(ict_jaw, "LINES", np.arange(17)[:, None] + [0, 68, 85])
    y, x = np.mgrid[:10, :12]
    mean = np.stack([x, y, 0.1 * x * y], axis=-1).reshape(-1, 3).astype(float)
    corner = (12 * y + x)[:-1, :-1]
    quads = np.stack([corner, corner + 1, corner + 13, corner + 12], axis=-1)
    keep = np.ones((9, 11), bool)
    for row, column in ((1, 5), (6, 1), (6, 8)):
        keep[row : row + 2, column : column + 2] = False
    return mean, quads[keep]


def save_dense(folder, plate, **changes):
    mean, quads = plate
    arrays = {
        "mean": mean,
        "identity": np.stack([0.1 * mean, 0.2 * mean]),
        "expression": mean[None] ** 2,
        "quads": quads,
        "landmark_vertices": np.arange(68),
        **changes,
    }
    np.savez(folder / "ict_face_dense.npz", **arrays)


def test_sheets_close_eyes_and_mouth(tmp_path, plate):
    mean, _ = plate
    save_dense(tmp_path, plate)
    dense = ict.load_dense("ibug68", tmp_path)
    found = np.asarray(dense.shape.mean)
    np.testing.assert_allclose(found[:120], mean * (1, -1, -1), atol=1e-5)
    assert len(found) == 120 + 3 * 8
    np.testing.assert_allclose(np.asarray(dense.shape.identity)[1], 0.2 * found, atol=1e-5)
    squares = found[120:] ** 2 * (1, -1, -1)  # of y up, then turned
    np.testing.assert_allclose(np.asarray(dense.shape.expression)[0, 120:], squares, atol=1e-4)
    # Every triangle is turned the same way, and together they cover the whole grid once.
    a, b, c = np.moveaxis(found[np.asarray(dense.triangles)], 1, 0)
    area = np.cross(b - a, c - a)[:, 2] / 2  # in the image
    np.testing.assert_allclose(area.sum(), -99, atol=1e-3)
    assert (area < 1e-6).all()
    colours = [np.unique(np.asarray(dense.colour)[part], axis=0) for part in
               (slice(120), slice(120, 128), slice(128, 136), slice(136, 144))]
    skin, mouth, eye, other_eye = (c.squeeze(0) for c in colours)
    assert mouth.max() < skin.min() < eye.min()
    np.testing.assert_array_equal(eye, other_eye)
    assert found[120:128, 1].min() > found[128:, 1].max()  # the mouth is below: y is down


def test_inner_landmarks_of_the_surface(tmp_path, plate):
    save_dense(tmp_path, plate)
    dense = ict.load_dense("flame51", tmp_path)
    np.testing.assert_array_equal(dense.landmarks, np.arange(17, 68))


@pytest.mark.parametrize(("changes", "message"), [
    ({"quads": np.full((4, 4), 120)}, "the faces have vertices 120 to 120.*0 to 119"),
    ({"landmark_vertices": np.arange(68) + 60}, "the landmarks have vertices 0 to 127"),
    ({"landmark_vertices": np.arange(51)}, r"landmark_vertices \(68,\), got .*\(51,\)"),
    ({"identity": np.zeros((2, 119, 3))}, r"identity \(K, V, 3\).*\(2, 119, 3\)"),
    ({"quads": np.zeros((9, 3), int)}, r"quads \(Q, 4\).*\(9, 3\)"),
])
def test_damaged_surface_is_named(tmp_path, plate, changes, message):
    save_dense(tmp_path, plate, **changes)
    with pytest.raises(ValueError, match=rf"ict_face_dense\.npz.*{message}"):
        ict.load_dense("ibug68", tmp_path)


def write_tree(folder, plate, names):
    """A FaceXModel folder of meshes whose offsets are (0, 0, m) for the m-th of the names."""
    mean, quads = plate
    folder.mkdir()
    table = {"expressions": ["smile"], "idx_to_landmark_verts": list(range(68))}
    (folder / "vertex_indices.json").write_text(json.dumps(table))
    # After the skin come the vertices and faces of other parts, such as a tooth.
    faces = ["usemtl M_Face", *("f " + " ".join(f"{i + 1}/1/1" for i in q) for q in quads),
             "usemtl M_Teeth", "f 121/1 122/1 123/1 124/1", "f 121/1 122/1 123/1"]
    for m, name in enumerate(names):
        lines = [f"v {x} {y} {z + m}" for x, y, z in mean] + ["v 9 9 9"] * 4
        (folder / f"{name}.obj").write_text("\n".join([*lines, *faces]))


def test_surface_of_a_tree_is_that_of_the_arrays(tmp_path, plate):
    names = ["generic_neutral_mesh", *(f"identity{i:03d}" for i in range(100)), "smile"]
    write_tree(tmp_path / "FaceXModel", plate, names)
    dense = ict.load_dense("ibug68", tmp_path)
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    save_dense(arrays, plate)
    expected = ict.load_dense("ibug68", arrays)
    for name in ("triangles", "landmarks", "colour"):
        np.testing.assert_array_equal(getattr(dense, name), getattr(expected, name))
    np.testing.assert_allclose(dense.shape.mean, expected.shape.mean, atol=1e-5)
    identity, expression = np.asarray(dense.shape.identity), np.asarray(dense.shape.expression)
    np.testing.assert_allclose(identity[41], np.tile([0, 0, -42], (144, 1)), atol=1e-4)
    np.testing.assert_allclose(expression[0], np.tile([0, 0, -101], (144, 1)), atol=1e-4)


def test_jaw_lines_of_a_tree_are_those_of_the_arrays(tmp_path, plate):
    names = ["generic_neutral_mesh", *(f"identity{i:03d}" for i in range(100)), "smile"]
    write_tree(tmp_path / "FaceXModel", plate, names)
    model = ict.load("ibug68", tmp_path)
    points = plate[0] * [1, -1, -1]
    np.testing.assert_allclose(model.mean, points[:68], atol=1e-5)
    lines = np.stack([points[68:85], points[85:102]], axis=1)
    np.testing.assert_allclose(model.jaw_lines.mean, lines, atol=1e-5)
    coefficients = np.zeros((2, 100), np.float32), np.zeros((2, 1), np.float32)
    coefficients[0][1, 41] = 0.5
    coefficients[1][1, 0] = 1
    found = np.asarray(model.jaw_lines.points(*coefficients))
    np.testing.assert_allclose(found[1], lines - [0, 0, 0.5 * 42 + 101], atol=1e-4)
    np.testing.assert_allclose(found[0], lines, atol=1e-5)
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    save_dense(arrays, plate)
    other = ict.load("ibug68", arrays)
    np.testing.assert_allclose(other.mean, model.mean, atol=1e-5)
    np.testing.assert_allclose(other.jaw_lines.mean, model.jaw_lines.mean, atol=1e-5)
    assert other.jaw_lines.identity.shape == (2, 17, 2, 3)


def test_mesh_without_skin_is_named(tmp_path, plate):
    write_tree(tmp_path / "FaceXModel", plate, ["generic_neutral_mesh"])
    path = tmp_path / "FaceXModel" / "generic_neutral_mesh.obj"
    text = path.read_text()
    path.write_text(text.replace("M_Face", "skin"))
    with pytest.raises(ValueError, match=r"generic_neutral_mesh\.obj.*material M_Face"):
        ict.load_dense("ibug68", tmp_path)
    path.write_text(text.replace("f 1/1/1", "f one"))
    with pytest.raises(ValueError, match=r"generic_neutral_mesh\.obj: a face is not four"):
        ict.load_dense("ibug68", tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"generic_neutral_mesh\.obj"):
        ict.load_dense("ibug68", tmp_path)


def test_original_mesh_has_the_faces_of_the_arrays(shared):
    folder = shared / "data" / "ict_facekit"
    quads = ict.read_obj_quads(folder / "FaceXModel" / "generic_neutral_mesh.obj", "M_Face")
    arrays = np.load(folder / "ict_face_dense.npz")
    np.testing.assert_array_equal(quads, arrays["quads"])
    assert quads.max() + 1 == len(arrays["mean"])
    dense, model = ict.load_dense("ibug68", folder), ict.load("ibug68", folder)
    for name in ("mean", "identity", "expression"):
        found = np.asarray(getattr(dense.shape, name))
        np.testing.assert_allclose(found[..., dense.landmarks, :], getattr(model, name), atol=1e-5)
        lines = found[..., ict_jaw.LINES[:, 1:], :]
        np.testing.assert_allclose(lines, getattr(model.jaw_lines, name), atol=1e-5)


def test_jaw_runs_along_the_mandible(shared):
    folder = shared / "data" / "ict_facekit"
    jaw = np.asarray(ict.load("ibug68", folder).mean)[:17] * 10  # mm
    official = np.load(folder / "ict68.npz")["mean"][:17] * [10, -10, -10]
    apart = np.linalg.norm(jaw - official, axis=1)
    np.testing.assert_array_equal(apart[8] < 1e-4, True)
    assert (apart[[2, 3, 4, 12, 13, 14]] > 19).all() and apart.max() < 27
    assert (jaw[[*range(8), *range(9, 17)], 2] > official[[*range(8), *range(9, 17)], 2]).all()
    np.testing.assert_allclose(jaw[::-1] * [-1, 1, 1], jaw, atol=0.1)
    steps = np.linalg.norm(np.diff(jaw, axis=0), axis=1)
    assert steps.min() > 20 and steps.max() < 26.5
    # Seen from the side the line turns once, at the gonion, between landmarks 2 and 5.
    step = np.diff(jaw[:8, 1:], axis=0)
    heading = np.rad2deg(np.arctan2(-step[:, 1], step[:, 0]))  # forward from down
    turn = np.diff(heading)  # at landmarks 1 to 6
    assert turn[2:4].sum() > 50 and np.abs(turn[[0, 1, 4, 5]]).max() < 20


def test_other_topology_raises(tmp_path):
    with pytest.raises(ValueError, match="'bfm72'"):
        ict.load("bfm72", tmp_path)
