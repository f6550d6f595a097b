"""GNM Head: Google's model of identities and expressions, under the Apache licence 2.0.

The Generative aNthropometric Model, version 3, github.com/google/GNM and huggingface.co/google/
gnm-v3. A face is template + identity basis + expression basis, each with coefficients in standard
deviations. This reader was written after the owner's public code, and tested on files in its
layout, not on the owner's.

As in `bfm2017`, expressions have no weights between 0 and 1. So the identity modes are those of
identity followed by those of expression: N(0, 1) coefficients give the model's own distribution.
"""

import pathlib
import zipfile
import zlib

import jax
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.formats.archives import unpack_npz
from deepmds_jax.data.formats.faces import plain_float
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.sources.checks import check_topology, problems

TOPOLOGIES = ("ibug68", "flame51")
_MODEL, _LANDMARKS = "gnm_head.npz", "head_sparse_68.txt"
# Where a clone of the repository has them.
_PLACES = {_MODEL: "gnm/shape/data/versions/*/", _LANDMARKS: "gnm/shape/data/landmarks/"}
_TEMPLATE = "template_vertex_positions"
_BASES = ("vertex_identity_basis", "expression_basis")
_TO_FRAME = np.array([1, -1, -1])  # y up and z towards the viewer -> y down and z away
_NUM_JAW = 17


def load(topology: str, folder: pathlib.Path) -> MorphableModel:
    """Loads the model at the landmarks of a topology, in metres; the mean is the template.

    The file lists some of the right jaw's landmarks from below, as its users report. So the jaw's
    are put in the order of their height.

    Args:
      topology: "ibug68", or "flame51", its points 17-67.
      folder: holds `gnm_head.npz`, with `template_vertex_positions` (V, 3), `vertex_identity_basis`
        (I, V, 3) and `expression_basis` (E, V, 3), and `head_sparse_68.txt`, with three vertices
        and their weights `i0 w0 i1 w1 i2 w2` for each landmark; or is a clone of google/GNM.

    Raises:
      ValueError: another topology, damaged files, or landmarks of another mesh.
      FileNotFoundError: a file is missing; names it.
    """
    check_topology("gnm", topology, TOPOLOGIES)
    text = _find(folder, _LANDMARKS)
    vertices, weights = _read_landmarks(text)
    path = _find(folder, _MODEL)
    mean, identity, expression = (
        np.einsum("nc,...ncd->...nd", weights, corners)
        for corners in _read_model(path, text, vertices)
    )
    places = dict(zip(topologies.IBUG68.landmarks, mean, strict=True))
    if not places["exocanthion_right"][0] < places["exocanthion_left"][0]:
        raise ValueError(f"{text}: expected landmarks of {path.name}, got the right outer eye "
                         f"corner at x = {places['exocanthion_right'][0]:.3g} m and the left one "
                         f"at {places['exocanthion_left'][0]:.3g} m")
    start = topologies.IBUG68.num_landmarks - topologies.get(topology).num_landmarks
    order = _down_and_up(mean[:_NUM_JAW, 1])[start:]
    modes = np.concatenate([identity, expression])
    modes = modes[np.abs(modes).max(axis=(1, 2)) > 1e-9]  # those of teeth and tongue are not
    mean, modes = (jax.device_put((x[..., order, :] * _TO_FRAME).astype(np.float32))
                   for x in (mean, modes))
    none = jax.device_put(np.zeros((0, *mean.shape), np.float32))
    return MorphableModel(mean, modes, none, topology=topology, unit="m")


def check(folder: pathlib.Path) -> list[str]:
    """A line for every file that is missing or damaged."""
    found = problems([_LANDMARKS], lambda name: _read_landmarks(_find(folder, name)))
    found += problems([_MODEL], lambda name: _find(folder, name))
    return found or problems(["ibug68"], lambda topology: load(topology, folder))


def _find(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The file in the folder, or in the newest version of a clone."""
    cloned = sorted(folder.glob(f"{_PLACES[name]}{name}"))
    path = folder / name if (folder / name).exists() or not cloned else cloned[-1]
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
    return path


def _down_and_up(heights: np.ndarray) -> np.ndarray:
    """Order (68,) of the landmarks in which the jaw goes down to the menton and up again."""
    menton = _NUM_JAW // 2
    right, left = heights[:menton], heights[menton + 1 :]
    jaw = [*np.argsort(-right), menton, *(menton + 1 + np.argsort(left))]
    return np.array([*jaw, *range(_NUM_JAW, topologies.IBUG68.num_landmarks)])


def _read_landmarks(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (68, 3) and their weights (68, 3), in the order of the file."""
    try:
        rows = np.array([[plain_float(cell) for cell in line.split()]
                         for line in path.read_text("utf-8").splitlines()
                         if line.strip() and not line.startswith("#")])
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected lines of six numbers: {error}") from error
    if rows.shape != (topologies.IBUG68.num_landmarks, 6):
        raise ValueError(f"{path}: expected 68 lines of six numbers, got {rows.shape}")
    vertices, weights = rows[:, ::2], rows[:, 1::2]
    sums = weights.sum(axis=1)
    if (vertices != np.round(vertices)).any() or not np.allclose(sums, 1, atol=1e-3):
        raise ValueError(f"{path}: expected whole numbers of vertices, and weights whose sums are "
                         f"1, got sums from {sums.min():.3g} to {sums.max():.3g}")
    return vertices.astype(np.int64), weights


def _read_model(
    path: pathlib.Path, text: pathlib.Path, vertices: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Template and bases (..., 68, 3, 3) at the landmarks' vertices, in the frame of the file."""
    try:
        with path.open("rb") as stream:
            content = unpack_npz(stream)
            arrays = [content[name] for name in (_TEMPLATE, *_BASES)]
    except (KeyError, ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected an .npz with {_TEMPLATE} and {' and '.join(_BASES)}: "
                         f"{error}") from error
    template, *bases = arrays
    of_template = all(basis.shape[1:] == template.shape for basis in bases)
    if template.ndim != 2 or template.shape[1] != 3 or not of_template:
        raise ValueError(f"{path}: expected {_TEMPLATE} (V, 3) and bases (K, V, 3), got "
                         f"{', '.join(str(array.shape) for array in arrays)}")
    if vertices.min() < 0 or vertices.max() >= len(template):
        raise ValueError(f"{text}: expected vertices of {path.name}, from 0 to "
                         f"{len(template) - 1}, got {vertices.min()} to {vertices.max()}")
    taken = tuple(array[..., vertices, :].astype(np.float64) for array in arrays)
    if not all(np.isfinite(array).all() for array in taken):
        raise ValueError(f"{path}: expected finite numbers at the landmarks")
    return taken
