"""The FLAME head: its template mesh and embedded landmarks. Licensed: each user has to ask for it.

Li, Bolkart, Black, Li & Romero (2017), "Learning a model of facial shape and expression from 4D
scans", SIGGRAPH Asia. The model's own files (generic_model.pkl and the like) are pickles of chumpy
and SciPy objects, which cannot be read without running code that they name. So they are not read,
and the template is one face without modes.
"""

import functools
import pathlib
from typing import NamedTuple

import jax
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.formats import meshes, pickles
from deepmds_jax.data.formats.matlab import read_mat
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.sources.checks import check_topology, problems

NUM_VERTICES, NUM_TRIANGLES = 5023, 9976
TEMPLATE = "template.ply"
# The files are y up and z towards the viewer.
TO_FRAME = np.array([1, -1, -1])

_EMBEDDINGS = {"flame51": "flame_static_embedding.pkl", "ibug68": "flame_static_embedding_68.pkl"}
# The same 51 in the Deep-MDS release, in one .mat file each.
_RELEASED = ("l_f_idx", "l_b_coord")


class Embedding(NamedTuple):
    """Landmarks as points of a mesh's triangles.

    Attributes:
      triangles: (N,) int64, from 0.
      weights: (N, 3) float64 barycentric coordinates: not negative, each row sums to 1.
    """

    triangles: np.ndarray
    weights: np.ndarray


def embed(mesh: meshes.Mesh, embedding: Embedding) -> np.ndarray:
    """The (N, 3) landmarks of a mesh, in its unit and frame."""
    corners = mesh.vertices[mesh.triangles[embedding.triangles]]
    return np.einsum("nc,ncd->nd", embedding.weights, corners)


def load(topology: str, folder: pathlib.Path) -> MorphableModel:
    """Loads the landmarks of the template, in metres, as a model without modes.

    Args:
      topology: "flame51", or "ibug68", whose jaw line is the template's outline seen from the
        front.
      folder: holds `template.ply`, and `flame_static_embedding.pkl` (51; or the Deep-MDS release's
        `l_f_idx.mat` and `l_b_coord.mat`) or `flame_static_embedding_68.pkl`.

    Raises:
      ValueError: another topology, or damaged files.
      FileNotFoundError: a file is missing; names it.
    """
    embedding = read_embedding(topology, folder)
    mean = embed(read_mesh(folder / TEMPLATE), embedding) * TO_FRAME
    mean = jax.device_put(mean.astype(np.float32))
    none = jax.device_put(np.zeros((0, *mean.shape), np.float32))
    return MorphableModel(mean, none, none, topology=topology, unit="m")


def check(folder: pathlib.Path) -> list[str]:
    """A line for every file that is missing or damaged; the 68-point embedding is optional."""
    wanted = [t for t in _EMBEDDINGS if t == "flame51" or (folder / _EMBEDDINGS[t]).exists()]
    reads = [
        lambda: read_mesh(folder / TEMPLATE),
        *(functools.partial(read_embedding, topology, folder) for topology in wanted),
    ]
    return problems(reads, lambda read: read())


def read_mesh(path: pathlib.Path) -> meshes.Mesh:
    """Reads a mesh registered to FLAME's template.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, or does not have 5,023 vertices and 9,976 triangles.
    """
    mesh = meshes.read(path)
    found = len(mesh.vertices), len(mesh.triangles)
    if found != (NUM_VERTICES, NUM_TRIANGLES):
        raise ValueError(f"{path}: expected FLAME's {NUM_VERTICES} vertices and {NUM_TRIANGLES} "
                         f"triangles, got {found[0]} and {found[1]}")
    return mesh


def read_embedding(topology: str, folder: pathlib.Path) -> Embedding:
    """Reads where the landmarks lie on FLAME's mesh; see `load` for the files.

    Raises:
      ValueError: another topology, a damaged file, or a landmark outside the mesh.
      FileNotFoundError: the file is missing.
    """
    check_topology("flame", topology, _EMBEDDINGS)
    path = folder / _EMBEDDINGS[topology]
    released = [folder / f"{name}.mat" for name in _RELEASED]
    if topology == "flame51" and not path.exists() and all(p.exists() for p in released):
        path = released[0]
        pairs = zip(released, _RELEASED, strict=True)
        triangles, weights = (read_mat(file, (name,))[name] for file, name in pairs)
    else:
        content = pickles.read_arrays(path)
        try:
            triangles, weights = content["lmk_face_idx"], content["lmk_b_coords"]
        except KeyError as error:
            raise ValueError(f"{path}: expected lmk_face_idx and lmk_b_coords, got "
                             f"{list(content)}") from error
    num_landmarks = topologies.get(topology).num_landmarks
    triangles = triangles.ravel().astype(np.int64)
    if triangles.shape != (num_landmarks,) or weights.shape != (num_landmarks, 3):
        raise ValueError(f"{path}: expected {num_landmarks} triangles with 3 weights each, got "
                         f"{triangles.shape} and {weights.shape}")
    if triangles.min() < 0 or triangles.max() >= NUM_TRIANGLES:
        raise ValueError(f"{path}: a landmark in triangle {triangles.min()} or {triangles.max()}, "
                         f"outside the mesh of {NUM_TRIANGLES}")
    if not (weights.min() >= -1e-5 and np.allclose(weights.sum(axis=1), 1, atol=1e-5)):
        raise ValueError(f"{path}: expected barycentric weights, not negative and with sum 1, got "
                         f"{weights.min()} to {weights.max()}")
    return Embedding(triangles, weights.astype(np.float64))
