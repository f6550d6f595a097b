"""Faces in photographs, found by MediaPipe, and the points of its mesh that are our landmarks.

Its mesh has 468 points, or 478 with the irises. There are two ways to it: the Face Landmarker, in
this environment, with Google's model file; and the older Face Mesh, whose wheels bring the model
along but need numpy below 2, which JAX does not take, so that it runs in an environment of its own.
"""

import contextlib
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tqdm

from deepmds_jax import topologies
from deepmds_jax.extras import require

# The points of MediaPipe's canonical face (from 0) that are the 51 landmarks, chosen along its
# published contours FACEMESH_RIGHT_EYEBROW, _LEFT_EYEBROW, _NOSE, _RIGHT_EYE, _LEFT_EYE and _LIPS.
FLAME51 = np.array([
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # upper edges of the brows
    168, 197, 5, 4, 98, 97, 2, 326, 327,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91,  # lips, outside
    78, 82, 13, 312, 308, 317, 14, 87,  # lips, inside
])  # fmt: skip

# FACEMESH_FACE_OVAL from the subject's right temple over the chin to the left temple.
_RIGHT_JAW = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)
_LEFT_JAW = (152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)

NUM_POINTS = (468, 478)  # with the irises
TOPOLOGIES = ("flame51", "ibug68")
ENVIRONMENT = ("python3 -m venv face_mesh && "
               "face_mesh/bin/pip install 'mediapipe==0.10.21' 'numpy<2'")

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_SCRIPT = pathlib.Path(__file__).with_name("face_mesh_script.py")
_MAX_FACES = 20  # in a photograph
_BATCH = 16  # photographs in memory, and in one run of the other environment
_START_SECONDS, _PHOTOGRAPH_SECONDS = 120, 10  # what that may take, on a slow machine

# Photographs (height, width, 3) uint8 RGB -> for each its faces (F, 468 or 478, 3), x and y over
# width and height, z over width; or a line that says why it failed.
_Detect = Callable[[list[np.ndarray]], list[np.ndarray | str]]


