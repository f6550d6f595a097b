"""Finds faces in photographs with MediaPipe, as meshes of 468 points, or 478 with the irises.

There are two ways to MediaPipe: the Face Landmarker, in this environment, with Google's model file;
and the older Face Mesh, whose wheels contain the model but need numpy below 2, while JAX needs 2 or
newer, so that it runs in an environment of its own.
"""

import contextlib
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tqdm

from deepmds_jax.data.photos.mesh_landmarks import NUM_POINTS
from deepmds_jax.data.photos.reading import read_photograph
from deepmds_jax.extras import require

# Shell commands that make the environment of the older Face Mesh.
ENVIRONMENT = ("python3 -m venv face_mesh && "
               "face_mesh/bin/pip install 'mediapipe==0.10.21' 'numpy<2'")

_SCRIPT = pathlib.Path(__file__).with_name("face_mesh_script.py")
_MAX_FACES = 20  # in a photograph
_BATCH = 16  # photographs in memory, and in one run of the other environment
_START_SECONDS, _PHOTOGRAPH_SECONDS = 120, 10  # limits for such a run, on a slow machine

# Takes photographs (height, width, 3) uint8 RGB; gives for each its faces (F, 468 or 478, 3), x and
# z divided by the width and y by the height, or a line that says why it failed.
_Detect = Callable[[list[np.ndarray]], list[np.ndarray | str]]


def find_faces(
    paths: Sequence[str | os.PathLike],
    *,
    model: str | os.PathLike | None = None,
    python: str | os.PathLike | None = None,
) -> tuple[dict[pathlib.Path, np.ndarray], list[str]]:
    """Finds the faces in photographs, by one of the two ways to MediaPipe.

    Both find up to 20 faces in a photograph. They look for faces near the camera and may miss one
    that takes up less than about a tenth of the photograph's width.

    Args:
      paths: of the photographs.
      model: Google's model file `face_landmarker.task`, which is not part of the package
        (ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker); needs the extra
        `mediapipe`.
      python: the interpreter of an environment with mediapipe 0.10.21 or older, see `ENVIRONMENT`.

    Returns:
      The meshes by path, (F, 468 or 478, 3) float64 for the F faces from left to right in the
      photograph (F may be 0): x right and y down in pixels (MediaPipe does not resolve whether the
      edge or the centre of the top left pixel is (0, 0)), and z away from the viewer in MediaPipe's
      unit times the width of the photograph, roughly pixels too. And a line for each photograph
      that cannot be read.

    Raises:
      ImportError: `model` without MediaPipe, or no Pillow.
      ValueError: not one of `model` and `python`; the model file is missing or damaged; the
        interpreter fails or takes too long.
    """
    if model is not None and python is None:
        detector = _landmarker(model)
    elif python is not None and model is None:
        detector = _face_mesh(python)
    else:
        raise ValueError("model, python: expected one of them")
    faces, wrong = {}, []
    paths = list(map(pathlib.Path, paths))
    with (
        detector as detect,
        tqdm.tqdm(total=len(paths), desc="MediaPipe", unit="photograph", delay=5) as progress,
    ):
        for start in range(0, len(paths), _BATCH):
            batch = paths[start : start + _BATCH]
            images = {}
            for path in batch:
                try:
                    images[path] = read_photograph(path)
                except ValueError as error:
                    wrong.append(str(error))
            found = detect(list(images.values())) if images else []
            for (path, image), result in zip(images.items(), found, strict=True):
                if isinstance(result, str):
                    wrong.append(f"{path}: MediaPipe failed: {result}")
                else:
                    faces[path] = _to_pixels(result, image)
            progress.update(len(batch))
    return faces, wrong


def _to_pixels(faces: np.ndarray, image: np.ndarray) -> np.ndarray:
    """MediaPipe's faces in pixels, sorted from left to right."""
    height, width, _ = image.shape
    faces = faces * [width, height, width]
    return faces[np.argsort(faces[..., 0].mean(axis=1), kind="stable")]


@contextlib.contextmanager
def _landmarker(model: str | os.PathLike) -> Iterator[_Detect]:
    """The Face Landmarker, in this environment."""
    model = pathlib.Path(model)
    if not model.is_file():
        raise ValueError(f"{model}: no such model file of MediaPipe's face landmarker")
    mp = require("mediapipe", extra="mediapipe")
    vision = mp.tasks.vision
    try:
        landmarker = vision.FaceLandmarker.create_from_options(vision.FaceLandmarkerOptions(
            base_options=mp.tasks.BaseOptions(model_asset_path=str(model)), num_faces=_MAX_FACES
        ))
    except Exception as error:  # MediaPipe raises many kinds on a damaged file
        raise ValueError(f"{model}: no model of MediaPipe's face landmarker: "
                         f"{_first_line(error)}") from error

    def detect_one(pixels):
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
        try:
            found = landmarker.detect(image).face_landmarks
        except Exception as error:
            return _first_line(error)
        return _checked(np.array([[(p.x, p.y, p.z) for p in face] for face in found], float))

    try:
        yield lambda images: list(map(detect_one, images))
    finally:
        with contextlib.suppress(RuntimeError, ValueError):  # it raises what detect raised, again
            landmarker.close()


@contextlib.contextmanager
def _face_mesh(python: str | os.PathLike) -> Iterator[_Detect]:
    """The older Face Mesh, run by another interpreter."""

    def detect(images):
        with tempfile.TemporaryDirectory(prefix="face_mesh_") as folder:
            for i, image in enumerate(images):
                np.save(pathlib.Path(folder, f"{i}.npy"), image)
            failure = _run(python, folder, _START_SECONDS + _PHOTOGRAPH_SECONDS * len(images))
            try:
                with np.load(pathlib.Path(folder, "faces.npz"), allow_pickle=False) as found:
                    return [_checked(found[str(i)]) for i in range(len(images))]
            except Exception as error:  # of many kinds, if it is missing or damaged
                raise ValueError(
                    f"MediaPipe's Face Mesh cannot be run by {python}: "
                    f"{failure}; it needs the Python of an "
                    f"environment made by: {ENVIRONMENT}"
                ) from error

    yield detect


def _run(python: str | os.PathLike, folder: str, seconds: float) -> str:
    """Runs the script on a folder; returns the last line that it printed if it failed."""
    # Isolated (-I): that interpreter must not see this package's folder and environment.
    command = [os.fspath(python), "-I", os.fspath(_SCRIPT), folder, str(_MAX_FACES)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {seconds:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
    said = done.stderr.strip().splitlines()
    return said[-1] if said and done.returncode else f"no answer, exit status {done.returncode}"


def _checked(found: np.ndarray) -> np.ndarray | str:
    """Faces (F, 468 or 478, 3), or a line that says what is wrong with them."""
    if found.dtype.kind == "U":
        return str(found)
    if found.size == 0:
        return np.empty((0, NUM_POINTS[0], 3))
    if found.ndim != 3 or found.shape[1] not in NUM_POINTS or found.shape[2] != 3:
        return f"faces have shape {found.shape[1:]}, expected (468, 3), or 478 with the irises"
    return found if np.isfinite(found).all() else "points are not finite"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
