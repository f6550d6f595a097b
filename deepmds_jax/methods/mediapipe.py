"""MediaPipe Face Mesh: its 468 points, cut to the 51 landmarks that the paper compares."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.photos.detection import find_faces, open_detector
from deepmds_jax.data.photos.mesh_landmarks import FLAME51_POINTS, NUM_POINTS
from deepmds_jax.data.recorded import Recordings
from deepmds_jax.methods.arguments import require_argument, require_names
from deepmds_jax.methods.contract import Method
from deepmds_jax.methods.external import from_rows, leave_out, read_predictions

_SUFFIX = "_mediapipe468"


def mediapipe(path: str | os.PathLike, names: Sequence[str]) -> Method:
    """MediaPipe's 51 landmarks from files of its predictions.

    x right and y down are in pixels, and z away from the viewer in MediaPipe's unit times the
    width of the image, which is about pixels too: its frame is ours.

    Args:
      path: a folder of NAME.npy or NAME_mediapipe468.npy, or another file of `read_predictions`;
        (468, 3) points of a face, or 478 with the irises.
      names: of the faces of the dataset, in its order.

    Raises:
      ValueError: as `read_predictions`, or another number of points.
    """
    folder = pathlib.Path(path)
    suffix = _SUFFIX if any(folder.glob(f"*{_SUFFIX}.npy")) else ""
    faces = read_predictions(path, names, suffix)
    return _method(str(path), faces, names)


def mediapipe_live(
    model_path: str | os.PathLike, images: Sequence[pathlib.Path | None], names: Sequence[str]
) -> Method:
    """MediaPipe's 51 landmarks of photographs, found now.

    Of several faces in a photograph the largest is taken.

    Args:
      model_path: Google's model file `face_landmarker.task`, see `open_detector`.
      images: path of each photograph; None, one without a face, or one that cannot be read, which
        a warning tells, gives no prediction.
      names: of the faces, in the same order.

    Raises:
      ImportError: MediaPipe is not installed.
      ValueError: the model file is missing or damaged, or there is a face in none of the
        photographs.
    """
    with open_detector(model_path) as detector:
        found, wrong = find_faces(detector, [path for path in images if path is not None])
    faces = {
        name: max(found[path], key=lambda face: np.ptp(face[:, 1]))
        for name, path in zip(names, images, strict=True)
        if path is not None and len(found.get(path, ()))
    }
    leave_out(wrong, faces)
    origin = f"MediaPipe with {pathlib.Path(model_path).name}"
    if not faces:
        raise ValueError(f"{origin}: there is a face in none of the photographs")
    return _method(origin, faces, names)


def load(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    """The loader of `mediapipe`: its predictions, or its model file `.task`."""
    del reference
    require_argument("mediapipe", argument, "its predictions, or its model file .task")
    if dataset.topology != "flame51":
        raise ValueError(f"mediapipe: its mesh has the landmarks of flame51, not of "
                         f"{dataset.topology}")
    names = require_names("mediapipe", dataset)
    if not argument.endswith(".task"):
        return mediapipe(argument, names)
    if not isinstance(dataset.source, Recordings):
        raise ValueError(f"mediapipe: the dataset {dataset.spec.name} has no photographs")
    return mediapipe_live(argument, dataset.source.images, names)


def _method(origin: str, faces: Mapping[str, np.ndarray], names: Sequence[str]) -> Method:
    chosen = {name: p[FLAME51_POINTS] for name, p in faces.items() if len(p) in NUM_POINTS}
    leave_out([f"{origin}: {name!r} has {len(p)} points, expected 468, or 478 with the irises, of "
               "MediaPipe's mesh" for name, p in faces.items() if name not in chosen], chosen)
    return from_rows("MediaPipe", origin, chosen, names)
