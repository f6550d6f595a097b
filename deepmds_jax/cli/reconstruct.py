"""Lifts landmark files, or the faces in photographs, to 3D.

  bin/reconstruct examples --image=examples
  bin/reconstruct face.pts --image=face.jpg --out=face.npz,face.obj
  bin/reconstruct landmarks/*.npy --weights=runs/ict_flame51 --out=faces.json
  bin/reconstruct --image=face.jpg --face_model=face_landmarker.task
  bin/reconstruct video.npy --fps=25 --picture=video.png
  bin/reconstruct face.pts --image=face.jpg --mesh=face.glb --data_dir=ICT-FaceKit

Takes .pts, .json, .csv, .npy, .npz and .mat files, or folders of them; writes .npz, .json, .csv,
.obj and .ply, and with --image or --picture a picture. A file that cannot be read is left out and
named at the end. Without landmark files MediaPipe finds the faces in the photographs, called
PHOTO#0, PHOTO#1, ... from left to right where there are several, and its own 3D is drawn and scored
beside ours. With --fps the faces are frames of one face in time, smoothed unless --nosmooth.
With --mesh the dense face of ICT-FaceKit, whose folder --data_dir names, is fitted to each shape
and written, coloured from its photograph if there is one; of several faces each to its own file.
"""

import os
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from deepmds_jax import faces_by_name
from deepmds_jax.cli import program
from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.formats import meshes
from deepmds_jax.data.formats.landmark_files import read_all_landmarks
from deepmds_jax.data.formats.shape_files import check_format, write_shapes
from deepmds_jax.data.photos import detection, named
from deepmds_jax.evaluation import figures, reconstructed_meshes
from deepmds_jax.evaluation.reconstructions import (
    Reconstructions,
    reconstruct_faces,
    reconstruct_photographs,
    reconstruct_video,
)
from deepmds_jax.extras import require
from deepmds_jax.methods.contract import Params
from deepmds_jax.methods.saved import load_weights
from deepmds_jax.video import BOTH_WAYS

_FLAGS = program.new_flags()
_WEIGHTS = flags.DEFINE_string(
    "weights", None,
    "Shipped (a topology), a .safetensors file, or a training run's workdir; default: the shipped "
    "weights for that number of landmarks; in photographs flame51, whose landmarks do not depend "
    "on where the jaw line is placed.", flag_values=_FLAGS,
)
_OUT = flags.DEFINE_list(
    "out", ["out/faces.npz"], "Files for the shapes; their endings give the formats.",
    flag_values=_FLAGS)
_IMAGE = flags.DEFINE_string(
    "image", None,
    "The photograph, or a folder of photographs named like their landmark files; draws a picture. "
    "Without landmark files, where to find the faces.", flag_values=_FLAGS,
)
_PICTURE = flags.DEFINE_string(
    "picture", None,
    "Picture, .png, .svg or .pdf; default with --image: the first --out as .png. More than ten "
    "faces are pages of the .pdf, or NAME-1.png, NAME-2.png.", flag_values=_FLAGS,
)
_FACE_MODEL = flags.DEFINE_string(
    "face_model", None,
    "Finds faces by MediaPipe's Face Landmarker and this model file of Google's, "
    "face_landmarker.task; needs deepmds-jax[mediapipe].", flag_values=_FLAGS,
)
_FACE_MESH_PYTHON = flags.DEFINE_string(
    "face_mesh_python", None,
    "Finds faces by MediaPipe's old Face Mesh, whose model comes with it, run by this Python of an "
    f"environment made by: {detection.ENVIRONMENT}", flag_values=_FLAGS,
)
_FPS = flags.DEFINE_float(
    "fps", None,
    "Frames per second: the landmark files hold the frames of one face, in their order. A frame "
    "whose landmarks are all equal is one without a face.", flag_values=_FLAGS,
)
_SMOOTH = flags.DEFINE_bool(
    "smooth", True, "With --fps, whether to smooth over time.", flag_values=_FLAGS)

_MESH = flags.DEFINE_string(
    "mesh", None,
    "Dense face, .obj, .ply (both in mm) or .glb; of several faces each to FILE-NAME. Needs "
    "--data_dir.", flag_values=_FLAGS,
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "With --mesh, the folder of ICT-FaceKit that holds FaceXModel/.",
    flag_values=_FLAGS)
_MESH_IN_IMAGE = flags.DEFINE_bool(
    "mesh_in_image", False,
    "With --mesh, where the face is in its image, in pixels, instead of upright in its own size.",
    flag_values=_FLAGS)


