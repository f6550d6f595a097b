"""Photographs annotated with landmarks and true shapes, read face by face for the sources."""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
import tqdm
from absl import logging

from deepmds_jax import topologies
from deepmds_jax.data.formats.landmark_files import list_landmark_files, read_landmarks
from deepmds_jax.data.recorded import Recordings


class Photograph(NamedTuple):
    """One annotated face.

    Attributes:
      x2d: (N, 2) pixels, x right, y down.
      points: (N, 3) true shape in millimetres; x right, y down, z away from the viewer.
      image: path of the photograph; None if there is none.
    """

    x2d: np.ndarray
    points: np.ndarray
    image: pathlib.Path | None


def gather(
    dataset: str, names: Sequence[str], read: Callable[[str], Photograph], topology: str
) -> Recordings:
    """Reads faces by name and leaves out those that cannot be read.

    A warning names each face that is left out and why, and a last one counts them. Where the faces
    have more landmarks than the topology, the last ones are taken: flame51 are points 17-67 of
    ibug68.

    Args:
      dataset: its name, for messages.
      names: of the faces.
      read: gives the face of a name; OSError or ValueError if it is damaged or missing.
      topology: name of the landmark topology.

    Raises:
      ValueError: none can be read.
    """
    faces: dict[str, Photograph] = {}
    last = None
    for name in tqdm.tqdm(names, desc=dataset, unit="face", delay=5):
        try:
            faces[name] = read(name)
        except (OSError, ValueError) as error:
            logging.warning("%s: left out %s: %s", dataset, name, error)
            last = error
    left_out = [name for name in names if name not in faces]
    if not faces:
        raise ValueError(f"{dataset}: none of {len(names)} faces can be read; the last: {last}")
    if left_out:
        logging.warning("%s: left out %d of %d faces: %s", dataset, len(left_out), len(names),
                        ", ".join(left_out))
    start = -topologies.get(topology).num_landmarks
    x2d, points = (
        jax.device_put(
            np.stack([getattr(face, field)[start:] for face in faces.values()], dtype="f4")
        )
        for field in ("x2d", "points")
    )
    images = tuple(face.image for face in faces.values())
    return Recordings(x2d, points, tuple(faces), images, topology, "mm")


class LandmarkFiles(NamedTuple):
    """The landmarks of photographs: FOLDER/landmarks/NAME.*, one face in each.

    Attributes:
      folder: FOLDER/landmarks.
      paths: of the files, by name.
    """

    folder: pathlib.Path
    paths: dict[str, pathlib.Path]

    @classmethod
    def find(cls, folder: pathlib.Path) -> "LandmarkFiles":
        """Finds the files of a data set; FileNotFoundError if it has no folder of landmarks."""
        folder = folder / "landmarks"
        if not folder.is_dir():
            raise FileNotFoundError(f"no {folder}")
        return cls(folder, {path.stem: path for path in list_landmark_files(folder)})

    def read(self, name: str, topology: str) -> np.ndarray:
        """Reads one face, see `read_face`; FileNotFoundError if it has no file."""
        if name not in self.paths:
            raise FileNotFoundError(f"no {self.folder / name}.* (no face detected?)")
        return read_face(self.paths[name], topology)


def read_face(path: pathlib.Path, topology: str) -> np.ndarray:
    """Reads the (N, 2) landmarks of the one face in a file; for flame51 the file may have ibug68's.

    Raises:
      ValueError: the file is damaged, or has another number of landmarks or of faces.
    """
    faces = list(read_landmarks(path).values())
    expected = [topologies.get(topology).num_landmarks] + [68] * (topology == "flame51")
    if len(faces) != 1 or len(faces[0]) not in expected:
        raise ValueError(f"{path}: expected one face of {' or '.join(map(str, expected))} "
                         f"landmarks, got {[len(face) for face in faces]}")
    points, visible = (x[-expected[0]:] for x in (faces[0].points, faces[0].visible))
    if not visible.all():
        raise ValueError(f"{path}: expected landmarks that are all seen, "
                         f"{np.sum(~visible)} are hidden")
    return points