def find_faces(
    paths: Sequence[str | os.PathLike],
    *,
    model: str | os.PathLike | None = None,
    python: str | os.PathLike | None = None,
) -> tuple[dict[pathlib.Path, np.ndarray], list[str]]:
    """Finds the faces in photographs, by one of the two ways to MediaPipe.

    Both find up to 20 faces in a photograph. They look for faces near the camera: one that takes up
    less than about a tenth of the photograph's width may be missed.

    Args:
      paths: of the photographs.
      model: Google's model file `face_landmarker.task`, which the package does not hold
        (ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker); needs the extra
        `mediapipe`.
      python: the interpreter of an environment with mediapipe 0.10.21 or older, see `ENVIRONMENT`.

    Returns:
      Path -> (F, 468 or 478, 3) float64 mesh of each face, from left to right in the photograph;
      x right and y down in pixels (whether the top left pixel's edge or centre is (0, 0) is below
      what it resolves), and z away from the viewer in MediaPipe's unit times the width of the
      photograph, which is about pixels too. F is 0 where there is no face. And a line for each
      photograph that cannot be read.

    Raises:
      ImportError: `model` without MediaPipe, or no Pillow.
      ValueError: not one of `model` and `python`; the model file is missing or damaged; the
        interpreter fails or takes too long.
    """
    if (model is None) == (python is None):
        raise ValueError("model, python: expected one of them")
    faces, wrong = {}, []
    paths = list(map(pathlib.Path, paths))
    with (
        (_face_mesh(python) if model is None else _landmarker(model)) as detect,
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


def to_landmarks(mesh: np.ndarray, topology: str) -> np.ndarray:
    """The landmarks of a topology on MediaPipe's mesh.

    51 are points of the mesh. The jaw line of "ibug68" is not marked on it: its 17 points are
    spread evenly, by length in 3D, over the contour of the face on either side of the chin.

    Args:
      mesh: (468 or 478, 3).
      topology: "flame51" or "ibug68".

    Returns:
      (N, 3), frame and unit of the mesh.

    Raises:
      ValueError: another topology.
    """
    if topology not in TOPOLOGIES:
        raise ValueError(f"topology: MediaPipe's mesh has the landmarks of "
                         f"{' and '.join(TOPOLOGIES)}, not of {topology}")
    inner = mesh[FLAME51]
    if topology == "flame51":
        return inner
    num_jaw = topologies.get(topology).num_landmarks - len(inner)
    half = num_jaw // 2 + 1  # the chin is in both
    right, left = (_spread(mesh[list(line)], half) for line in (_RIGHT_JAW, _LEFT_JAW))
    return np.concatenate([right, left[1:], inner])


def list_photographs(path: str | os.PathLike) -> list[pathlib.Path]:
    """The photographs in a folder, sorted by name, without hidden files; or the one file given.

    Raises:
      ValueError: no such file or folder, or a folder without photographs.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise ValueError(f"no such file or folder: {path}")
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir()
                   if file.suffix.lower() in _SUFFIXES and not file.name.startswith("."))
    if not files:
        raise ValueError(f"{path}: no photographs, expected some of {', '.join(_SUFFIXES)}")
    return files


def read_photograph(path: str | os.PathLike) -> np.ndarray:
    """A photograph as viewers show it: turned as its EXIF data say, on white where transparent.

    Grey values of more than 8 bits are scaled: 16 bits by their range, floating point numbers by 1,
    or by 255 or 65535 where they are larger.

    Returns:
      (height, width, 3) uint8 RGB.

    Raises:
      ValueError: it is missing, damaged or no picture.
    """
    image = require("PIL.Image", extra="pictures")
    transpose = require("PIL.ImageOps", extra="pictures").exif_transpose
    try:
        with image.open(path) as opened:
            turned = transpose(opened)
            if turned.mode[0] in "IF":  # Pillow would clip these at 255
                return np.repeat(_to_8_bits(np.asarray(turned))[..., None], 3, axis=2)
            if turned.has_transparency_data:
                turned = turned.convert("RGBA")
                white = image.new("RGBA", turned.size, "white")
                turned = image.alpha_composite(white, turned)
            return np.asarray(turned.convert("RGB"))
    except Exception as error:  # Pillow raises many kinds on damaged files
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise ValueError(f"{path}: cannot be read: {reason}") from error


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    if not np.isfinite(grey).all():
        raise ValueError("grey values are not finite")
    largest = grey.max(initial=0)
    if grey.dtype.kind == "f":
        white = next((white for white in (1, 255, 65535) if largest <= white), largest)
    else:  # Pillow gives 16 bits as 32 in some formats, and signed ones
        white = 65535 if grey.dtype.itemsize == 2 or 255 < largest <= 65535 else max(largest, 255)
    return np.rint(np.clip(grey / white, 0, 1) * 255).astype(np.uint8)


def _spread(line: np.ndarray, count: int) -> np.ndarray:
    """`count` points at equal steps along a line of (P, 3) points, its ends among them."""
    length = np.cumsum([0, *np.linalg.norm(np.diff(line, axis=0), axis=1)])
    steps = np.linspace(0, length[-1], count)
    return np.stack([np.interp(steps, length, axis) for axis in line.T], axis=1)


def _to_pixels(faces: np.ndarray, image: np.ndarray) -> np.ndarray:
    """MediaPipe's faces in pixels, from left to right."""
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
        with contextlib.suppress(RuntimeError, ValueError):  # again what detect has raised
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
            except Exception as error:  # every kind, where it is missing or another file
                raise ValueError(
                    f"MediaPipe's Face Mesh cannot be run by {python}: "
                    f"{failure}; it needs the Python of an "
                    f"environment made by: {ENVIRONMENT}"
                ) from error

    yield detect


def _run(python: str | os.PathLike, folder: str, seconds: float) -> str:
    """Runs the script on a folder; the last it said where it failed."""
    # Isolated: this package's folder and environment are not that interpreter's.
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
    """Faces (F, 468 or 478, 3), or why they are none."""
    if found.dtype.kind == "U":
        return str(found)
    if found.size == 0:
        return np.empty((0, NUM_POINTS[0], 3))
    if found.ndim != 3 or found.shape[1] not in NUM_POINTS or found.shape[2] != 3:
        return f"faces have shape {found.shape[1:]}, expected (468, 3), or 478 with the irises"
    return found if np.isfinite(found).all() else "points are not finite"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