def main(paths: list[str]) -> int:
    """Lifts the landmark files in `paths`, or the faces in photographs, as the flags say."""
    picture, image = _check_flags(paths), _IMAGE.value
    left_out: list[str] = []
    if image is not None and not paths:
        params = load_weights(_WEIGHTS.value or "flame51")[0]
        model = _open_model(params)
        lifted = reconstruct_photographs(
            params, image, _FACE_MODEL.value, _FACE_MESH_PYTHON.value)
    else:
        landmarks, left_out = read_all_landmarks(paths)
        params = (faces_by_name.load_pretrained_for(landmarks) if _WEIGHTS.value is None
                  else load_weights(_WEIGHTS.value)[0])
        model = _open_model(params)
        if _FPS.value is None:
            lifted = reconstruct_faces(params, landmarks, image)
        else:
            faces_by_name.refuse_gaps(left_out)
            smoothing = BOTH_WAYS if _SMOOTH.value else None
            lifted = reconstruct_video(params, landmarks, _FPS.value, smoothing, image)
    print(*lifted.warnings, sep="\n", end="\n" if lifted.warnings else "", file=sys.stderr)
    if lifted.faces:
        print(lifted.listing)
        unread = _write(lifted, picture, model)
        left_out += [line for line in unread if line not in lifted.left_out]
    left_out += lifted.left_out
    if left_out:
        print("left out:", *left_out, sep="\n  ", file=sys.stderr)
    if not paths or _FPS.value is not None:  # not every photograph has a face
        return 0 if lifted.faces else 1
    return 1 if left_out else 0


def _check_flags(paths: Sequence[str]) -> str | None:
    """Raises ValueError for flags that do not go together; returns the picture's file, if any."""
    if _FPS.value is not None and not (paths and 0 < _FPS.value < float("inf")):
        raise ValueError("fps: expected a number above 0, and landmark files, got "
                         f"{_FPS.value:g} and {len(paths)} files")
    if not _OUT.value:
        raise ValueError("out: expected one or more files, got none")
    for out in _OUT.value:
        check_format(out)
    picture = _PICTURE.value
    if picture is None and _IMAGE.value is not None:
        picture = str(pathlib.Path(_OUT.value[0]).with_suffix(".png"))
    if picture is not None:
        figures.check_format(picture)
    _check_mesh_flags()
    if (paths or _IMAGE.value is None) and (_FACE_MODEL.value or _FACE_MESH_PYTHON.value):
        raise ValueError("face_model, face_mesh_python: they find faces in photographs, give "
                         "--image and no landmark files")
    if not paths and _IMAGE.value is None:
        raise ValueError("expected landmark files or folders of them, or --image=PHOTO, got none; "
                         "try: bin/reconstruct examples --image=examples")
    return picture


def _check_mesh_flags() -> None:
    if _MESH.value is None:
        if _DATA_DIR.value is not None or _MESH_IN_IMAGE.value:
            raise ValueError("data_dir, mesh_in_image: they are for dense faces, give --mesh=FILE")
        return
    meshes.check_format(pathlib.Path(_MESH.value))
    if os.path.abspath(_MESH.value) in map(os.path.abspath, _OUT.value):
        raise ValueError(f"mesh: {_MESH.value} is among the files of --out, expected another")
    if _DATA_DIR.value is None:
        raise ValueError("mesh: needs the dense face of ICT-FaceKit, give its folder by --data_dir")
    if _FPS.value is not None:
        raise ValueError("mesh: expected faces, got frames of a video, by --fps")
    require("trimesh", extra="files")


def _open_model(params: Params) -> DenseModel | None:
    """The dense face for --mesh, if it is given."""
    if _MESH.value is None or _DATA_DIR.value is None:
        return None
    return reconstructed_meshes.open_model(pathlib.Path(_DATA_DIR.value), params.config.topology)


def _write(lifted: Reconstructions, picture: str | None, model: DenseModel | None) -> list[str]:
    """Writes all; returns a line for each photograph that cannot be read for a dense face."""
    wrote, unread = list(_OUT.value), []
    for out in _OUT.value:
        write_shapes(out, lifted.faces, lifted.topology)
    if picture is not None:
        if lifted.picture_note:
            print(lifted.picture_note)
        wrote += map(str, figures.save_pages(lifted.draw(), picture))
    if model is not None and _MESH.value is not None:
        photographs, _ = named.match_photographs(_IMAGE.value, list(lifted.faces))
        files, unread = reconstructed_meshes.write_meshes(
            pathlib.Path(_MESH.value), lifted.faces, model, photographs,
            in_image=_MESH_IN_IMAGE.value)
        wrote += map(str, files)
    print(f"{lifted.summary}; wrote", *wrote)
    return unread


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments, positional=True)
