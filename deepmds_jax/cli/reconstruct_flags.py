"""The flags of bin/reconstruct, and which go together."""

import contextlib
import os
import pathlib
from collections.abc import Sequence

from absl import flags

from deepmds_jax.cli import image_size, program
from deepmds_jax.cli.outputs import check_distinct, check_file
from deepmds_jax.data.formats import meshes
from deepmds_jax.data.formats.landmark_files import list_all, list_landmark_files
from deepmds_jax.data.formats.shape_files import check_format
from deepmds_jax.data.photos.films import is_film
from deepmds_jax.data.photos.reading import SUFFIXES, list_photographs
from deepmds_jax.evaluation import figures
from deepmds_jax.extras import require

FLAGS = program.new_flags()
WEIGHTS = flags.DEFINE_string(
    "weights", None,
    "Shipped (a topology), a .safetensors file, or a training run's workdir; default: the shipped "
    "weights for that number of landmarks; in photographs flame51, whose landmarks do not depend "
    "on where the jaw line is placed.", flag_values=FLAGS,
)
OUT = flags.DEFINE_list(
    "out", ["out/faces.npz"], "Files for the shapes; their endings give the formats. "
    "With --video also films, .mp4, .mov or .mkv.",
    flag_values=FLAGS)
IMAGE = flags.DEFINE_string(
    "image", None,
    "The photograph, or a folder of photographs named like their landmark files; draws a picture. "
    "Without landmark files, where to find the faces.", flag_values=FLAGS,
)
VIDEO = flags.DEFINE_string(
    "video", None, "A film whose faces are found, followed and lifted; its frame rate is used. "
    "Cameras are not read.", flag_values=FLAGS,
)
PICTURE = flags.DEFINE_string(
    "picture", None,
    "Picture, .png, .svg or .pdf; default with --image: the first --out as .png. More than ten "
    "faces are pages of the .pdf, or NAME-1.png, NAME-2.png.", flag_values=FLAGS,
)
FACE_MODEL = flags.DEFINE_string(
    "face_model", None,
    "What finds the faces in photographs and films: MediaPipe's face_landmarker.task, by default "
    "fetched once into the user's cache; or dlib's shape_predictor_68_face_landmarks.dat, whose "
    "licence excludes commercial use.", flag_values=FLAGS,
)
IMAGE_SIZE = image_size.define(FLAGS, "; default: those of --image")
FPS = flags.DEFINE_float(
    "fps", None,
    "Frames per second: the landmark files hold the frames of a video, in their order or with "
    "times. A frame whose landmarks are all equal or hidden is one without a face.",
    flag_values=FLAGS,
)
SMOOTH = flags.DEFINE_bool(
    "smooth", True, "With --fps or --video, whether to smooth over time.", flag_values=FLAGS)
MESH = flags.DEFINE_string(
    "mesh", None,
    "Dense face, .obj, .ply (both in mm) or .glb; of several faces each to FILE-NAME. Needs "
    "--data_dir.", flag_values=FLAGS,
)
DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "With --mesh, the folder of ICT-FaceKit that holds FaceXModel/.",
    flag_values=FLAGS)
MESH_IN_IMAGE = flags.DEFINE_bool(
    "mesh_in_image", False,
    "With --mesh, where the face is in its image, in pixels, instead of upright in its own size.",
    flag_values=FLAGS)
ENGINE = flags.DEFINE_enum(
    "engine", "local", ["local", "ray"],
    "Of Parquet files: what lifts them, this machine or a Ray cluster.", flag_values=FLAGS)
ADDRESS = flags.DEFINE_string(
    "address", None,
    "With --engine=ray, the cluster's address, or auto; default: $RAY_ADDRESS, or else a cluster "
    "of this machine.", flag_values=FLAGS)

# What other kinds of files are given by.
_FLAG_OF = {
    **dict.fromkeys(SUFFIXES, "photographs by --image=FILE, or --image=FOLDER of several"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm"),
                    "films by --video=FILE"),
}


def check(paths: Sequence[str]) -> str | None:
    """Raises ValueError for flags that do not go together; returns the picture's file, if any."""
    if ENGINE.present or ADDRESS.present:
        raise ValueError("engine, address: they are for Parquet files, give some")
    if VIDEO.value is not None and (paths or IMAGE.value is not None or FPS.value is not None):
        raise ValueError("video: a film needs no landmark files, --image or --fps")
    if FPS.value is not None and not (paths and 0 < FPS.value < float("inf")):
        raise ValueError("fps: expected a number above 0, and landmark files, got "
                         f"{FPS.value:g} and {len(paths)} files")
    if not OUT.value or "" in OUT.value:
        raise ValueError("out: expected one or more files, got none")
    for path in paths:
        if flag := _other_flag(pathlib.Path(path)):
            raise ValueError(f"{path}: expected landmark files here, {flag}")
    for out in OUT.value:
        if not is_film(out):
            check_format(out)
    picture = PICTURE.value
    if picture is None and IMAGE.value is not None:
        picture = str(pathlib.Path(OUT.value[0]).with_suffix(".png"))
    if picture is not None:
        figures.check_format(picture)
    _check_mesh_flags()
    image_size.read(IMAGE_SIZE)
    outputs = [("out", out) for out in OUT.value]
    outputs += [(flag, file) for flag, file in (("picture", picture), ("mesh", MESH.value))
                if file]
    check_distinct(outputs, _inputs(paths))
    for flag, out in outputs:
        check_file(flag, out)
    if VIDEO.value is not None:
        return picture
    if any(map(is_film, OUT.value)):
        raise ValueError("out: films are written of films, give --video=FILM")
    if (paths or IMAGE.value is None) and FACE_MODEL.value:
        raise ValueError("face_model: it finds faces in photographs and films, give --image or "
                         "--video and no landmark files")
    if not paths and IMAGE.value is None:
        raise ValueError("expected landmark files or folders of them, or --image=PHOTO, or "
                         "--video=FILM, got none; try: bin/reconstruct examples --image=examples")
    return picture


def _other_flag(path: pathlib.Path) -> str | None:
    """What gives a file, or the files of a folder without landmarks, if not the arguments."""
    if not path.is_dir():
        return _FLAG_OF.get(path.suffix.lower())
    try:
        list_landmark_files(path)
    except (ValueError, OSError):
        with contextlib.suppress(OSError):
            suffixes = {file.suffix.lower() for file in path.iterdir()}
            return next((flag for suffix, flag in _FLAG_OF.items() if suffix in suffixes), None)
    return None


def _check_mesh_flags() -> None:
    if MESH.value is None:
        if DATA_DIR.value is not None or MESH_IN_IMAGE.value:
            raise ValueError("data_dir, mesh_in_image: they are for dense faces, give --mesh=FILE")
        return
    meshes.check_format(pathlib.Path(MESH.value))
    if DATA_DIR.value is None:
        raise ValueError("mesh: needs the dense face of ICT-FaceKit, give its folder by --data_dir")
    if FPS.value is not None or VIDEO.value is not None:
        raise ValueError("mesh: expected faces, got the frames of a film, by --fps or --video")
    require("trimesh", extra="files")


def _inputs(paths: Sequence[str]) -> list[str | os.PathLike]:
    """The files that are read."""
    photographs = []
    if IMAGE.value is not None:
        with contextlib.suppress(ValueError):  # told where they are looked for
            photographs = list_photographs(IMAGE.value)
    others = [file for file in (VIDEO.value, WEIGHTS.value) if file is not None]
    return [*list_all(paths)[0], *photographs, *others]
