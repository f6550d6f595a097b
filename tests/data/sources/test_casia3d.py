"""Scans in CASIA's VRML, FLAME meshes by trimesh, on a face of which every point is known."""

import logging
import re
import shutil

import numpy as np
import pytest
import scipy.io
import trimesh
from PIL import Image
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from deepmds_jax.data.sources import casia3d, flame

NAMES = ("001-001", "001-002", "002-001")
COLUMNS, ROWS = 60, 84  # 5,040 of the 5,023 vertices of FLAME: the last are left away
BUMPS = [(0, -5, 25, 11), (3, -60, 12, 15), (-30, 25, -8, 10), (32, 22, -8, 10)]


def height(x, y):
    """Of a face in mm, towards the viewer: a dome with nose, chin and eyes. x right, y up."""
    z = -0.008 * x**2 - 0.004 * y**2
    for centre_x, centre_y, size, width in BUMPS:
        z = z + size * np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * width**2))
    return z


def face(x, y):
    return np.stack([x, y, height(x, y)], axis=-1)


@pytest.fixture(scope="module")
def mesh():
    """As many vertices and triangles as FLAME has, in metres, on the face."""
    x, y = np.meshgrid(np.linspace(-65, 65, COLUMNS), np.linspace(90, -90, ROWS))
    vertices = face(x.ravel(), y.ravel())[: flame.NUM_VERTICES] / 1000
    corner = np.arange(COLUMNS * (ROWS - 1)).reshape(ROWS - 1, COLUMNS)[:, :-1].ravel()
    below, right = corner + COLUMNS, corner + 1
    triangles = np.concatenate([np.stack([corner, below, right], 1),
                                np.stack([right, below, below + 1], 1)])
    triangles = triangles[(triangles < flame.NUM_VERTICES).all(axis=1)]
    triangles = np.resize(triangles, (flame.NUM_TRIANGLES, 3))
    return trimesh.Trimesh(vertices, triangles, process=False)


def embedding(mesh):
    """51 triangles of the part where all have a scan, and the true places of their centres."""
    centres = mesh.triangles_center
    inner = np.flatnonzero((np.abs(centres[:, 0]) < 0.04) & (np.abs(centres[:, 1]) < 0.045))
    triangles = np.random.default_rng(0).permutation(np.unique(inner))[:51]
    return triangles, centres[triangles]


def pose(name):
    rng = np.random.default_rng(int(name.replace("-", "")))
    angles = rng.uniform(-25, 25, 3)
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    return rotation, np.array([12.0, -20.0, -950.0])


def write_wrl(path, points):
    """VRML as CASIA's, all of it: comments, points, normals, colours, triangles."""
    rows = ",\n\t\t".join(" ".join(f"{x:.4f}" for x in point) for point in points)
    normals = ",\n\t\t".join("0 0 1" for _ in range(5))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"""#VRML V2.0 utf8
# digitizer data, 3 1 2
Viewpoint {{ position 0 0 0 orientation 0 0 1 0 }}
Shape {{
\tappearance Appearance {{ material Material {{ diffuseColor 0.8 0.8 0.8 }} }}
\tgeometry IndexedFaceSet {{
\t\tsolid FALSE
\t\tcoord Coordinate {{ point [ {rows} ] }}
\t\tnormal Normal {{ vector [ {normals} ] }}
\t\tcolor Color {{ color [ 0.5 0.5 0.5, 0.1 0.2 0.3 ] }}
\t\tcoordIndex [ 0, 1, 2, -1, 1, 2, 3, -1 ]
\t}}
}}
""")


@pytest.fixture(scope="module")
def original(tmp_path_factory, mesh):
    tmp_path = tmp_path_factory.mktemp("casia3d")
    triangles, centres = embedding(mesh)
    scipy.io.savemat(tmp_path / "l_f_idx.mat", {"l_f_idx": triangles[:, None].astype(np.uint16)})
    scipy.io.savemat(tmp_path / "l_b_coord.mat", {"l_b_coord": np.full((51, 3), 1 / 3)})
    for sub in ("landmarks", "flame", "scan_landmarks"):
        (tmp_path / sub).mkdir()
    for name in NAMES:
        rng = np.random.default_rng(int(name.replace("-", "")) + 1)
        rotation, shift = pose(name)
        # Another sampling than that of the mesh, cut at the sides, with shoulders and noise.
        points = face(*(rng.uniform(-1, 1, (2, 9000)) * np.array([[52], [100]])))
        shoulders = rng.uniform(-1, 1, (2000, 3)) * [200, 30, 20] + [0, -180, -60]
        scan = np.concatenate([points, shoulders]) + rng.normal(scale=0.1, size=(11000, 3))
        subject = name.split("-")[0]
        write_wrl(tmp_path / "3D-Face-WRL" / subject / f"{name}.wrl", scan @ rotation + shift)
        image = tmp_path / "3D-Face-BMP" / subject / f"{name}.bmp"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(image)
        np.save(tmp_path / "landmarks" / f"{name}.npy", rng.uniform(0, 60, (68, 2)))
        start = centres * 1000 @ rotation + shift + rng.normal(scale=2, size=(51, 3)) + 1
        np.save(tmp_path / "scan_landmarks" / f"{name}.npy", start)
        mesh.export(tmp_path / "flame" / f"{name}.ply")
    return tmp_path


