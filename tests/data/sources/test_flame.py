import pickle

import jax
import numpy as np
import pytest
import scipy.io
import trimesh

from deepmds_jax import topologies
from deepmds_jax.data.formats import meshes
from deepmds_jax.data.sources import flame
from deepmds_jax.data.views import Choice, ViewGroup, sample_faces
from deepmds_jax.geometry import procrustes


@pytest.fixture
def folder(tmp_path):
    """A template of FLAME's size and its embeddings; landmark i is corner i % 3 of a triangle."""
    rng = np.random.default_rng(0)
    triangles = rng.integers(0, 5023, (9976, 3))
    mesh = trimesh.Trimesh(rng.normal(size=(5023, 3)), triangles, process=False)
    mesh.export(tmp_path / "template.ply")
    for name, number in [("", 51), ("_68", 68)]:
        content = {
            "lmk_face_idx": rng.integers(0, 9976, number).astype(np.uint32),
            "lmk_b_coords": np.eye(3)[np.arange(number) % 3],
        }
        write(tmp_path, content, f"flame_static_embedding{name}.pkl")
    return tmp_path


def write(folder, content, name="flame_static_embedding.pkl"):
    (folder / name).write_bytes(pickle.dumps(content, 4))


def read(folder, name="flame_static_embedding.pkl"):
    return pickle.loads((folder / name).read_bytes())  # our own


@pytest.mark.parametrize(("topology", "name"), [
    ("flame51", "flame_static_embedding.pkl"), ("ibug68", "flame_static_embedding_68.pkl"),
])  # fmt: skip
def test_loads_the_embedded_landmarks(folder, topology, name):
    model = flame.load(topology, folder)
    mesh = trimesh.load_mesh(folder / "template.ply", process=False)
    corners = mesh.faces[read(folder, name)["lmk_face_idx"]]
    i = np.arange(len(corners))
    x, y, z = mesh.vertices[corners[i, i % 3]].T
    np.testing.assert_allclose(model.mean, np.stack([x, -y, -z], axis=1), rtol=1e-6)
    assert (model.topology, model.unit) == (topology, "m")
    assert model.identity.shape == model.expression.shape == (0, len(i), 3)


def test_a_face_without_modes_can_be_drawn(folder):
    model = flame.load("flame51", folder)
    views = (ViewGroup(1.0, yaw=Choice((30.0,))),)
    faces = sample_faces(jax.random.key(0), model, views, 2, expression=True)
    np.testing.assert_allclose(faces.points, np.stack([model.mean] * 2), rtol=1e-6)


def test_embedding_takes_barycentric_weights():
    mesh = meshes.Mesh(np.array([[0.0, 0, 0], [8, 0, 0], [0, 8, 8]]), np.array([[2, 0, 1]]))
    weights = np.array([[0.25, 0.5, 0.25], [0.0, 0.0, 1.0]])
    points = flame.embed(mesh, flame.Embedding(np.array([0, 0]), weights))
    np.testing.assert_allclose(points, [[2, 2, 2], [8, 0, 0]])


def test_reads_the_embedding_of_the_release(folder):
    expected = flame.load("flame51", folder).mean
    content = read(folder)
    scipy.io.savemat(folder / "l_f_idx.mat", {
        "l_f_idx": content["lmk_face_idx"].astype(np.uint16)[:, None]
    })
    scipy.io.savemat(folder / "l_b_coord.mat", {"l_b_coord": content["lmk_b_coords"]})
    (folder / "flame_static_embedding.pkl").unlink()
    np.testing.assert_array_equal(flame.load("flame51", folder).mean, expected)
    assert flame.check(folder) == []
    (folder / "l_b_coord.mat").write_bytes(b"cut off")
    with pytest.raises(ValueError, match=r"l_b_coord\.mat: expected a MATLAB file"):
        flame.load("flame51", folder)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("lmk_face_idx", np.full(51, 9976), "outside the mesh of 9976"),
    ("lmk_face_idx", np.full(51, -1), "outside the mesh"),
    ("lmk_face_idx", np.zeros(68, int), r"expected 51 triangles .* got \(68,\) and \(51, 3\)"),
    ("lmk_b_coords", np.zeros((51, 3)), "sum 1"),
    ("lmk_b_coords", np.tile([2.0, -1.0, 0.0], (51, 1)), "not negative"),
    ("lmk_b_coords", np.full((51, 3), np.nan), "nan"),
    ("lmk_b_coords", np.ones((51, 2)) / 2, r"\(51, 2\)"),
])  # fmt: skip
def test_wrong_embeddings_say_what_is_wrong(folder, name, value, message):
    write(folder, read(folder) | {name: value})
    with pytest.raises(ValueError, match=rf"flame_static_embedding\.pkl: .*{message}"):
        flame.load("flame51", folder)


