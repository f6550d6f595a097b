"""Predictions that another program made, read from files: RingNet, 3DDFA, a user's own."""

import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from deepmds_jax import topologies
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.formats.archives import unpack_numpy
from deepmds_jax.data.formats.matlab import load_mat
from deepmds_jax.data.formats.point_rows import read_rows
from deepmds_jax.data.formats.reasons import reason_of
from deepmds_jax.data.views import Faces
from deepmds_jax.geometry.frames import FRAMES
from deepmds_jax.methods.arguments import require_argument, require_names
from deepmds_jax.methods.contract import Method

_POINTS = ("points", "landmarks")


def external(
    path: str | os.PathLike, names: Sequence[str], topology: str, frame: str = "camera"
) -> Method:
    """The predictions in a file or folder, as they are; called after it.

    A face of the dataset that they lack, or that is not finite or has another number of landmarks
    there, is NaN; a warning counts these. `predict` looks at `Faces.row` alone.

    Args:
      path: see `read_predictions`. For "flame51" faces of 68 points are cut to the points 17-67.
      names: of the faces of the dataset, in its order.
      topology: of the landmarks.
      frame: the file's; x is right in all. "camera" has y down and z away from the viewer, as what
        this package writes to .npz, .json and .csv; "mesh" has y up and z toward the viewer, as
        FLAME and so RingNet, BFM, and most mesh files; "image" has y down and z toward the viewer,
        as 3DDFA's landmarks in pixels and the `pt3d_68` of AFLW2000-3D.

    Raises:
      ValueError: a wrong frame, file or number of landmarks, or no face of the dataset in it; from
        `predict`, faces that are not of a recorded set.
    """
    if frame not in FRAMES:
        raise ValueError(f"frame: expected one of {list(FRAMES)}, got {frame!r}")
    path = pathlib.Path(path)
    num_landmarks = topologies.get(topology).num_landmarks
    faces, wrong = {}, []
    for name, points in read_predictions(path, names).items():
        if topology == "flame51" and points.shape[0] == topologies.IBUG68.num_landmarks:
            points = points[-num_landmarks:]
        if points.shape[0] != num_landmarks:
            wrong.append(f"{path}: {name!r} has {points.shape[0]} landmarks, expected "
                         f"{num_landmarks} of {topology}")
        else:
            faces[name] = points * FRAMES[frame]
    leave_out(wrong, faces)
    return from_rows(path.stem, str(path), faces, names)


