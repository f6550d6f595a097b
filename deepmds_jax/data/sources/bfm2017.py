"""The Basel Face Models 2017 and 2019: shape, expression, colour. Licensed: each user has to ask.

Gerig, Morel-Forster, Blumer, Egger, Luethi, Schoenborn & Vetter (2018), "Morphable face models - an
open framework", FG. The files are statismo's HDF5.

A face of the model is mean + identity + expression, each with normal coefficients. Here expressions
have no weights between 0 and 1, and their mean is not the neutral face. So the mean of the
`MorphableModel` includes the mean expression, and its identity modes are those of the shape
followed by those of the expression: N(0, 1) coefficients give the model's own distribution.
"""

import json
import pathlib

import jax
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.formats.hdf5 import load_hdf5
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.sources import bfm
from deepmds_jax.data.sources.checks import check_topology, problems

TOPOLOGIES = ("ibug68", "flame51")
_PATTERN = "model201[79]*.h5"
_LANDMARKS = "landmarks_68.txt"
_TRIANGLES = "shape/representer/cells"
_NAMED = "metadata/landmarks/json"
_GROUPS = {
    part: (f"{part}/model/mean", f"{part}/model/pcaBasis", f"{part}/model/pcaVariance")
    for part in ("shape", "expression", "color")
}
# The file is in millimetres, y up and z towards the viewer.
_TO_FRAME = np.array([1, -1, -1], np.float32)

# The files themselves name some 65 points, and these are landmarks of iBUG. With no contour among
# them they do not make 68, but they show whether the vertices in the user's file are of this mesh.
_SAME_POINT = {
    "center.nose.tip": "pronasale",
    "right.eye.corner_outer": "exocanthion_right",
    "right.eye.corner_inner": "endocanthion_right",
    "left.eye.corner_inner": "endocanthion_left",
    "left.eye.corner_outer": "exocanthion_left",
    "right.lips.corner": "cheilion_right",
    "left.lips.corner": "cheilion_left",
    "center.lips.upper.outer": "labiale_superius",
    "center.lips.lower.outer": "labiale_inferius",
}
_TOLERANCE = 15.0  # mm, half the length of an eye


def load(topology: str, folder: pathlib.Path) -> MorphableModel:
    """Loads the model at the landmarks, in millimetres, in the model's own origin.

    Args:
      topology: "ibug68", or "flame51", its points 17-67.
      folder: holds one model file, such as `model2017-1_bfm_nomouth.h5`, `model2019_bfm.h5` or
        `model2019_fullHead.h5`, and `landmarks_68.txt`: 68 vertices of that file's mesh in iBUG's
        order, counted from 0, separated by spaces or line ends; `#` starts a comment. No model file
        contains them.

    Raises:
      ValueError: another topology, damaged files, more than one model, or landmarks far from the
        points that the model file names, as if of another mesh.
      FileNotFoundError: a file is missing; names it.
    """
    path, landmarks = _find(topology, folder)
    arrays = _read(path, landmarks, topology, ("shape", "expression"))
    return _shape(arrays, landmarks, topology)


def load_dense(topology: str, folder: pathlib.Path) -> DenseModel:
    """Loads all vertices with their colours; arguments, unit and frame as in `load`."""
    path, landmarks = _find(topology, folder)
    arrays = _read(path, landmarks, topology)
    colour, colour_modes = _modes(arrays, "color", slice(None))
    return DenseModel(
        _shape(arrays, slice(None), topology),
        jax.device_put(arrays[_TRIANGLES].T.astype(np.int32)),
        jax.device_put(landmarks.astype(np.int32)),
        jax.device_put(colour),
        jax.device_put(colour_modes),
        topology=topology,
    )


def check(folder: pathlib.Path) -> list[str]:
    """A line for every file that is missing or damaged."""
    return problems((_find_model, _read_landmarks), lambda read: read(folder)) or problems(
        ("ibug68",), lambda topology: _read(*_find(topology, folder), topology)
    )


