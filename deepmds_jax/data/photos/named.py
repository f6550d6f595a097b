"""Photographs of named faces: finding the faces, and finding the photograph of a face."""

import collections
import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from deepmds_jax.data.formats.plain_names import printable
from deepmds_jax.data.photos.detection import Detector, find_faces
from deepmds_jax.data.photos.reading import list_photographs, read_photograph


class FoundFaces(NamedTuple):
    """Faces that were found in photographs.

    Attributes:
      landmarks: face name -> (N, 2 or 3) as its detector has them, see `Detector.detect`. A face
        has the name of its photograph, or NAME#0, NAME#1, ... from left to right where there are
        several.
      files: face name -> its photograph.
      left_out: a line for each photograph that cannot be read or shows no face.
    """

    landmarks: dict[str, np.ndarray]
    files: dict[str, pathlib.Path]
    left_out: list[str]


def find_named_faces(
    photographs: Sequence[pathlib.Path], topology: str, detector: Detector
) -> FoundFaces:
    """Finds the faces in photographs.

    Args:
      photographs: see `list_files`.
      topology: of the landmarks that are wanted, "flame51" or "ibug68".
      detector: see `open_detector`.

    Raises:
      ImportError: no Pillow.
    """
    found, left_out = find_faces(detector, photographs)
    stems = collections.Counter(path.stem for path in found)
    landmarks, files = {}, {}
    for path, faces in found.items():
        if not len(faces):
            left_out.append(f"{path}: no face found")
        for i, face in enumerate(faces):
            name = printable(path.stem if stems[path.stem] == 1 else path.name)
            name += f"#{i}" if len(faces) > 1 else ""
            landmarks[name] = detector.landmarks(face, topology)
            files[name] = path
    return FoundFaces(landmarks, files, left_out)


def match_photographs(
    image: str | os.PathLike | None, names: Sequence[str]
) -> tuple[dict[str, pathlib.Path], list[str]]:
    """Photographs by face name: the one given, or those whose file name begins the face's.

    Args:
      image: a photograph, a folder of them, or None.
      names: of the faces.

    Returns:
      Face name -> photograph, and the names that have none in the folder.

    Raises:
      ValueError: no photographs are there.
    """
    if image is None or not names:
        return {}, []
    files = list_files(image)
    if not os.path.isdir(image):
        return dict.fromkeys(names, files[0]), []
    beginnings = [(printable(begin), file)
                  for file in files for begin in (file.stem, file.name)]
    beginnings.sort(key=lambda pair: len(pair[0]))  # the longest match comes last and stays
    found = {
        name: file
        for begin, file in beginnings
        for name in names
        if name.startswith(begin) and not name[len(begin) :][:1].isalnum()
    }
    return found, [name for name in names if name not in found]


def read_photographs(
    files: Mapping[str, pathlib.Path]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """RGB arrays by face name, each file read once, and a line for each that cannot be read."""
    opened, left_out = {}, []
    for file in dict.fromkeys(files.values()):
        try:
            opened[file] = read_photograph(file)
        except ValueError as error:
            left_out.append(str(error))
    return {name: opened[file] for name, file in files.items() if file in opened}, left_out


def sizes_of_photographs(
    image: str | os.PathLike | None,
) -> Callable[[str], tuple[float, float] | None] | None:
    """Face name -> width and height of its photograph, None if it has none; None without any.

    Args:
      image: as `match_photographs` takes it.
    """
    if image is None:
        return None

    @functools.cache
    def size(file: pathlib.Path) -> tuple[float, float] | None:
        photographs, _ = read_photographs({"": file})
        return photographs[""].shape[1::-1] if photographs else None

    def size_of(name: str) -> tuple[float, float] | None:
        file = match_photographs(image, [name])[0].get(name)
        return None if file is None else size(file)

    return size_of


def list_files(image: str | os.PathLike) -> list[pathlib.Path]:
    """As `list_photographs`; its ValueError names the flag."""
    try:
        return list_photographs(image)
    except ValueError as error:
        raise ValueError(f"image: {error}") from None
