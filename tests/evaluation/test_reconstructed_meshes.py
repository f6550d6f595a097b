"""Dense faces in files, of a made-up model in ICT's layout."""

import numpy as np
import pytest
import trimesh
from PIL import Image

from deepmds_jax.data.formats import meshes
from deepmds_jax.evaluation.reconstructed_meshes import mesh_files, open_model, write_meshes

RNG = np.random.default_rng(0)
SIZE = 12.0  # of the made-up face, in ICT's unit, centimetres


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sheet of 9 x 10 vertices with a hole for the mouth; vertices 0-67 are the landmarks."""
    y, x = np.mgrid[:9, :10]
    mean = SIZE / 10 * np.stack([x - 4.5, 4 - y, 0.3 * x * (y - 2)], axis=-1).reshape(-1, 3)
    corner = (10 * y + x)[:-1, :-1]
    quads = np.stack([corner, corner + 1, corner + 11, corner + 10], axis=-1).reshape(-1, 4)
    quads = np.delete(quads, 40, axis=0)[:, ::-1]
    arrays = {"mean": mean, "identity": 0.2 * RNG.normal(size=(2, *mean.shape)),
              "expression": 0.2 * RNG.normal(size=(1, *mean.shape)), "quads": quads,
              "landmark_vertices": np.arange(68)}
    folder = tmp_path_factory.mktemp("ICT-FaceKit")
    np.savez(folder / "ict_face_dense.npz", **arrays)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return open_model(folder, "flame51")


@pytest.fixture(scope="module")
def face(model):
    """A face of the model, as it is lifted and placed in an image, with its true vertices."""
    identity, expression = np.array([1.0, -0.5]), np.array([0.3])
    shape = model.shape
    vertices = np.asarray(shape.mean) + np.tensordot(identity, shape.identity, 1)
    vertices = vertices + np.tensordot(expression, shape.expression, 1)
    landmarks = vertices[np.asarray(model.landmarks)]
    middle = landmarks.mean(axis=0)
    size = np.sqrt(((landmarks - middle) ** 2).sum(axis=1).mean())
    cos, sin = np.cos(0.5), np.sin(0.5)
    rotation = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    lifted = {
        "points": ((landmarks - middle) / size).astype(np.float32),
        "std": np.full((51, 3), 1e-3, np.float32), "rotation": rotation, "scale": np.array(30.0),
        "translation": np.array([70.0, 50.0]),
    }
    pixels = 30 * (vertices - middle) / size @ rotation.T + [70, 50, 0]
    return lifted, vertices, pixels


def test_upright_in_millimetres_or_metres(tmp_path, model, face):
    lifted, vertices, _ = face
    (path,), _ = write_meshes(tmp_path / "a.ply", {"a": lifted}, model, {}, in_image=False)
    found = meshes.read(path)
    np.testing.assert_allclose(found.vertices, 10 * vertices * [1, -1, -1], atol=0.5)
    np.testing.assert_array_equal(found.triangles, model.triangles)
    (path,), _ = write_meshes(tmp_path / "a.glb", {"a": lifted}, model, {}, in_image=False)
    found = trimesh.load_mesh(path, process=False)
    np.testing.assert_allclose(found.vertices, vertices * [0.01, -0.01, -0.01], atol=5e-4)


def test_in_the_image_with_the_colours_of_the_photograph(tmp_path, model, face):
    lifted, _, pixels = face
    y, x = np.mgrid[:100, :150]
    image = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.png")
    photographs = {"a": tmp_path / "photo.png"}
    (path,), _ = write_meshes(tmp_path / "a.ply", {"a": lifted}, model, photographs, in_image=True)
    found = trimesh.load_mesh(path, process=False)
    np.testing.assert_allclose(found.vertices, pixels * [1, -1, -1], atol=0.3)
    inside = ((pixels[:, :2] > 0) & (pixels[:, :2] < [149, 99])).all(axis=1)
    assert inside.sum() > 50
    np.testing.assert_allclose(
        found.visual.vertex_colors[inside, :2], pixels[inside, :2], atol=1)
    (path,), _ = write_meshes(tmp_path / "a.glb", {"a": lifted}, model, photographs, in_image=False)
    visual = trimesh.load_mesh(path, process=False).visual
    shown = np.asarray(visual.material.baseColorTexture)
    column, row = ((visual.uv * [1, -1] + [0, 1]) * shown.shape[1::-1])[inside].astype(int).T
    np.testing.assert_allclose(shown[row, column, :2], pixels[inside, :2], atol=1.5)


def test_damaged_photographs_are_told_and_leave_a_mesh(tmp_path, model, face):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG cut off")
    files, (line,) = write_meshes(
        tmp_path / "a.ply", {"a": face[0], "b": face[0]}, model,
        dict.fromkeys("ab", tmp_path / "cut.png"), in_image=False)
    assert "cut.png: cannot be read" in line
    assert files == [tmp_path / "a-a.ply", tmp_path / "a-b.ply"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_published_shapes_tell_no_deviations(tmp_path, model, face):
    lifted, vertices, _ = face
    bare = {key: array for key, array in lifted.items() if key != "std"}
    (path,), _ = write_meshes(tmp_path / "a.obj", {"a": bare}, model, {}, in_image=False)
    found, true = meshes.read(path).vertices, 10 * vertices * [1, -1, -1]
    mean = 10 * np.asarray(model.shape.mean) * [1, -1, -1]
    assert np.abs(found - true).mean() < 0.7 * np.abs(mean - true).mean()


def test_a_file_for_each_face(tmp_path):
    path = tmp_path / "face.glb"
    assert mesh_files(path, ["any/thing"]) == {"any/thing": path}
    names = ["a", "group#0", "group 0", "../b", "é.jpg", "//"]
    found = mesh_files(path, names)
    assert list(found) == names
    assert [file.name for file in found.values()] == [
        "face-a.glb", "face-group-0.glb", "face-group-0-2.glb", "face-b.glb", "face-é.jpg.glb",
        "face-face.glb"]
    assert {file.parent for file in found.values()} == {tmp_path}


def test_wrong_models_are_refused(tmp_path, folder):
    with pytest.raises(ValueError, match=r"has the landmarks of ibug68 and flame51, .* of bfm72"):
        open_model(folder, "bfm72")
    with pytest.raises(ValueError, match=r"data_dir: no folder .*nowhere"):
        open_model(tmp_path / "nowhere", "ibug68")
    with pytest.raises(ValueError, match=r"data_dir: no .*; expected the folder of ICT-FaceKit"):
        open_model(tmp_path, "ibug68")


def test_icts_own_face(tmp_path, shared):
    model = open_model(shared / "data" / "ict_facekit", "flame51")
    points = np.asarray(model.shape.mean)[np.asarray(model.landmarks)]
    face = {"points": points, "std": np.full_like(points, 0.1), "rotation": np.eye(3),
            "scale": np.array(1.0), "translation": np.zeros(2)}
    (path,), _ = write_meshes(tmp_path / "a.ply", {"a": face}, model, {}, in_image=False)
    found = meshes.read(path)
    assert len(found.vertices) >= 9409 and len(found.triangles) > 18000
    original = np.load(shared / "data/ict_facekit/ict_face_dense.npz")["mean"]
    np.testing.assert_allclose(found.vertices[:9409], 10 * original, atol=0.1)
