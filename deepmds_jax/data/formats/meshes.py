"""Triangle meshes in files, with the file's own numbering of the vertices.

PLY and OBJ are read; PLY, OBJ and glTF (.glb) are written.
"""

import itertools
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from deepmds_jax.extras import require
from deepmds_jax.files import replacing

_WRITTEN = (".obj", ".ply", ".glb")


class Mesh(NamedTuple):
    """A triangle mesh, in the unit and frame of its file.

    Attributes:
      vertices: (V, 3) float64.
      triangles: (T, 3) int64 vertices, from 0.
    """

    vertices: np.ndarray
    triangles: np.ndarray


class Texture(NamedTuple):
    """A picture that covers a mesh of V vertices.

    Attributes:
      image: (height, width, 3) uint8 RGB.
      pixels: (V, 2) where each vertex is in it: x right and y down, pixel centres at integers.
    """

    image: np.ndarray
    pixels: np.ndarray


def check_format(path: pathlib.Path) -> None:
    """Raises ValueError if `write` does not know the ending of a file."""
    if path.suffix.lower() not in _WRITTEN:
        raise ValueError(f"{path}: unknown mesh format, expected {', '.join(_WRITTEN)}")


def write(path: pathlib.Path, mesh: Mesh, texture: Texture | None = None) -> None:
    """Writes a mesh, whole or not at all; the vertices keep their numbers.

    Args:
      path: its ending is .obj, .ply or .glb. A missing folder is made.
      mesh: what to write.
      texture: in a .glb it is embedded; in .obj and .ply each vertex gets the colour that it has
        there.

    Raises:
      ValueError: the ending is another.
      ImportError: trimesh is not installed, or for a texture Pillow.
    """
    check_format(path)
    trimesh = require("trimesh", extra="files")
    visual = None
    if texture is not None:
        height, width = texture.image.shape[:2]
        if path.suffix.lower() == ".glb":
            # From pixel centres to parts of the picture, whose origin trimesh has at the bottom.
            parts = (texture.pixels + 0.5) / (width, height)
            material = trimesh.visual.material.PBRMaterial(
                baseColorTexture=require("PIL.Image", extra="pictures").fromarray(texture.image),
                metallicFactor=0.0, roughnessFactor=1.0)
            visual = trimesh.visual.TextureVisuals(
                uv=np.stack([parts[:, 0], 1 - parts[:, 1]], axis=1), material=material)
        else:
            x, y = np.clip(np.rint(texture.pixels), 0, (width - 1, height - 1)).astype(int).T
            visual = trimesh.visual.ColorVisuals(vertex_colors=texture.image[y, x])
    made = trimesh.Trimesh(*mesh, visual=visual, process=False)
    with replacing(path) as temporary:
        made.export(temporary)


def read(path: pathlib.Path) -> Mesh:
    """Reads a mesh; polygons are split into triangles.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the extension is not .ply or .obj; or the file is truncated or damaged, has no
        triangles, a vertex that is not finite, or a triangle with a vertex outside the mesh.
    """
    readers = {".ply": _read_ply, ".obj": _read_obj}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: expected a mesh with ending {' or '.join(readers)}")
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
    try:
        with np.errstate(invalid="ignore"):  # vertices that are no whole numbers are found below
            vertices, triangles = readers[path.suffix.lower()](path)
            vertices = np.array(vertices, np.float64).reshape(-1, 3)
            triangles = np.array(triangles, np.int64).reshape(-1, 3)
    except ImportError:
        raise
    except Exception as error:  # trimesh raises many kinds on a damaged file
        raise ValueError(f"{path}: not a whole mesh: {type(error).__name__}: {error}") from error
    if not triangles.size:
        raise ValueError(f"{path}: a mesh without triangles, with {len(vertices)} vertices")
    outside = (triangles < 0) | (triangles >= len(vertices))
    if outside.any():
        raise ValueError(f"{path}: {len(vertices)} vertices, but a triangle has vertex "
                         f"{triangles[outside][0]}, counted from 0")
    if not np.isfinite(vertices).all():
        raise ValueError(f"{path}: {(~np.isfinite(vertices)).any(axis=1).sum()} of "
                         f"{len(vertices)} vertices are not finite")
    return Mesh(vertices, triangles)


def _read_ply(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open("rb") as stream:
        lines = itertools.takewhile(lambda line: line.strip() != b"end_header", stream)
        header = b"".join(lines)
        stream.seek(0)
        # From a stream, so that trimesh does not look for a texture that the file names.
        mesh = require("trimesh", extra="files").load_mesh(
            stream, file_type="ply", process=False, fix_texture=False
        )
    # trimesh accepts a text file that ends early; a polygon becomes one triangle or more.
    sizes = dict(re.findall(rb"element +(vertex|face) +(\d+)", header))
    num_vertices, num_faces = (int(sizes[name]) for name in (b"vertex", b"face"))
    if len(mesh.vertices) != num_vertices or len(mesh.faces) < num_faces:
        raise ValueError(f"expected {num_vertices} vertices and {num_faces} faces, as its header "
                         f"says, got {len(mesh.vertices)} and {len(mesh.faces)}")
    return mesh.vertices, mesh.faces


def _read_obj(path: pathlib.Path) -> tuple[list[list[str]], list[tuple[int, int, int]]]:
    """Not with trimesh, which renumbers vertices by material and seam and drops unused ones."""
    records = [line.split() for line in path.read_text("utf-8", "replace").splitlines()]
    vertices = [record[1:4] for record in records if record[:1] == ["v"]]
    _check_underscores(vertices)
    faces = (record[1:] for record in records if record[:1] == ["f"])
    return vertices, [t for face in faces for t in _triangles(face)]


def _check_underscores(vertices: Sequence[Sequence[str]]) -> None:
    """ValueError for 12_5, which NumPy takes for 125."""
    if any("_" in cell for vertex in vertices for cell in vertex):
        raise ValueError("a vertex with an underscore, expected numbers")


def _triangles(face: list[str]) -> Iterator[tuple[int, int, int]]:
    """A fan over the corners `vertex/texture/normal`, which count from 1."""
    first, *others = (int(corner.split("/")[0]) - 1 for corner in face)
    for second, third in itertools.pairwise(others):
        yield first, second, third


def read_vertex_lines(path: pathlib.Path) -> list[str]:
    """The `v` lines of an OBJ file, in their order.

    Read by hand, because mesh libraries split an OBJ by material and texture seam, which renumbers
    its vertices.
    """
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
    with path.open(encoding="utf-8", errors="replace") as file:
        return [line for line in file if line.startswith("v ")]


def parse_vertices(path: pathlib.Path, lines: Sequence[str], vertices: Iterable[int]) -> np.ndarray:
    """Positions (V, 3) of some of the vertices in `read_vertex_lines(path)`, counted from 0."""
    try:
        cells = [lines[i].split()[1:4] for i in vertices]
        _check_underscores(cells)
        return np.array(cells, np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: a vertex line is not three numbers: {error}") from error
