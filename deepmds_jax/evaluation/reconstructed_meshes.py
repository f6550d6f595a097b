"""The dense faces of reconstructed landmarks, in files for mesh programs."""

import pathlib
import re
from collections.abc import Mapping

import jax
import numpy as np

from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.formats import meshes
from deepmds_jax.data.photos.named import read_photographs
from deepmds_jax.data.sources import ict
from deepmds_jax.faces_by_name import Arrays
from deepmds_jax.surface import Surface, fit_surface

# Of the published system, which tells none. As a share of the size of a face; the anchored one says
# 0.02 to 0.04 of ICT's faces with a detector's noise, and the published one is wrong by more.
_UNKNOWN_STD = 0.05
_MILLIMETRES = {"mm": 1, "cm": 10, "m": 1000}
_METRES = 0.001  # in a millimetre; glTF is in metres
_MARGIN = 8  # pixels of the photograph around the face, which mesh programs blend in
_TO_MESH = np.array([1, -1, -1])  # y down and z away -> y up and z toward the viewer


def open_model(folder: pathlib.Path, topology: str) -> DenseModel:
    """ICT-FaceKit's dense face for the landmarks of some weights.

    Args:
      folder: as `ict.load_dense` takes it.
      topology: of the weights.

    Raises:
      ValueError: no such folder, another topology than ICT's, or files missing or damaged.
    """
    if topology not in ict.TOPOLOGIES:
        raise ValueError(f"mesh: ICT-FaceKit has the landmarks of {' and '.join(ict.TOPOLOGIES)}, "
                         f"the weights those of {topology}")
    if not folder.is_dir():
        raise ValueError(f"data_dir: no folder {folder}")
    try:
        return ict.load_dense(topology, folder)
    except FileNotFoundError as error:
        raise ValueError(f"data_dir: {error}; expected the folder of ICT-FaceKit, which holds "
                         "FaceXModel/") from None


def mesh_files(path: pathlib.Path, names: list[str]) -> dict[str, pathlib.Path]:
    """A file for each face: the path itself for one, NAME inserted before its ending for several.

    What file systems or addresses may not take is a hyphen in it; what is then equal gets a number.
    """
    if len(names) == 1:
        return {names[0]: path}
    files: dict[str, pathlib.Path] = {}
    for name in names:
        safe = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "face"
        file, count = path.with_name(f"{path.stem}-{safe}{path.suffix}"), 1
        while file in files.values():
            count += 1
            file = path.with_name(f"{path.stem}-{safe}-{count}{path.suffix}")
        files[name] = file
    return files


def write_meshes(
    path: pathlib.Path,
    faces: Mapping[str, Arrays],
    model: DenseModel,
    photographs: Mapping[str, pathlib.Path],
    *,
    in_image: bool,
) -> tuple[list[pathlib.Path], list[str]]:
    """Writes the dense face of each reconstructed one to a file of its own, see `mesh_files`.

    Axes are x right, y up and z toward the viewer. The frame is ICT's own, upright, with the origin
    inside the head, in millimetres (in .glb metres, as glTF demands), the size being the likeliest
    for that shape; or, in the image, pixels of it with the origin in its upper left corner.

    Args:
      path: .obj, .ply or .glb.
      faces: face name -> its arrays: `points` (N, 3), optionally `std` (N, 3), and `rotation`,
        `scale` and `translation` of a `Placement`.
      model: from `open_model`.
      photographs: face name -> file, for the faces that have one; it colours the mesh. Where the
        camera does not see the face, the colour is that of what covers it.
      in_image: whether to write the face where it is in its image.

    Returns:
      The files, and a line for each photograph that cannot be read; that face has no colours.

    Raises:
      ValueError: another ending.
      ImportError: trimesh is not installed, or for photographs Pillow.
    """
    files = mesh_files(path, list(faces))
    unit = _MILLIMETRES[model.shape.unit] * (_METRES if path.suffix.lower() == ".glb" else 1)
    triangles = np.asarray(model.triangles)
    unread: list[str] = []
    for name, file in files.items():
        face = faces[name]
        std = face.get("std", np.full_like(face["points"], _UNKNOWN_STD))
        surface, vertices = jax.device_get(_fit(model, face["points"], std))
        placed = _place(surface, vertices, face)
        # One at a time: a thousand photographs do not fit into memory.
        read, lines = read_photographs({name: photographs[name]} if name in photographs else {})
        unread += lines
        texture = _texture(read[name], placed[:, :2]) if read else None
        shown = placed if in_image else vertices * unit
        meshes.write(file, meshes.Mesh(shown * _TO_MESH, triangles), texture)
    return list(files.values()), list(dict.fromkeys(unread))


@jax.jit
def _fit(model: DenseModel, points: jax.Array, std: jax.Array) -> tuple[Surface, jax.Array]:
    surface = fit_surface(model, points, std)
    return surface, model.shape.shapes(surface.identity[None], surface.expression[None])[0]


def _place(surface: Surface, vertices: np.ndarray, face: Arrays) -> np.ndarray:
    """The vertices (V, 3) in the image: x right, y down, z away from the viewer, in pixels."""
    similarity = surface.similarity
    head = similarity.scale * vertices @ similarity.rotation + similarity.translation
    turned = face["scale"] * (head - face["points"].mean(axis=0)) @ face["rotation"].T
    return turned + np.append(face["translation"], 0)


def _texture(image: np.ndarray, pixels: np.ndarray) -> meshes.Texture:
    """The part of a photograph around (V, 2) pixels: one of a crowd need not carry it all."""
    size = np.array(image.shape[1::-1])
    low = np.clip(np.floor(pixels.min(axis=0)).astype(int) - _MARGIN, 0, size - 1)
    high = np.clip(np.ceil(pixels.max(axis=0)).astype(int) + _MARGIN, low + 1, size)
    return meshes.Texture(image[low[1] : high[1], low[0] : high[0]], pixels - low)
