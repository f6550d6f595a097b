"""The ICT Face Model Light (ICT-FaceKit): a morphable model with identities and expressions.

Li et al. (2020), "Learning formation of physically-based face attributes", CVPR; MIT licence,
(c) 2020 USC Institute for Creative Technologies.
"""

import dataclasses
import json
import pathlib
import zipfile

import jax
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.formats.archives import unpack_npz
from deepmds_jax.data.formats.meshes import parse_vertices, read_vertex_lines
from deepmds_jax.data.morphable_model import JawLines, MorphableModel
from deepmds_jax.data.sources import ict_jaw
from deepmds_jax.data.sources.checks import check_topology, problems

TOPOLOGIES = ("ibug68", "flame51")
_NUM_IDENTITIES = 100
_TO_FRAME = np.array([1, -1, -1])  # y up and z towards the viewer -> y down and z away

_SKIN_MATERIAL = "M_Face"  # face, ears and neck; not the back of the head, eyeballs and teeth
# RGB of our choice: the model has no colours.
_SKIN, _EYE, _MOUTH = (0.78, 0.58, 0.48), (0.85, 0.83, 0.8), (0.25, 0.1, 0.1)


def load(topology: str, folder: pathlib.Path) -> MorphableModel:
    """Loads the model at the landmarks of a topology, in centimetres.

    The origin is ICT's own, inside the head. The jaw of "ibug68" runs along the mandible, where
    other models and annotators have it, not over the cheek as ICT's own landmarks 0-7 and 9-16 do;
    the model knows its `JawLines`.

    Args:
      topology: "ibug68", or "flame51", its points 17-67.
      folder: holds either `FaceXModel/` as ICT-FaceKit distributes it (generic_neutral_mesh.obj,
        identity000.obj ... identity099.obj, an .obj per expression, vertex_indices.json), or
        `ict_face_dense.npz`, see `load_dense`. For "flame51" there may be `ict68.npz` instead, the
        same at ICT's own 68 landmarks only: `mean` (68, 3), `identity` (K, 68, 3) and `expression`
        (E, 68, 3) offsets, in ICT's frame (y up, z towards the viewer).

    Raises:
      ValueError: another topology, or damaged files.
      FileNotFoundError: none of them is there, or a mesh is missing; names it.
    """
    start = _start(topology)
    small, dense, tree = (folder / n for n in ("ict68.npz", "ict_face_dense.npz", "FaceXModel"))
    if start and small.exists():
        mean, identity, expression = (x[..., start:, :] for x in _read_arrays(small))
        return _model(mean, identity, expression, topology)
    if small.exists() and not dense.exists() and not tree.exists():
        raise FileNotFoundError(f"no {dense} and no {tree}: {small.name} has ICT's own landmarks "
                                "only, and the jaw of ibug68 runs along others")
    if dense.exists():
        *arrays, _, landmarks = _read_dense(dense)
        vertices = _vertices(landmarks, start)
        _check_vertices(dense, "landmarks", vertices, len(arrays[0]))
        arrays = (x[..., vertices, :] for x in arrays)
    else:
        vertices = _vertices(_read_table(tree)[0], start)
        arrays = read_tree(tree, vertices=vertices)
    mean, identity, expression = arrays
    if start:
        return _model(mean, identity, expression, topology)
    num, num_jaw = topologies.IBUG68.num_landmarks, len(ict_jaw.LINES)
    behind = (x[..., num:, :] for x in (mean, identity, expression))
    lines = (_in_frame(x.reshape(*x.shape[:-2], num_jaw, -1, 3)) for x in behind)
    model = _model(mean[:num], identity[:, :num], expression[:, :num], topology)
    return dataclasses.replace(model, jaw_lines=JawLines(*lines))