def _modes(
    arrays: dict[str, np.ndarray], part: str, vertices: np.ndarray | slice
) -> tuple[np.ndarray, np.ndarray]:
    mean, basis, variance = (arrays[name] for name in _GROUPS[part])
    return bfm.modes_at(vertices, mean, basis, np.sqrt(variance))


def _shape(
    arrays: dict[str, np.ndarray], vertices: np.ndarray | slice, topology: str
) -> MorphableModel:
    shape, identity = _modes(arrays, "shape", vertices)
    offset, expression = _modes(arrays, "expression", vertices)
    mean = jax.device_put((shape + offset) * _TO_FRAME)
    modes = jax.device_put(np.concatenate([identity, expression]) * _TO_FRAME)
    none = jax.device_put(np.zeros((0, *mean.shape), np.float32))
    return MorphableModel(mean, modes, none, topology, "mm")


def _find(topology: str, folder: pathlib.Path) -> tuple[pathlib.Path, np.ndarray]:
    check_topology("bfm2017", topology, TOPOLOGIES)
    path = _find_model(folder)
    return path, _read_landmarks(folder)[-topologies.get(topology).num_landmarks :]


def _find_model(folder: pathlib.Path) -> pathlib.Path:
    paths = sorted(folder.glob(_PATTERN))
    if not paths:
        raise FileNotFoundError(f"no {folder / _PATTERN}")
    if len(paths) > 1:
        raise ValueError(f"{folder}: expected one model, since {_LANDMARKS} is of one mesh, got "
                         f"{[path.name for path in paths]}")
    return paths[0]


def _read_landmarks(folder: pathlib.Path) -> np.ndarray:
    path = folder / _LANDMARKS
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
    try:
        lines = path.read_text("utf-8").splitlines()
        vertices = np.array([int(v) for line in lines for v in line.split("#")[0].split()])
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected whole numbers: {error}") from error
    if vertices.shape != (68,):
        raise ValueError(f"{path}: expected 68 vertices, got {vertices.size}")
    return vertices


def _read(
    path: pathlib.Path,
    landmarks: np.ndarray,
    topology: str,
    parts: tuple[str, ...] = tuple(_GROUPS),
) -> dict[str, np.ndarray]:
    groups = [_GROUPS[part] for part in parts]
    names = [name for group in groups for name in group]
    try:
        arrays = load_hdf5(path, [*names, _TRIANGLES, _NAMED])
        named = _named_points(arrays.pop(_NAMED))
        bfm.check_model(arrays, groups, arrays[_TRIANGLES].T)
        if any((arrays[f"{part}/model/pcaVariance"] < 0).any() for part in parts):
            raise ValueError("a variance is negative")
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: expected a Basel Face Model 2017 or 2019: {error}") from error
    mean = arrays["shape/model/mean"].reshape(-1, 3)
    text = path.with_name(_LANDMARKS)
    if landmarks.min() < 0 or landmarks.max() >= len(mean):
        raise ValueError(f"{text}: vertices {landmarks.min()} to {landmarks.max()}, counted from "
                         f"0, but {path.name} has {len(mean)}")
    order = topologies.get(topology).landmarks
    for name in _SAME_POINT.keys() & named.keys():
        vertex = landmarks[order.index(_SAME_POINT[name])]
        distance = np.linalg.norm(mean[vertex] - named[name])
        if not distance < _TOLERANCE:
            raise ValueError(f"{text}: {_SAME_POINT[name]} is vertex {vertex}, {distance:.0f} mm "
                             f"from the {name} of {path.name}: another mesh, or another order?")
    return arrays


def _named_points(content: np.ndarray) -> dict[str, np.ndarray]:
    """The points that a file names, (3,) each, in its frame."""
    text = b"".join(content.flat[:1]) if content.dtype.kind == "S" else content.tobytes()
    points = json.loads(text.decode())
    return {point["id"]: np.array(point["coordinates"], np.float64).reshape(3) for point in points}
