"""Finds faces in pictures, by MediaPipe's Face Landmarker or by dlib's 68-point model."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tqdm

from deepmds_jax.data.photos.face_model import fetch_face_model
from deepmds_jax.data.photos.mesh_landmarks import NUM_POINTS, TOPOLOGIES, to_landmarks
from deepmds_jax.data.photos.reading import read_photograph
from deepmds_jax.extras import require

_MAX_FACES = 20  # in a picture
_DLIB_LICENCE = ("note: the faces that dlib's 68-point model learnt from (iBUG 300-W) exclude "
                 "commercial use, and so does the model")


class Detector(NamedTuple):
    """A way to find faces and their landmarks.

    Attributes:
      name: as people call it.
      detect: takes a picture (height, width, 3) uint8 RGB; gives its faces from left to right,
        (F, P, 2 or 3) float64: x right and y down in pixels, and z away from the viewer, in pixels
        too, if the detector has one. F may be 0. ValueError, in a line, if it fails.
      landmarks: takes one of these faces (P, 2 or 3) and the name of a topology, "flame51" or
        "ibug68"; gives (N, 2 or 3).
      note: what its user has to know of its licence; empty if nothing.
    """

    name: str
    detect: Callable[[np.ndarray], np.ndarray]
    landmarks: Callable[[np.ndarray, str], np.ndarray]
    note: str


def check_topology(topology: str) -> None:
    """Raises ValueError unless detectors have the landmarks of that topology."""
    if topology not in TOPOLOGIES:
        raise ValueError(f"weights: detectors find the landmarks of {' and '.join(TOPOLOGIES)}, "
                         f"not of {topology}")


@contextlib.contextmanager
def open_detector(model: str | os.PathLike | None = None) -> Iterator[Detector]:
    """Opens the detector that a model file belongs to.

    MediaPipe finds up to 20 faces, near the camera: it may miss one that takes up less than about a
    tenth of the picture's width. It does not say whether the edge or the centre of the top left
    pixel is (0, 0); with dlib it is the centre.

    Args:
      model: MediaPipe's `face_landmarker.task`, by default the one in the user's cache, see
        `fetch_face_model`; or dlib's `shape_predictor_68_face_landmarks.dat`, whose licence
        excludes commercial use.

    Raises:
      ImportError: a package is missing.
      ValueError: the model file is missing or damaged, or cannot be fetched.
    """
    if model is not None and not pathlib.Path(model).is_file():
        raise ValueError(f"face_model: {model}: no such file")
    if model is not None and pathlib.Path(model).suffix.lower() == ".dat":
        yield _dlib(pathlib.Path(model))
    else:
        with _landmarker(model) as detector:
            yield detector


def find_faces(
    detector: Detector, paths: Sequence[str | os.PathLike]
) -> tuple[dict[pathlib.Path, np.ndarray], list[str]]:
    """Finds the faces in photographs.

    Returns:
      The faces by path, as `Detector.detect` gives them. And a line for each photograph that cannot
      be read, or where the detector failed.

    Raises:
      ImportError: no Pillow.
    """
    faces, wrong = {}, []
    for path in tqdm.tqdm(list(map(pathlib.Path, paths)), desc=detector.name, unit="photograph",
                          delay=5):
        try:
            image = read_photograph(path)
        except ValueError as error:
            wrong.append(str(error))
            continue
        try:
            faces[path] = detector.detect(image)
        except ValueError as error:
            wrong.append(f"{path}: {error}")
    return faces, wrong


@contextlib.contextmanager
def _landmarker(model: str | os.PathLike | None) -> Iterator[Detector]:
    """MediaPipe's Face Landmarker: meshes of 468 points, or 478 with the irises."""
    mp = require("mediapipe", extra="photos")
    model = fetch_face_model() if model is None else pathlib.Path(model)
    vision = mp.tasks.vision
    try:
        landmarker = vision.FaceLandmarker.create_from_options(vision.FaceLandmarkerOptions(
            base_options=mp.tasks.BaseOptions(model_asset_path=str(model)), num_faces=_MAX_FACES
        ))
    except Exception as error:  # MediaPipe raises many kinds on a damaged file
        raise ValueError(f"face_model: {model}: no model of MediaPipe's Face Landmarker: "
                         f"{_first_line(error)}") from error

    def detect(pixels):
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
        try:
            found = landmarker.detect(image).face_landmarks
        except Exception as error:
            raise ValueError(f"MediaPipe failed: {_first_line(error)}") from error
        faces = np.array([[(p.x, p.y, p.z) for p in face] for face in found], float)
        if not found:
            return np.empty((0, NUM_POINTS[0], 3))
        if faces.shape[1] not in NUM_POINTS or not np.isfinite(faces).all():
            raise ValueError(f"MediaPipe failed: faces of {faces.shape[1]} points, expected 468 or "
                             "478 that are finite")
        height, width, _ = pixels.shape
        return _left_to_right(faces * [width, height, width])  # z has the width for its unit

    try:
        yield Detector("MediaPipe", detect, to_landmarks, "")
    finally:
        with contextlib.suppress(RuntimeError, ValueError):  # it raises what detect raised, again
            landmarker.close()


def _dlib(model: pathlib.Path) -> Detector:
    """dlib's frontal face detector, and its model of the 68 landmarks of ibug68."""
    dlib = require("dlib", extra="dlib")
    find = dlib.get_frontal_face_detector()
    try:
        place = dlib.shape_predictor(str(model))
    except RuntimeError as error:
        raise ValueError(f"face_model: {model}: no model of dlib's shape predictor: "
                         f"{_first_line(error)}") from error

    def detect(pixels):
        pixels = np.ascontiguousarray(pixels)
        try:
            found = [place(pixels, box).parts() for box in find(pixels, 1)]
        except RuntimeError as error:
            raise ValueError(f"dlib failed: {_first_line(error)}") from error
        if not found:
            return np.empty((0, 68, 2))
        if {len(parts) for parts in found} != {68}:
            raise ValueError(f"face_model: {model}: {len(found[0])} landmarks, expected the 68 of "
                             "shape_predictor_68_face_landmarks.dat")
        return _left_to_right(np.array([[(p.x, p.y) for p in parts] for parts in found], float))

    def landmarks(face, topology):
        return face if topology == "ibug68" else face[17:]  # flame51 are the last of ibug68

    return Detector("dlib", detect, landmarks, _DLIB_LICENCE)


def _left_to_right(faces: np.ndarray) -> np.ndarray:
    return faces[np.argsort(faces[..., 0].mean(axis=1), kind="stable")]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
