import numpy as np
import pytest
import trimesh

from deepmds_jax.data.formats import meshes

# Vertex 2 belongs to no triangle.
VERTICES = np.array([[0, 0, 0], [1, 0, 0], [9, 9, 9], [1, 1, 0.5], [0, 1, 0]], np.float32)
TRIANGLES = np.array([[0, 1, 3], [4, 0, 3]])


@pytest.fixture
def mesh():
    return trimesh.Trimesh(VERTICES, TRIANGLES, process=False)


@pytest.mark.parametrize("encoding", ["binary", "ascii"])
def test_reads_ply_with_its_own_numbering(tmp_path, mesh, encoding):
    path = tmp_path / "face.ply"
    mesh.export(path, encoding=encoding)
    found = meshes.read(path)
    np.testing.assert_allclose(found.vertices, VERTICES)
    np.testing.assert_array_equal(found.triangles, TRIANGLES)


def test_reads_obj(tmp_path, mesh):
    mesh.export(tmp_path / "face.obj")
    found = meshes.read(tmp_path / "face.obj")
    np.testing.assert_allclose(found.vertices, VERTICES)
    np.testing.assert_array_equal(found.triangles, TRIANGLES)


def test_obj_keeps_its_numbering_across_materials_and_seams(tmp_path):
    (tmp_path / "face.OBJ").write_text(
        "mtllib missing.mtl\nv 0 0 0\nv 1 0 0\nv 9 9 9 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 1\n"
        "vn 0 0 1\nusemtl a\nf 5/1/1 1/2/1 2/1/1 4/2/1\nusemtl b\nf 1//1 2//1 5//1\n"
    )
    found = meshes.read(tmp_path / "face.OBJ")
    np.testing.assert_allclose(found.vertices[2], [9, 9, 9])
    np.testing.assert_array_equal(found.triangles, [[4, 0, 1], [4, 1, 3], [0, 1, 4]])


@pytest.mark.parametrize("encoding", ["binary", "ascii"])
def test_truncated_ply_is_named(tmp_path, mesh, encoding):
    content = mesh.export(file_type="ply", encoding=encoding).rstrip(b"\n")
    assert content.endswith(b"4 0 3" if encoding == "ascii" else b"\3\0\0\0")
    for kept in range(len(content)):  # to before the last number
        (tmp_path / "cut.ply").write_bytes(content[:kept])
        with pytest.raises(ValueError, match=r"cut\.ply: "):
            meshes.read(tmp_path / "cut.ply")


def ply(vertices, faces):
    rows = [*(" ".join(map(str, v)) for v in vertices),
            *(f"{len(f)} {' '.join(map(str, f))}" for f in faces)]
    return "\n".join([
        "ply", "format ascii 1.0", "comment by hand", f"element vertex {len(vertices)}",
        *(f"property float {axis}" for axis in "xyz"), f"element face {len(faces)}",
        "property list uchar int vertex_indices", "end_header", *rows, "",
    ])


@pytest.mark.parametrize(("name", "text", "message"), [
    ("a.ply", ply([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 3]]), "3 vertices, but .* vertex 3"),
    ("a.ply", ply([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, -1]]), "3 vertices, but .* vertex -1"),
    ("a.ply", ply([[0, 0, 0], [1, "nan", 0], [0, 1, 0]], [[0, 1, 2]]), "1 of 3 .* not finite"),
    ("a.ply", ply([[0, 0, 0], [1, 0, 0], [0, 1, 0]], []), r"a\.ply: "),
    ("a.ply", "<html>404 not found</html>", "not a whole mesh"),
    ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", "3 vertices, but .* vertex 3"),
    ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -1\n", "3 vertices, but .* vertex -2"),
    ("a.obj", "v 0 0 0\nv 1 0\nv 0 1 0\nf 1 2 3\n", "not a whole mesh"),
    ("a.obj", "v 0 0 0\nv 1_0 0 0\nv 0 1 0\nf 1 2 3\n", "underscore"),
    ("a.obj", "v 0 0 0\nv 1 inf 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
    ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf\n", "not a whole mesh"),
    ("a.obj", "", "without triangles"),
    ("a.stl", "", r"\.ply or \.obj"),
])  # fmt: skip
def test_damaged_meshes_say_what_is_wrong(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        meshes.read(tmp_path / name)


def test_quads_become_triangles(tmp_path):
    (tmp_path / "a.ply").write_text(ply(VERTICES, [[0, 1, 3, 4]]))
    found = meshes.read(tmp_path / "a.ply")
    areas = trimesh.Trimesh(found.vertices, found.triangles, process=False).area_faces
    assert areas.shape == (2,)
    np.testing.assert_allclose(areas.sum(), np.sqrt(1 + 0.5**2), rtol=0.1)


def test_texture_coordinates_do_not_split_vertices(tmp_path):
    text = ply([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 1]])
    text = text.replace("end_header", "property list uchar float texcoord\nend_header")
    text = text.replace("comment", "comment TextureFile missing.png\ncomment")
    text = text.replace("3 0 1 2", "3 0 1 2 6 0 0 1 0 0 1")
    text = text.replace("3 0 2 1", "3 0 2 1 6 1 1 1 0 0 1")
    (tmp_path / "a.ply").write_text(text)
    found = meshes.read(tmp_path / "a.ply")
    np.testing.assert_array_equal(found.triangles, [[0, 1, 2], [0, 2, 1]])


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"face\.ply"):
        meshes.read(tmp_path / "face.ply")