def load(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    """The loader of `external`: a path, and after a comma the frame."""
    del reference
    path, _, frame = argument.partition(",")
    require_argument("external", path, "a file or folder of predictions")
    names = require_names("external", dataset)
    return external(path, names, dataset.topology, frame or "camera")


def leave_out(wrong: Sequence[str], faces: Mapping[str, np.ndarray]) -> None:
    """Warns of the faces that cannot be used, a line each.

    Raises:
      ValueError: they are all there is; with the first line.
    """
    if wrong and not faces:
        raise ValueError(wrong[0])
    for line in wrong:
        logging.warning("left out %s", line)


def from_rows(
    title: str, origin: str, faces: Mapping[str, np.ndarray], names: Sequence[str]
) -> Method:
    """A method that looks its answers up.

    Args:
      title: of the method.
      origin: where the faces are from, for messages.
      faces: name -> (N, 3), all of one N, our frame.
      names: of the faces of the dataset, in its order.

    Raises:
      ValueError: none of the faces is of the dataset.
    """
    found = [name for name in names if name in faces]
    if not found:
        raise ValueError(f"{origin}: none of its {len(faces)} faces is of the dataset, whose first "
                         f"is {next(iter(names), None)!r}; the file's first is "
                         f"{next(iter(faces), None)!r}")
    table = np.full((len(names), *faces[found[0]].shape), np.nan, np.float32)
    for row, name in enumerate(names):
        if name in faces and np.isfinite(faces[name]).all():
            table[row] = faces[name]
    missing = [n for n, points in zip(names, table, strict=True) if not np.isfinite(points).all()]
    if missing:
        logging.warning("%s: %d of %d faces have no prediction and count as not finite: %s%s",
                        origin, len(missing), len(names), ", ".join(missing[:3]),
                        ", ..." if len(missing) > 3 else "")
    table = jnp.asarray(table)

    def predict(faces: Faces) -> jax.Array:
        if faces.row is None:
            raise ValueError(f"{title}: predictions from elsewhere are for recorded faces, and "
                             "these are drawn from a model")
        return jnp.take(table, faces.row, axis=0)

    return Method(title, predict, None)


def read_predictions(
    path: str | os.PathLike, names: Sequence[str], suffix: str = ""
) -> dict[str, np.ndarray]:
    """Reads 3D points of faces, in the file's frame and unit.

    * a folder: a `.npy` (N, 3) for each face, called as the face and then `suffix`; in subfolders
      where the names of the faces have them. One that cannot be read is left out, with a warning.
    * `.npz`, `.mat`, `.json`: `points` or `landmarks` (F, N, 3), with the F face `names` beside
      them, or without, in the order of the dataset; else an (N, 3) per face under its name. The
      faces that this package writes to `.npz` and `.json` are such.
    * `.csv`: columns `face`, `x`, `y`, `z`, one row per landmark, others do not matter.
    * `.npy`: (F, N, 3), or (N, 3) for one face, in the order of the dataset.

    Args:
      path: the file or folder.
      names: of the faces of the dataset, in its order, for files without names.
      suffix: of the names of files in a folder; those without it are not looked at.

    Returns:
      Face name, without the extension of a photograph, -> (N, 3) float64.

    Raises:
      ValueError: one line that names the file: it cannot be read, or is laid out otherwise.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return _read_folder(path, suffix)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: unknown format, expected a folder of .npy files or one of "
                         f"{', '.join(_READERS)}")
    return _checked(path, _by_name(path, _read(path, reader), names))


def _read(path: pathlib.Path, reader: Callable[[pathlib.Path], Any]) -> Any:
    try:
        return reader(path)
    except ImportError:
        raise
    except Exception as error:  # every parser fails on damaged files in ways of its own
        raise ValueError(f"{path}: cannot be read: {reason_of(error)}") from error


def _checked(path: pathlib.Path, faces: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for name, points in faces.items():
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"{path}: {name!r} has shape {points.shape}, expected (N, 3)")
    if not faces:
        raise ValueError(f"{path}: no faces")
    return faces


def _by_name(path: pathlib.Path, content: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    if isinstance(content, Mapping):
        field = next((field for field in _POINTS if field in content), None)
        if field is None:
            return {_stem(name): _numbers(path, name, points) for name, points in content.items()}
        points = _numbers(path, field, content[field])
        names = [str(name).strip() for name in np.ravel(content.get("names", names))]
    else:
        points = _numbers(path, "the array", content)
    points = points[None] if points.ndim == 2 else points
    if len(points) != len(names):
        raise ValueError(f"{path}: {len(points)} faces for {len(names)} names")
    stems = [_stem(name) for name in names]
    if len(set(stems)) != len(stems):
        raise ValueError(f"{path}: names: two faces have the same")
    return dict(zip(stems, points, strict=True))


def _numbers(path: pathlib.Path, name: str, points: Any) -> np.ndarray:
    try:
        return np.asarray(points, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {name!r} is no table of numbers") from error


def _stem(name: str) -> str:
    """The name without the extension of a photograph."""
    stem, extension = os.path.splitext(name)
    return stem if extension.lower() in (".jpg", ".jpeg", ".png", ".bmp") else name


def _read_folder(path: pathlib.Path, suffix: str) -> dict[str, np.ndarray]:
    faces, wrong = {}, []
    for file in sorted(path.rglob(f"*{suffix}.npy")):
        name = file.relative_to(path).as_posix().removesuffix(f"{suffix}.npy")
        if file.name.startswith("."):  # as macOS leaves them on other systems' disks
            continue
        try:
            faces |= _checked(file, {name: _numbers(file, name, _read(file, _read_numpy))})
        except ValueError as error:
            wrong.append(str(error))
    leave_out(wrong, faces)
    return _checked(path, faces)


def _read_numpy(path: pathlib.Path) -> Any:
    with path.open("rb") as file:  # np.load leaves a broken .npz open if it opens it itself
        content = unpack_numpy(file)
        if isinstance(content, np.ndarray):
            return content
        fields = [name for name in (*_POINTS, "names") if name in content]
        if fields == ["names"] or not fields:
            fields = list(content)
        return {name: content[name] for name in fields}


def _read_json(path: pathlib.Path) -> Any:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    if isinstance(content, dict) and isinstance(content.get("faces"), dict):
        return {name: face["points"] for name, face in content["faces"].items()}
    return content


def _read_csv(path: pathlib.Path) -> dict[str, list[list[float]]]:
    faces: dict[str, list[list[float]]] = {}
    for row in read_rows(path):
        faces.setdefault(row.face, []).append(row.point)
    return faces


_READERS = {
    ".npz": _read_numpy,
    ".npy": _read_numpy,
    ".mat": load_mat,
    ".json": _read_json,
    ".csv": _read_csv,
}
