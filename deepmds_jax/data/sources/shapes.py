"""Anybody's 3D landmarks, of faces or of other things: one file of shapes.

The shapes correspond: landmark i is the same point in all of them. They have one unit and face one
way, as heads in the head frame do, and may lie anywhere. The spec's `frame` says where the file's
axes point.
"""

import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging

from deepmds_jax import topologies
from deepmds_jax.data.formats.archives import unpack_numpy
from deepmds_jax.data.formats.matlab import load_mat
from deepmds_jax.data.formats.point_rows import read_rows
from deepmds_jax.data.recorded import ShapeSet
from deepmds_jax.data.sources.checks import problems

_TEST_SHARE = 0.2  # of the subjects, or else of the shapes, where the file does not say
_OPTIONAL = ("names", "subject", "is_test")


def load(topology: str, folder: pathlib.Path) -> ShapeSet:
    """Loads the shapes, in the unit and with the axes of the file, each around its centroid.

    The shapes to test on are those that `is_test` marks. Without it they are those of the last
    fifth of the subjects, in the order of the file, or, where the file names no subjects, the last
    fifth of the shapes: neighbours in a recording are alike, so they are not drawn at random. A
    shape that is not finite, or a single point, is left out with a warning.

    Args:
      topology: any; its number of landmarks must be the file's.
      folder: holds one file, `NAME.npz`, `.mat`, `.npy` or `.csv`:

        * `.npz`, `.mat`: `points` (F, N, 3), and beside them, if known, F `names`, F `subject`
          (text or numbers) and F `is_test` (bool, or 0 and 1);
        * `.npy`: (F, N, 3);
        * `.csv`: columns `face`, `x`, `y`, `z`, a row per landmark, and, if known, `subject` and
          `is_test`, the same in all rows of a face. Other columns do not matter.

    Raises:
      ValueError: several such files, or a damaged one; another number of landmarks; fewer than two
        shapes, none to train on or none to test on; a subject in both parts.
      FileNotFoundError: there is no such file.
    """
    path = _find(folder)
    points, names, is_test = _read(path)
    expected = topologies.get(topology).num_landmarks
    if points.shape[1] != expected:
        raise ValueError(f"{path}: {points.shape[1]} landmarks, expected {expected} of topology "
                         f"{topology}")
    return ShapeSet(jax.device_put(points), is_test, names, topology, "unknown")


def read_shape(path: str | os.PathLike, topology: str) -> np.ndarray:
    """One shape (N, 3) float64 from a file like those of `load`, in its unit and with its axes.

    Args:
      path: `.npy` (N, 3); `.csv` with columns x, y, z; or a file as `load` reads it, of one shape.
      topology: its number of landmarks must be the file's.

    Raises:
      ValueError: there is no such file, it is damaged, or holds other than one such shape.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in _READERS or not path.is_file():
        raise ValueError(f"{path}: expected a file of one shape, {', '.join(_READERS)}")
    readers = {**_READERS, ".csv": functools.partial(_read_csv, columns=("x", "y", "z"))}
    points = _parsed(path, readers)[0]
    points = points[None] if points.ndim == 2 else points
    expected = (1, topologies.get(topology).num_landmarks, 3)
    if points.shape != expected:
        raise ValueError(f"{path}: expected one shape {expected[1:]} for topology {topology}, got "
                         f"{points.shape}")
    return points[0]


def check(folder: pathlib.Path) -> list[str]:
    """A line if the file is missing or damaged, or holds nothing to train on or to test on."""
    return problems([folder], lambda folder: _read(_find(folder)))


def _find(folder: pathlib.Path) -> pathlib.Path:
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    found = sorted(path for path in folder.iterdir()
                   if path.suffix.lower() in _READERS and not path.name.startswith("."))
    if not found:
        raise FileNotFoundError(f"no {folder / '*'}{{{','.join(_READERS)}}}")
    if len(found) > 1:
        raise ValueError(f"{folder}: expected one file of shapes, got "
                         f"{', '.join(path.name for path in found)}")
    return found[0]


def _read(path: pathlib.Path) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Points (S, N, 3), name, and whether it is to test on, of each shape that is whole."""
    points, content = _parsed(path, _READERS)
    if points.ndim != 3 or points.shape[-1] != 3 or not points.size:
        raise ValueError(f"{path}: expected points of shape (F, N, 3), got {points.shape}")
    given = {name: np.ravel(content[name]) for name in _OPTIONAL if name in content}
    for name, values in given.items():
        if len(values) != len(points):
            raise ValueError(f"{path}: {name} has {len(values)} entries for {len(points)} shapes")
    names = np.array([str(name).strip() for name in given.get("names", range(len(points)))])
    known = np.abs(points) < np.finfo(np.float32).max / 2  # NaN is not
    whole = known.all(axis=(1, 2)) & (points != points[:, :1]).any(axis=(1, 2))
    if not whole.all():
        logging.warning("%s: left out %d of %d shapes, not finite or a single point: %s", path,
                        np.sum(~whole), len(whole), ", ".join(names[~whole]))
    points, names = points[whole], names[whole]
    given = {name: values[whole] for name, values in given.items()}
    is_test = _split(path, len(points), given)
    points -= points.mean(axis=1, keepdims=True)  # before float32, which has few digits far out
    return points.astype(np.float32), tuple(names.tolist()), is_test