def load_dense(topology: str, folder: pathlib.Path) -> DenseModel:
    """Loads the skin of face, ears and neck, in centimetres and the frame of `load`.

    Eyeballs and teeth are left out. Plain sheets close the openings of eyes and mouth; their
    vertices are copies of those along the edges and come last.

    Args:
      topology: see `load`; the landmarks are the same.
      folder: holds either `ict_face_dense.npz`: `mean` (V, 3), `identity` (K, V, 3), `expression`
        (E, V, 3), `quads` (Q, 4) and `landmark_vertices` (68,), in ICT's frame; or `FaceXModel/`,
        all of it.

    Raises:
      ValueError: another topology, or damaged files.
      FileNotFoundError: neither is there, or a mesh is missing; names it.
    """
    start = _start(topology)
    path = folder / "ict_face_dense.npz"
    if path.exists():
        mean, identity, expression, quads, landmarks = _read_dense(path)
    else:
        path = folder / "FaceXModel"
        landmarks, _ = _read_table(path)
        quads = read_obj_quads(path / "generic_neutral_mesh.obj", _SKIN_MATERIAL)
        mean, identity, expression = read_tree(path, vertices=np.arange(quads.max() + 1))
    landmarks = _vertices(landmarks, start)[: len(landmarks) - start]
    for name, vertices in (("faces", quads), ("landmarks", landmarks)):
        _check_vertices(path, name, vertices, len(mean))
    # The longest loop is the edge at the neck and the back of the head; the lowest of the others
    # is the mouth.
    openings = sorted(boundary_loops(quads), key=len)[:-1]
    openings.sort(key=lambda loop: mean[loop, 1].mean())
    triangles = [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
    copied, colour = [np.arange(len(mean))], [np.broadcast_to(_SKIN, mean.shape)]
    for i, loop in enumerate(openings):
        # From one corner on, so that the strip of triangles joins the upper and the lower edge.
        loop = np.roll(loop, -np.argmin(mean[loop, 0]))
        triangles.append(_strip(len(loop)) + sum(map(len, copied)))
        copied.append(loop)
        colour.append(np.broadcast_to(_EYE if i else _MOUTH, (len(loop), 3)))
    copied = np.concatenate(copied)
    shape = _model(mean[copied], identity[:, copied], expression[:, copied], topology)
    return DenseModel(
        shape,
        jax.device_put(np.concatenate(triangles).astype(np.int32)),
        jax.device_put(landmarks.astype(np.int32)),
        jax.device_put(np.concatenate(colour).astype(np.float32)),
        jax.device_put(np.zeros((0, *shape.mean.shape), np.float32)),
        topology=topology,
    )


def check(folder: pathlib.Path) -> list[str]:
    """A line for every file that is missing or damaged, of those that `load` reads."""
    found = problems(TOPOLOGIES, lambda topology: load(topology, folder))
    return list(dict.fromkeys(found))  # once each: both topologies are in the same files


def boundary_loops(quads: np.ndarray) -> list[np.ndarray]:
    """The edges of a surface's openings, closed loops of vertices.

    Args:
      quads: (Q, 4) vertices of its faces.

    Returns:
      The vertices of each loop, in the order that gives a patch over it the orientation of the
      faces around it.
    """
    ends = quads[:, [[0, 1], [1, 2], [2, 3], [3, 0]]].reshape(-1, 2)
    edges = {(int(a), int(b)) for a, b in ends}
    following = {b: a for a, b in edges if (b, a) not in edges}
    loops = []
    while following:
        loop = [next(iter(following))]
        while (vertex := following.pop(loop[-1], None)) not in (None, loop[0]):
            loop.append(vertex)
        loops.append(np.array(loop))
    return loops


def _strip(num: int) -> np.ndarray:
    """Triangles (num - 2, 3) that close a loop of `num` vertices, a strip from the first vertex."""
    order = [(num - i // 2) % num if i % 2 == 0 else (i + 1) // 2 for i in range(num)]
    triangles = np.array([order[i : i + 3] for i in range(num - 2)])
    triangles[1::2] = triangles[1::2, [0, 2, 1]]  # a strip alternates; turn them all one way
    return triangles


def read_tree(
    folder: pathlib.Path,
    num_identities: int = _NUM_IDENTITIES,
    vertices: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads the meshes of a `FaceXModel` folder at some vertices, in ICT's frame.

    Args:
      folder: the folder.
      num_identities: how many of the meshes identity000.obj ... to read.
      vertices: (M,) indices; None for the 68 landmarks.

    Returns:
      mean (M, 3), identity offsets (num_identities, M, 3), expression offsets (E, M, 3) in the
      order of vertex_indices.json; float64, centimetres.
    """
    landmarks, expressions = _read_table(folder)
    vertices = landmarks if vertices is None else vertices
    mean = read_obj_vertices(folder / "generic_neutral_mesh.obj", vertices)
    identities = [f"identity{i:03d}" for i in range(num_identities)]
    identity, expression = (
        np.array([read_obj_vertices(folder / f"{n}.obj", vertices) for n in names]) - mean
        for names in (identities, expressions)
    )
    return mean, identity, expression


def read_obj_vertices(path: pathlib.Path, vertices: np.ndarray) -> np.ndarray:
    """Positions (len(vertices), 3) of vertices, counted from 0 in the order of the `v` lines."""
    lines = read_vertex_lines(path)
    if len(lines) <= vertices.max():
        raise ValueError(f"{path}: {len(lines)} vertices, but vertex {vertices.max()} is a "
                         "landmark: the file is truncated or of another mesh")
    return parse_vertices(path, lines, vertices)


def read_obj_quads(path: pathlib.Path, material: str) -> np.ndarray:
    """The faces (Q, 4) of one material of an OBJ file, as vertices counted from 0."""
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
    faces, current = [], None
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("usemtl"):
                current = line.split()[-1]
            elif line.startswith("f ") and current == material:
                faces.append(line.split()[1:])
    try:
        quads = np.array([[int(corner.split("/")[0]) - 1 for corner in f] for f in faces])
    except ValueError as error:
        raise ValueError(f"{path}: a face is not four numbered corners: {error}") from error
    if quads.ndim != 2 or quads.shape[1] != 4:
        raise ValueError(f"{path}: expected faces of four corners with material {material}, got "
                         f"an array of shape {quads.shape}")
    return quads


def _start(topology: str) -> int:
    check_topology("ict", topology, TOPOLOGIES)
    return topologies.IBUG68.num_landmarks - topologies.get(topology).num_landmarks


def _model(
    mean: np.ndarray, identity: np.ndarray, expression: np.ndarray, topology: str
) -> MorphableModel:
    arrays = map(_in_frame, (mean, identity, expression))
    return MorphableModel(*arrays, topology=topology, unit="cm")


def _in_frame(points: np.ndarray) -> jax.Array:
    return jax.device_put((points * _TO_FRAME).astype(np.float32))


def _vertices(official: np.ndarray, start: int) -> np.ndarray:
    """Vertices of the landmarks from `start` on; of all 68, those of the jaw lines come behind."""
    if start:
        return official[start:]
    lines = ict_jaw.LINES
    return np.concatenate([lines[:, 0], official[len(lines):], lines[:, 1:].ravel()])


def _check_vertices(path: pathlib.Path, name: str, vertices: np.ndarray, num: int) -> None:
    if vertices.min() < 0 or vertices.max() >= num:
        raise ValueError(f"{path}: the {name} have vertices {vertices.min()} to {vertices.max()}, "
                         f"but the skin has 0 to {num - 1}")


def _read_table(folder: pathlib.Path) -> tuple[np.ndarray, list[str]]:
    table = folder / "vertex_indices.json"
    if not table.exists():
        raise FileNotFoundError(f"no {table}")
    try:
        content = json.loads(table.read_text())
        return np.array(content["idx_to_landmark_verts"]), list(content["expressions"])
    except (ValueError, KeyError) as error:
        raise ValueError(f"{table}: expected JSON with idx_to_landmark_verts and expressions: "
                         f"{error}") from error


def _read_arrays(path: pathlib.Path) -> list[np.ndarray]:
    arrays = _read_npz(path, ("mean", "identity", "expression"))
    if any(x.shape[-2:] != (68, 3) for x in arrays):
        raise ValueError(f"{path}: expected (..., 68, 3) arrays, got {[x.shape for x in arrays]}")
    return arrays


def _read_dense(path: pathlib.Path) -> list[np.ndarray]:
    names = ("mean", "identity", "expression", "quads", "landmark_vertices")
    arrays = _read_npz(path, names)
    mean, identity, expression, quads, landmarks = arrays
    shapes = {name: x.shape for name, x in zip(names, arrays, strict=True)}
    if mean.ndim != 2 or mean.shape[1] != 3 or any(
        x.ndim != 3 or x.shape[1:] != mean.shape for x in (identity, expression)
    ) or quads.ndim != 2 or quads.shape[1] != 4 or landmarks.shape != (68,):
        raise ValueError(f"{path}: expected mean (V, 3), identity (K, V, 3), expression (E, V, 3), "
                         f"quads (Q, 4) and landmark_vertices (68,), got {shapes}")
    return arrays


def _read_npz(path: pathlib.Path, names: tuple[str, ...]) -> list[np.ndarray]:
    try:
        with path.open("rb") as stream:
            file = unpack_npz(stream)
            return [file[name] for name in names]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected an .npz with {', '.join(names[:-1])} and {names[-1]}: "
                         f"{error}") from error