@pytest.fixture(scope="module")
def faces(original):
    return casia3d.load("flame51", original)


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "casia3d")


def test_truth_is_the_point_of_the_scan_next_to_the_landmark(original, faces, mesh):
    assert faces.names == NAMES
    points = np.asarray(faces.points)
    _, centres = embedding(mesh)
    for row, name in enumerate(NAMES):
        rotation, shift = pose(name)
        truth = (centres * 1000 @ rotation + shift) * [1, -1, -1]
        off = np.linalg.norm(points[row] - truth, axis=1)
        # The scan has a point on each 2.3 square millimetres, 0.8 mm off on average.
        assert off.mean() < 1.2
        assert off.max() < 3
        start = np.load(original / "scan_landmarks" / f"{name}.npy") * [1, -1, -1]
        assert np.linalg.norm(start - truth, axis=1).mean() > 3
        scan = casia3d.read_scan(original / "3D-Face-WRL" / name[:3] / f"{name}.wrl")
        assert cKDTree(scan * [1, -1, -1]).query(points[row])[0].max() < 1e-3


def test_image_points_are_the_last_51_and_photographs_found(original, faces):
    detected = np.load(original / "landmarks" / "001-002.npy")
    np.testing.assert_allclose(np.asarray(faces.x2d)[1], detected[17:], rtol=1e-6)
    assert faces.images[2] == original / "3D-Face-BMP" / "002" / "002-001.bmp"
    assert (faces.topology, faces.unit) == ("flame51", "mm")


def test_landmarks_are_kept_until_a_file_changes(original, faces, folder, monkeypatch):
    """The folder is a copy of the one that was loaded, with its kept landmarks and its times."""
    read, asked = casia3d.read_scan, []
    monkeypatch.setattr(casia3d, "read_scan", lambda path: asked.append(path.stem) or read(path))
    assert (original / "landmarks_flame51.npz").exists()
    np.testing.assert_array_equal(casia3d.load("flame51", folder).points, faces.points)
    assert asked == []
    move(folder / START, 1)
    again = np.asarray(casia3d.load("flame51", folder).points)
    assert asked == ["001-002"]
    np.testing.assert_array_equal(again[[0, 2]], np.asarray(faces.points)[[0, 2]])
    monkeypatch.setattr(casia3d, "_METHOD", 2)
    casia3d.load("flame51", folder)
    assert asked[1:] == list(NAMES)


def test_scans_are_read_as_written(tmp_path):
    points = np.random.default_rng(0).normal(size=(500, 3)).round(4) * [100, 100, 30]
    write_wrl(tmp_path / "a.wrl", points)
    np.testing.assert_allclose(casia3d.read_scan(tmp_path / "a.wrl"), points, atol=1e-4)