def _parsed(
    path: pathlib.Path, readers: Mapping[str, Callable[[pathlib.Path], dict[str, Any]]]
) -> tuple[np.ndarray, dict[str, Any]]:
    """The points of a file, of any shape, and all that it has."""
    try:
        content = readers[path.suffix.lower()](path)
        return np.asarray(content["points"], np.float64), content
    except ImportError:
        raise
    except Exception as error:  # every parser fails on damaged files in ways of its own
        reason = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error)
        raise ValueError(f"{path}: expected points (F, N, 3): {reason}") from error


def _split(path: pathlib.Path, num: int, given: Mapping[str, np.ndarray]) -> np.ndarray:
    """(num,) bool, whether a shape is to test on."""
    subject = np.array([str(name).strip() for name in given.get("subject", range(num))])
    if "is_test" in given:
        values = np.array([_TRUTH.get(str(value).strip().lower(), -1)
                           for value in given["is_test"]], int)
        if (values < 0).any():
            wrong = given["is_test"][values < 0][0]
            raise ValueError(f"{path}: is_test: expected 0 or 1 for each shape, got {wrong}")
        is_test = values == 1
    else:
        ordered = list(dict.fromkeys(subject.tolist()))
        is_test = np.isin(subject, ordered[-max(1, round(_TEST_SHARE * len(ordered))):])
    if is_test.all() or not is_test.any():
        counted = f"{len(set(subject))} subjects, " if "subject" in given else ""
        raise ValueError(f"{path}: expected shapes to train on and others to test on, got "
                         f"{np.sum(~is_test)} and {np.sum(is_test)} ({counted}{num} shapes)")
    both = sorted(set(subject[is_test].tolist()) & set(subject[~is_test].tolist()))
    if both:
        raise ValueError(f"{path}: expected each subject to be trained or tested on, got "
                         f"{both[0]!r} in both parts")
    return is_test


_TRUTH = {"0": 0, "1": 1, "false": 0, "true": 1, "0.0": 0, "1.0": 1}


def _read_numpy(path: pathlib.Path) -> dict[str, Any]:
    with path.open("rb") as file:  # np.load leaves a broken .npz open if it opens it itself
        content = unpack_numpy(file)
        if isinstance(content, np.ndarray):
            return {"points": content}
        return {name: content[name] for name in ("points", *_OPTIONAL) if name in content}


def _read_csv(
    path: pathlib.Path, columns: Sequence[str] = ("face", "x", "y", "z")
) -> dict[str, Any]:
    faces: dict[str, list[list[float]]] = {}
    known: dict[str, dict[str, str]] = {"subject": {}, "is_test": {}}
    for number, face, point, cells in read_rows(path, columns):
        faces.setdefault(face, []).append(point)
        for name, values in known.items():
            if name in cells and values.setdefault(face, cells[name]) != cells[name]:
                raise ValueError(f"line {number}: {name} differs within face {face!r}")
    uneven = [name for name, points in faces.items()
              if len(points) != len(next(iter(faces.values())))]
    if uneven:
        first, points = next(iter(faces.items()))
        raise ValueError(f"face {uneven[0]!r} has {len(faces[uneven[0]])} landmarks, face "
                         f"{first!r} has {len(points)}")
    beside = {name: [values[face] for face in faces] for name, values in known.items() if values}
    return {"points": list(faces.values()), "names": list(faces), **beside}


_READERS = {".npz": _read_numpy, ".npy": _read_numpy, ".mat": load_mat, ".csv": _read_csv}
