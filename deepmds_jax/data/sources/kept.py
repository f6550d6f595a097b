"""Landmarks of recorded faces that took long to find, kept beside the files they are of."""

import contextlib
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deepmds_jax import files
from deepmds_jax.data.formats.archives import unpack_npz


class Kept(NamedTuple):
    """The landmarks of a face, and the state of the files that they are of.

    Attributes:
      stamp: size and time of change of each file.
      points: (N, 3).
    """

    stamp: tuple[int, ...]
    points: np.ndarray


def stamp_of(paths: Sequence[pathlib.Path]) -> tuple[int, ...]:
    """Size and time of change of files; FileNotFoundError if there is none."""
    stamp = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"no {path}")
        status = path.stat()
        stamp += [status.st_size, status.st_mtime_ns]
    return tuple(stamp)


def read_kept(
    path: pathlib.Path, found_by: Mapping[str, Any], num_landmarks: int
) -> dict[str, Kept]:
    """What `write_kept` wrote, by name.

    Args:
      path: of the .npz file.
      found_by: what the landmarks depend on besides the files that they are of.
      num_landmarks: N.

    Returns:
      Nothing if there is no such file, or one that is damaged or was found by something else.
    """
    try:
        with path.open("rb") as stream:
            content = unpack_npz(stream)
            if any(not np.array_equal(content[key], value) for key, value in found_by.items()):
                return {}
            names, stamps, points = (content[key] for key in ("names", "stamps", "points"))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return {}
    if points.shape != (len(names), num_landmarks, 3) or len(stamps) != len(names):
        return {}
    rows = zip(names.tolist(), map(tuple, stamps.tolist()), points, strict=True)
    return {name: Kept(stamp, row) for name, stamp, row in rows}


def write_kept(
    path: pathlib.Path, faces: Mapping[str, Kept], known: Mapping[str, Kept],
    found_by: Mapping[str, Any],
) -> None:
    """Keeps landmarks by name, if the folder can be written to and others were `known`.

    See `read_kept`, which gives what was known.
    """
    if faces.keys() == known.keys() and all(faces[name] is known[name] for name in faces):
        return
    with contextlib.suppress(OSError), files.replacing(path) as temporary:
        np.savez(temporary, names=list(faces), stamps=[face.stamp for face in faces.values()],
                 points=[face.points for face in faces.values()], **found_by)
