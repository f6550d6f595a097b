"""MediaPipe Face Mesh: its 468 points, cut to the 51 landmarks that the paper compares."""

import contextlib
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from deepmds_jax.extras import require
from deepmds_jax.methods.external import from_rows, leave_out, read_predictions
from deepmds_jax.methods.method import Method

# The points of MediaPipe's canonical face (from 0) that are the 51 landmarks, chosen along its
# published contours FACEMESH_RIGHT_EYEBROW, _LEFT_EYEBROW, _NOSE, _RIGHT_EYE, _LEFT_EYE and _LIPS.
FLAME51 = np.array([
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # upper edges of the brows
    168, 197, 5, 4, 98, 97, 2, 326, 327,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91,  # lips, outside
    78, 82, 13, 312, 308, 317, 14, 87,  # lips, inside
])  # fmt: skip

_NUM_POINTS = (468, 478)  # with the irises
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

    Needs the extra `mediapipe` and Google's model file `face_landmarker.task`, which the package
    does not hold (ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker). The older
    `mp.solutions.face_mesh` is not used: its releases need numpy below 2, and JAX needs 2 or newer.

    Args:
      model_path: the model file.
      images: path of each photograph; None, one without a face, or one that cannot be read, which
        a warning tells, gives no prediction.
      names: of the faces, in the same order.

    Raises:
      ImportError: MediaPipe is not installed.
      ValueError: the model file is missing or damaged, or there is a face in none of the
        photographs.
    """
    model_path = pathlib.Path(model_path)
    if not model_path.is_file():
        raise ValueError(f"{model_path}: no such model file of MediaPipe's face landmarker")
    mp = require("mediapipe", extra="mediapipe")
    faces, wrong = {}, []
    try:
        landmarker = mp.tasks.vision.FaceLandmarker.create_from_model_path(str(model_path))
    except Exception as error:  # MediaPipe raises many kinds on a damaged file
        raise ValueError(f"{model_path}: no model of MediaPipe's face landmarker: "
                         f"{_first_line(error)}") from error
    try:
        for name, path in zip(names, images, strict=True):
            if path is None:
                continue
            try:
                image = _rgb(mp, path)
                found = landmarker.detect(image).face_landmarks[:1]
            except Exception as error:  # likewise on a damaged photograph
                wrong.append(f"{path}: {_first_line(error)}")
                continue
            for face in found:
                size = np.array([image.width, image.height, image.width])
                faces[name] = np.array([[p.x, p.y, p.z] for p in face]) * size
    finally:
        with contextlib.suppress(RuntimeError, ValueError):  # again what detect has raised
            landmarker.close()
    leave_out(wrong, faces)
    if not faces:
        raise ValueError(f"MediaPipe with {model_path.name}: there is a face in none of the "
                         "photographs")
    return _method(f"MediaPipe with {model_path.name}", faces, names)


def _method(origin: str, faces: Mapping[str, np.ndarray], names: Sequence[str]) -> Method:
    chosen = {name: p[FLAME51] for name, p in faces.items() if len(p) in _NUM_POINTS}
    leave_out([f"{origin}: {name!r} has {len(p)} points, expected 468, or 478 with the irises, of "
               "MediaPipe's mesh" for name, p in faces.items() if name not in chosen], chosen)
    return from_rows("MediaPipe", origin, chosen, names)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _rgb(mp, path):
    """The photograph with three channels: the landmarker fails for good on a grey one."""
    image = mp.Image.create_from_file(str(path))
    pixels = image.numpy_view()
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        return image
    grey = pixels.reshape(image.height, image.width, -1)[:, :, :1]
    return mp.Image(image_format=mp.ImageFormat.SRGB, data=np.repeat(grey, 3, axis=2))
