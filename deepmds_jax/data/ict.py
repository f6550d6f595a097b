"""The ICT Face Model Light (ICT-FaceKit): a morphable model with identities and expressions.

Li et al. (2020), "Learning formation of physically-based face attributes", CVPR; MIT licence,
(c) 2020 USC Institute for Creative Technologies.
"""

import json
import pathlib
import zipfile

import jax.numpy as jnp
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.morphable_model import MorphableModel

TOPOLOGIES = ("ibug68", "flame51")
_NUM_IDENTITIES = 100


def load(topology: str, folder: pathlib.Path) -> MorphableModel:
    """Loads the model at the landmarks of a topology, in centimetres.

    The origin is ICT's own, inside the head.

    Args:
      topology: "ibug68", or "flame51", which are its points 17-67.
      folder: holds either `FaceXModel/` as ICT-FaceKit distributes it (generic_neutral_mesh.obj,
        identity000.obj ... identity099.obj, an .obj per expression, vertex_indices.json), or
        `ict68.npz`, the same at the 68 landmarks only: `mean` (68, 3), `identity` (K, 68, 3) and
        `expression` (E, 68, 3) offsets, in ICT's frame (y up, z towards the viewer).

    Raises:
      ValueError: another topology, or damaged files.
      FileNotFoundError: neither is there, or a mesh is missing; names it.
    """
    if topology not in TOPOLOGIES:
        raise ValueError(f"topology: ict has {list(TOPOLOGIES)}, got {topology!r}")
    arrays = folder / "ict68.npz"
    if arrays.exists():
        mean, identity, expression = _read_arrays(arrays)
    else:
        mean, identity, expression = read_tree(folder / "FaceXModel")
    start = topologies.IBUG68.num_landmarks - topologies.get(topology).num_landmarks
    to_frame = np.array([1, -1, -1])  # y up and z towards the viewer -> y down and z away
    mean, identity, expression = (
        jnp.asarray(x[..., start:, :] * to_frame, jnp.float32) for x in (mean, identity, expression)
    )
    return MorphableModel(mean, identity, expression, topology=topology, unit="cm")


def read_tree(
    folder: pathlib.Path, num_identities: int = _NUM_IDENTITIES
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads the landmarks of the meshes of a `FaceXModel` folder, in ICT's frame.

    Returns:
      mean (68, 3), identity offsets (num_identities, 68, 3), expression offsets (E, 68, 3) in the
      order of vertex_indices.json; float64, centimetres.
    """
    table = folder / "vertex_indices.json"
    if not table.exists():
        raise FileNotFoundError(f"no {table}")
    try:
        content = json.loads(table.read_text())
        vertices = np.array(content["idx_to_landmark_verts"])
        expressions = list(content["expressions"])
    except (ValueError, KeyError) as error:
        raise ValueError(f"{table}: expected JSON with idx_to_landmark_verts and expressions: "
                         f"{error}") from error
    mean = read_obj_vertices(folder / "generic_neutral_mesh.obj", vertices)
    identities = [f"identity{i:03d}" for i in range(num_identities)]
    identity, expression = (
        np.array([read_obj_vertices(folder / f"{n}.obj", vertices) for n in names]) - mean
        for names in (identities, expressions)
    )
    return mean, identity, expression


def read_obj_vertices(path: pathlib.Path, vertices: np.ndarray) -> np.ndarray:
    """Positions (len(vertices), 3) of 0-based vertices in the order of the file's `v` lines.

    Mesh libraries split an OBJ by material and texture seam, which renumbers its vertices.
    """
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = [line for line in file if line.startswith("v ")]
    if len(lines) <= vertices.max():
        raise ValueError(f"{path}: {len(lines)} vertices, but vertex {vertices.max()} is a "
                         "landmark: the file is truncated or of another mesh")
    try:
        return np.array([lines[i].split()[1:4] for i in vertices], np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: a vertex line is not three numbers: {error}") from error


def _read_arrays(path: pathlib.Path) -> list[np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = [file[name] for name in ("mean", "identity", "expression")]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected an .npz with mean, identity and expression: "
                         f"{error}") from error
    if any(x.shape[-2:] != (68, 3) for x in arrays):
        raise ValueError(f"{path}: expected (..., 68, 3) arrays, got {[x.shape for x in arrays]}")
    return arrays