def test_embedding_of_something_else_raises(folder):
    write(folder, {"lmk_faces_idx": np.zeros(51, int)})
    with pytest.raises(ValueError, match=r"expected lmk_face_idx and .* got \['lmk_faces_idx'\]"):
        flame.load("flame51", folder)


def test_another_mesh_raises(folder):
    trimesh.creation.icosphere().export(folder / "template.ply")
    with pytest.raises(ValueError, match=r"template\.ply: expected FLAME's 5023 .* 642 and 1280"):
        flame.load("flame51", folder)


def test_other_topology_raises(folder):
    with pytest.raises(ValueError, match="'bfm72'"):
        flame.load("bfm72", folder)


def test_check_names_every_file(folder):
    assert flame.check(folder) == []
    (folder / "flame_static_embedding.pkl").unlink()
    template = folder / "template.ply"
    template.write_bytes(template.read_bytes()[:-5000])
    (folder / "flame_static_embedding_68.pkl").write_bytes(b"cut off")
    mesh, contours, inner = sorted(flame.check(folder), key=lambda line: "embedding" in line)
    assert "template.ply: not a whole mesh" in mesh
    assert "no " in contours
    assert "flame_static_embedding_68.pkl: expected a pickled dict" in inner
    (folder / "flame_static_embedding_68.pkl").unlink()
    assert len(flame.check(folder)) == 2


def test_the_real_template_is_a_face_in_the_frame_of_the_package(shared):
    folder = shared / "data" / "flame_topology"
    mean = np.asarray(flame.load("ibug68", folder).mean)
    order = topologies.IBUG68.landmarks
    x, y, z = mean.T
    assert order[z.argmin()] == "pronasale"  # nearest to the viewer
    assert order[y.argmax()] == "menton"  # lowest
    assert order[x.argmin()].startswith("jaw_0") or order[x.argmin()].startswith("jaw_1")
    mirrored = mean[list(topologies.IBUG68.mirror)] * [-1, 1, 1]
    assert np.abs(mirrored - mean).max() < 0.005  # 5 mm
    left, right = (np.array([n.endswith(side) for n in order]) for side in ("_left", "_right"))
    assert x[left].min() > 0 > x[right].max()
    np.testing.assert_array_equal(flame.load("flame51", folder).mean, mean[17:])
    assert flame.check(folder) == []


def test_real_embeddings_of_flame_and_of_the_release_agree(shared):
    ours = flame.read_embedding("flame51", shared / "data" / "flame_topology")
    release = flame.read_embedding("flame51", shared / "data" / "authors_release")
    np.testing.assert_array_equal(ours.triangles, release.triangles)
    np.testing.assert_allclose(ours.weights, release.weights, atol=1e-6)


def test_real_landmarks_of_a_scan_have_this_order(shared):
    """They are of another face, in another pose and frame, but no other order fits them."""
    folder = shared / "data" / "flame_topology"
    scan = np.load(folder / "landmark_3d.npy") * flame.TO_FRAME
    embedding = flame.read_embedding("flame51", folder)
    registered = flame.embed(flame.read_mesh(folder / "registered_mesh.ply"), embedding)
    registered = registered * flame.TO_FRAME

    @jax.jit
    def fitted(points):
        return procrustes(points, np.float32(scan))(points)

    def error(order):
        moved = np.asarray(fitted(np.float32(registered[order])))
        return np.sqrt(np.mean(np.sum((moved - scan) ** 2, axis=-1)))

    order = np.arange(51)
    assert error(order) < 0.009
    assert error(np.array(topologies.FLAME51.mirror)) > 0.02
    assert error(np.roll(order, 1)) > 0.012
