"""The Basel Face Model 2009, the paper's training data. Licensed: each user has to ask for it.

Paysan, Knothe, Amberg, Romdhani & Vetter (2009), "A 3D face model for pose and illumination
invariant face recognition", AVSS.
"""

import pathlib
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.formats.matlab import read_mat
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.sources import bfm_landmarks
from deepmds_jax.data.sources.checks import check_topology, problems

NUM_VERTICES = 53490
_MODEL = "01_MorphableModel.mat"
_SHAPE = ("shapeMU", "shapePC", "shapeEV")
_COLOUR = ("texMU", "texPC", "texEV")
# File and variable of the Deep-MDS release with the vertices of the landmarks, counted from 1. The
# 68 are in iBUG's order: vertices listed in both files have the same meaning in both topologies,
# and the jaw, brows, eyes and lips of both run from the subject's right to the left.
_LANDMARKS = {
    "bfm72": ("landmarks_me_72.mat", "landmarks"),
    "ibug68": ("landmarks_68.mat", "landmarks_68"),
    "flame51": ("landmarks_68.mat", "landmarks_68"),
}
# The file is in micrometres, y up and z towards the viewer.
_TO_FRAME = np.array([1e-3, -1e-3, -1e-3], np.float32)


def load(topology: str, folder: pathlib.Path) -> MorphableModel:
    """Loads the model at the landmarks, in millimetres, in the model's own origin.

    Args:
      topology: "bfm72", the paper's 72 landmarks; "ibug68", or "flame51", its points 17-67.
      folder: holds `01_MorphableModel.mat` of the Basel Face Model and, of the Deep-MDS release,
        `landmarks_me_72.mat` or, for the other topologies, `landmarks_68.mat`.

    Raises:
      ValueError: another topology, or damaged files.
      FileNotFoundError: a file is missing; names it.
    """
    vertices = _read_landmarks(topology, folder)
    return _shape(_read_model(folder, _SHAPE), vertices, topology)


def load_dense(topology: str, folder: pathlib.Path) -> DenseModel:
    """Loads all 53,490 vertices with their colours; arguments, unit and frame as in `load`."""
    landmarks = _read_landmarks(topology, folder)
    content = _read_model(folder, (*_SHAPE, *_COLOUR, "tl"))
    colour, colour_modes = modes_at(slice(None), *(content[name] for name in _COLOUR))
    return DenseModel(
        _shape(content, slice(None), topology),
        jax.device_put(content["tl"].astype(np.int32) - 1),
        jax.device_put(landmarks.astype(np.int32)),
        jax.device_put(colour / 255),
        jax.device_put(colour_modes / 255),
        topology=topology,
    )


def check(folder: pathlib.Path) -> list[str]:
    """A line for every file that is missing or damaged; `landmarks_68.mat` is optional.

    Where the files are good, also a line for all that contradicts the names of the 72 landmarks in
    the mean face, see `bfm_landmarks`.
    """
    reads = [
        lambda: _read_model(folder, (*_SHAPE, *_COLOUR, "tl")),
        lambda: _read_landmarks("bfm72", folder),
    ]
    if (folder / _LANDMARKS["ibug68"][0]).exists():
        reads.append(lambda: _read_landmarks("ibug68", folder))
    return problems(reads, lambda read: read()) or problems([folder], _check_names)


def _check_names(folder: pathlib.Path) -> None:
    doubts = bfm_landmarks.doubts(np.asarray(load("bfm72", folder).mean))
    if doubts:
        raise ValueError(f"{folder / _LANDMARKS['bfm72'][0]}: other landmarks than those of bfm72, "
                         f"or in another order: {doubts[0]}; {len(doubts)} such contradictions")


def modes_at(
    vertices: np.ndarray | slice, mean: np.ndarray, basis: np.ndarray, deviations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Takes principal components at n vertices, scaled to one standard deviation each.

    Args:
      vertices: indices of the n vertices.
      mean: 3 V numbers, vertex by vertex.
      basis: (3 V, K), a component in each column.
      deviations: K standard deviations.

    Returns:
      The mean (n, 3) and the modes (K, n, 3); float32.
    """
    mean = mean.reshape(-1, 3)
    modes = basis.reshape(*mean.shape, -1)[vertices].astype(np.float32)
    modes *= deviations.ravel().astype(np.float32)
    return mean[vertices].astype(np.float32), np.moveaxis(modes, -1, 0)


def check_model(
    arrays: Mapping[str, np.ndarray],
    groups: Sequence[tuple[str, str, str]],
    triangles: np.ndarray | None,
) -> None:
    """Checks that groups of mean, basis and deviations, and triangles, fit together.

    Args:
      arrays: by name.
      groups: names of a mean of 3 V numbers, a (3 V, K) basis and K deviations; the same V in all.
      triangles: (T, 3) vertices, from 0; None skips their check.

    Raises:
      ValueError: they do not, or some numbers are not finite.
    """
    num_numbers = arrays[groups[0][0]].size
    for group in groups:
        mean, basis, deviations = (arrays[name] for name in group)
        fitting = mean.size == num_numbers and basis.shape == (num_numbers, deviations.size)
        if num_numbers % 3 or not fitting:
            raise ValueError(f"expected 3 V, (3 V, K) and K numbers in {group}, V as in "
                             f"{groups[0][0]}, got {mean.shape}, {basis.shape} and "
                             f"{deviations.shape}")
        for name in group:
            if not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} has numbers that are not finite")
    if triangles is None:
        return
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not triangles.size:
        raise ValueError(f"expected triangles (T, 3), got {triangles.shape}")
    if triangles.min() < 0 or triangles.max() >= num_numbers // 3:
        raise ValueError(f"triangles with vertices {triangles.min()} to {triangles.max()}, counted "
                         f"from 0, in a mesh of {num_numbers // 3}")


def _shape(
    content: dict[str, np.ndarray], vertices: np.ndarray | slice, topology: str
) -> MorphableModel:
    mean, modes = (x * _TO_FRAME for x in modes_at(vertices, *(content[name] for name in _SHAPE)))
    none = jax.device_put(np.zeros((0, *mean.shape), np.float32))
    return MorphableModel(jax.device_put(mean), jax.device_put(modes), none, topology, "mm")


def _read_model(folder: pathlib.Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    path = folder / _MODEL
    content = read_mat(path, names)
    if content["shapeMU"].size != 3 * NUM_VERTICES:
        raise ValueError(f"{path}: expected 3 * {NUM_VERTICES} numbers in shapeMU, as the Basel "
                         f"Face Model 2009 has, got {content['shapeMU'].size}")
    groups = [group for group in (_SHAPE, _COLOUR) if group[0] in content]
    triangles = content["tl"].astype(np.int64) - 1 if "tl" in content else None
    try:
        check_model(content, groups, triangles)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return content


def _read_landmarks(topology: str, folder: pathlib.Path) -> np.ndarray:
    """(N,) int64 vertices, from 0."""
    check_topology("bfm", topology, _LANDMARKS)
    file, name = _LANDMARKS[topology]
    vertices = read_mat(folder / file, (name,))[name].ravel().astype(np.int64) - 1
    expected = 72 if topology == "bfm72" else 68
    if vertices.size != expected or vertices.min() < 0 or vertices.max() >= NUM_VERTICES:
        raise ValueError(f"{folder / file}: expected {expected} vertices from 1 to {NUM_VERTICES}, "
                         f"got {vertices.size} from {vertices.min() + 1} to {vertices.max() + 1}")
    return vertices[-topologies.get(topology).num_landmarks :]