def test_a_real_mesh_has_flames_vertices_and_triangles(shared):
    path = shared / "data" / "flame_topology" / "template.ply"
    found = meshes.read(path)
    assert (found.vertices.shape, found.triangles.shape) == ((5023, 3), (9976, 3))
    # The file's own bytes: after the header, 12 a vertex.
    content = path.read_bytes()
    start = content.index(b"end_header\n") + len(b"end_header\n")
    vertices = np.frombuffer(content[start : start + 12 * 5023], "<f4").reshape(-1, 3)
    np.testing.assert_array_equal(found.vertices, vertices)


def texture():
    """Pixel (x, y) is (10 x, 10 y, 0)."""
    y, x = np.mgrid[:4, :6]
    image = np.stack([10 * x, 10 * y, 0 * x], axis=-1).astype(np.uint8)
    return meshes.Texture(image, np.array([[0, 0], [5, 0], [2.2, 1.8], [5, 3], [-3, 9]]))


@pytest.mark.parametrize("suffix", [".obj", ".PLY", ".glb"])
def test_written_meshes_keep_their_numbering(tmp_path, suffix):
    path = tmp_path / "new" / f"face{suffix}"
    meshes.write(path, meshes.Mesh(VERTICES, TRIANGLES))
    if suffix == ".glb":
        mesh = trimesh.load_mesh(path, process=False)
        found = meshes.Mesh(mesh.vertices, mesh.faces)
    else:
        found = meshes.read(path)
    np.testing.assert_allclose(found.vertices, VERTICES)
    np.testing.assert_array_equal(found.triangles, TRIANGLES)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_textures(tmp_path):
    colours = [[0, 0, 0], [50, 0, 0], [20, 20, 0], [50, 30, 0], [0, 30, 0]]
    for name in ("face.obj", "face.ply"):
        meshes.write(tmp_path / name, meshes.Mesh(VERTICES, TRIANGLES), texture())
        mesh = trimesh.load_mesh(tmp_path / name, process=False, maintain_order=True)
        np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], colours)
    meshes.write(tmp_path / "face.glb", meshes.Mesh(VERTICES, TRIANGLES), texture())
    visual = trimesh.load_mesh(tmp_path / "face.glb", process=False).visual
    np.testing.assert_array_equal(np.asarray(visual.material.baseColorTexture), texture().image)
    # From the bottom, in parts of the picture; the centre of the first pixel is half of one inside.
    expected = [[1 / 12, 7 / 8], [11 / 12, 7 / 8], [2.7 / 6, 1 - 2.3 / 4], [11 / 12, 1 / 8]]
    np.testing.assert_allclose(visual.uv[:4], expected, atol=1e-6)


def test_other_endings_are_not_written(tmp_path):
    for name in ("face.stl", "face"):
        with pytest.raises(ValueError, match=rf"{name}: unknown mesh format, expected \.obj, "):
            meshes.write(tmp_path / name, meshes.Mesh(VERTICES, TRIANGLES))
    assert not list(tmp_path.iterdir())
