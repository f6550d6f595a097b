"""Reads folders of photographs with true shapes, face by face; one that is damaged is left out."""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import tqdm
from absl import logging

from deepmds_jax import topologies
from deepmds_jax.data.formats.landmark_files import list_landmark_files, read_landmarks
from deepmds_jax.data.recorded import Recordings
from deepmds_jax.extras import require


class Photograph(NamedTuple):
    """One face: (N, 2) pixels, (N, 3) true points, and the path of its image, if there."""

    x2d: np.ndarray
    points: np.ndarray
    image: pathlib.Path | None


def gather(
    dataset: str, names: Sequence[str], read: Callable[[str], Photograph], topology: str
) -> Recordings:
    """Reads faces in millimetres by name; those that cannot be read are left out.

    Each of these is told in a warning, and their number in another at the end. Where the faces have
    more landmarks than the topology, the last ones are taken: flame51 are points 17-67 of ibug68.

    Raises:
      ValueError: none can be read.
    """
    faces: dict[str, Photograph] = {}
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
        jnp.asarray(np.stack([getattr(face, field)[start:] for face in faces.values()]), "float32")
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
        """Those of a data set; FileNotFoundError if it has no such folder."""
        folder = folder / "landmarks"
        if not folder.is_dir():
            raise FileNotFoundError(f"no {folder}")
        return cls(folder, {path.stem: path for path in list_landmark_files(folder)})

    def read(self, name: str, topology: str) -> np.ndarray:
        """See `read_face`; FileNotFoundError if there are none of that name."""
        if name not in self.paths:
            raise FileNotFoundError(f"no {self.folder / name}.* (no face detected?)")
        return read_face(self.paths[name], topology)


def read_face(path: pathlib.Path, topology: str) -> np.ndarray:
    """The (N, 2) landmarks of the one face in a file, of `topology` or, for flame51, ibug68.

    Raises:
      ValueError: the file is damaged, or has another number of landmarks or of faces.
    """
    faces = list(read_landmarks(path).values())
    expected = [topologies.get(topology).num_landmarks] + [68] * (topology == "flame51")
    if len(faces) != 1 or len(faces[0]) not in expected:
        raise ValueError(f"{path}: expected one face of {' or '.join(map(str, expected))} "
                         f"landmarks, got {[len(face) for face in faces]}")
    return faces[0][-expected[0]:]


def check_image(path: pathlib.Path) -> None:
    """Decodes a photograph.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is damaged or cut off.
    """
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
    try:
        with require("PIL.Image", extra="pictures").open(path) as image:
            image.load()
    except ImportError:
        raise
    except Exception as error:  # Pillow raises many kinds on a damaged file
        raise ValueError(f"{path}: not a whole picture: {error}") from error