def cut(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def replace(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


def move(path, shift):
    np.save(path, np.load(path) + shift)


SCAN, MESH = "3D-Face-WRL/001/001-002.wrl", "flame/001-002.ply"
LANDMARKS, START = "landmarks/001-002.npy", "scan_landmarks/001-002.npy"
# What `check` sees, and what shows when the mesh is laid on the scan.
DAMAGE = {
    "scan cut off": (lambda d: cut(d / SCAN, 0.5), "'\\]': cut off"),
    "scan's header cut off": (lambda d: cut(d / SCAN, 0.0001), "expected VRML|got none"),
    "scan of another format": (
        lambda d: (d / SCAN).write_text("ply\n"), "expected VRML, .* got 'ply"),
    "a coordinate that is not a number": (
        lambda d: replace(d / SCAN, ",\n", " x,\n"), "a coordinate is not a number"),
    "a coordinate that is not finite": (
        lambda d: replace(d / SCAN, "point [ ", "point [ nan 0 0, "), "1 coordinates are not"),
    "a coordinate too few": (
        lambda d: replace(d / SCAN, "point [ ", "point [ 1 "), "expected x, y and z of every"),
    "mesh cut off": (lambda d: cut(d / MESH, 0.6), "001-002.ply: not a whole mesh"),
    "another mesh": (
        lambda d: trimesh.creation.icosphere().export(d / MESH), "expected FLAME's 5023 vertices"),
    "no mesh": (lambda d: (d / MESH).unlink(), "no .*001-002.ply"),
    "no face in the photograph": (
        lambda d: (d / LANDMARKS).unlink(), r"001-002\.\* \(no face detected"),
    "other landmarks": (
        lambda d: np.save(d / LANDMARKS, np.ones((5, 2))), "51 or 68 landmarks, got \\[5\\]"),
    "no scan landmarks": (lambda d: (d / START).unlink(), "no .*scan_landmarks/001-002.npy"),
    "scan landmarks cut off": (lambda d: cut(d / START, 0.8), "expected an array of numbers"),
    "other scan landmarks": (
        lambda d: np.save(d / START, np.ones((68, 3))), r"expected \(51, 3\) finite"),
    "pickled scan landmarks": (
        lambda d: np.save(d / START, np.array([{}], object)), "expected an array of numbers"),
}
MISPLACED = {
    "scan landmarks beside the scan": (
        lambda d: move(d / START, 5000), "001-002.wrl: no point of the scan within"),
    "scan landmarks of another frame": (
        lambda d: np.save(d / START, np.load(d / START)[::-1]), "wrong order or frame"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_check_names_the_damaged_file_in_one_line(damage, folder):
    make, reason = DAMAGE[damage]
    make(folder)
    (problem,) = casia3d.check(folder)
    assert re.search(reason, problem)
    assert "\n" not in problem


@pytest.mark.parametrize("damage", ["mesh cut off", *MISPLACED])
def test_a_scan_that_cannot_be_used_is_left_out_with_a_warning(damage, folder, caplog):
    make, reason = (DAMAGE | MISPLACED)[damage]
    make(folder)
    (folder / "3D-Face-WRL/002/002-001.wrl").unlink()
    with caplog.at_level(logging.WARNING, "absl"):
        assert casia3d.load("flame51", folder).names == ("001-001",)
    first, last = (record.getMessage() for record in caplog.records)
    assert re.search("left out 001-002: .*" + reason, first)
    assert "left out 1 of 2 faces: 001-002" in last


def test_check_of_a_good_folder_and_of_photographs(folder):
    assert casia3d.check(folder) == []
    cut(folder / "3D-Face-BMP" / "001" / "001-001.bmp", 0.5)
    (folder / "3D-Face-BMP" / "002" / "002-001.bmp").unlink()
    first, second = casia3d.check(folder)
    assert "001-001.bmp: not a whole picture" in first
    assert second == f"no 002-001.bmp anywhere in {folder}"


def test_missing_folders_and_embedding_are_named(folder, tmp_path):
    (folder / "l_f_idx.mat").unlink()
    with pytest.raises(FileNotFoundError, match="flame_static_embedding"):
        casia3d.load("flame51", folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    embedding_line, scans_line = casia3d.check(empty)
    assert "flame_static_embedding" in embedding_line
    assert "001-001.wrl" in scans_line
    with pytest.raises(ValueError, match=r"casia3d has \['flame51'\], got 'ibug68'"):
        casia3d.load("ibug68", folder)


def test_a_real_flame_mesh_laid_on_points_of_itself(shared, folder, mesh):
    """The registered mesh, sampled anew as a scan in millimetres: its landmarks come back."""
    real = shared / "data" / "flame_topology"
    registered = trimesh.load_mesh(real / "registered_mesh.ply", process=False)
    for name in ("l_f_idx", "l_b_coord"):
        content = (shared / "data" / "authors_release" / f"{name}.mat").read_bytes()
        (folder / f"{name}.mat").write_bytes(content)
    marks = flame.embed(flame.read_mesh(real / "registered_mesh.ply"),
                        flame.read_embedding("flame51", folder)) * 1000
    surface, _ = trimesh.sample.sample_surface(registered, 60000, seed=0)
    rotation, shift = pose("001-001")
    front = surface[surface[:, 2] > 0.02] * 1000
    for name in NAMES[1:]:
        (folder / "3D-Face-WRL" / name[:3] / f"{name}.wrl").unlink()
    write_wrl(folder / "3D-Face-WRL" / "001" / "001-001.wrl", front @ rotation + shift)
    rng = np.random.default_rng(0)
    start = marks @ rotation + shift + rng.normal(scale=3, size=(51, 3)) + 3
    np.save(folder / "scan_landmarks" / "001-001.npy", start)
    registered.export(folder / "flame" / "001-001.ply")
    faces = casia3d.load("flame51", folder)
    truth = (marks @ rotation + shift) * [1, -1, -1]
    assert np.linalg.norm(np.asarray(faces.points)[0] - truth, axis=1).mean() < 1
