"""Lifts landmark files, or the faces in photographs and films, to 3D.

  bin/reconstruct examples --image=examples
  bin/reconstruct face.pts --image=face.jpg --out=face.npz,face.obj
  bin/reconstruct landmarks/*.npy --weights=runs/ict_flame51 --out=faces.json
  bin/reconstruct --image=face.jpg
  bin/reconstruct --video=clip.mp4 --out=clip.npz,clip_3d.mp4
  bin/reconstruct mesh.json --image_size=1920,1080
  bin/reconstruct video.npy --fps=25 --picture=video.png
  bin/reconstruct openface.csv --fps=25
  bin/reconstruct face.pts --image=face.jpg --mesh=face.glb --data_dir=ICT-FaceKit

Takes .pts, .json, .csv, .tsv, .txt, .npy, .npz, .mat, .xml, .tps, .ljson and .fcsv files, or
folders of them (docs/landmarks.md); writes .npz, .json, .csv, .obj and .ply, and with --image or
--picture a picture. A face or file that cannot be read is left out and named at the end. Without
landmark files MediaPipe finds the faces in the photographs, called PHOTO#0, PHOTO#1, ... from left
to right where there are several, and its own 3D is drawn and scored beside ours. With --video the
faces of a film are found in the same way, followed and smoothed over time, called FILM#0, FILM#1,
... where there are several, and an output .mp4, .mov or .mkv is the film with what was found. With
--fps the faces are frames in time, of one face or of those that a tracker's file tells apart.
--nosmooth leaves frames as they are.
With --mesh the dense face of ICT-FaceKit, whose folder --data_dir names, is fitted to each shape
and written, coloured from its photograph if there is one; of several faces each to its own file.
"""

import contextlib
import functools
import os
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from deepmds_jax import faces_by_name
from deepmds_jax.cli import program
from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.formats import meshes
from deepmds_jax.data.formats.landmark_files import (
    ImageSize,
    list_all,
    read_all_landmarks,
)
from deepmds_jax.data.formats.shape_files import check_format, write_shapes
from deepmds_jax.data.photos import films, named
from deepmds_jax.data.photos.detection import open_detector
from deepmds_jax.data.photos.reading import SUFFIXES, list_photographs
from deepmds_jax.evaluation import figures, reconstructed_meshes
from deepmds_jax.evaluation.reconstructed_films import (
    FilmReconstructions,
    reconstruct_film,
)
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
    "out", ["out/faces.npz"], "Files for the shapes; their endings give the formats. "
    "With --video also films, .mp4, .mov or .mkv.",
    flag_values=_FLAGS)
_IMAGE = flags.DEFINE_string(
    "image", None,
    "The photograph, or a folder of photographs named like their landmark files; draws a picture. "
    "Without landmark files, where to find the faces.", flag_values=_FLAGS,
)
_VIDEO = flags.DEFINE_string(
    "video", None, "A film whose faces are found, followed and lifted; its frame rate is used. "
    "Cameras are not read.", flag_values=_FLAGS,
)
_PICTURE = flags.DEFINE_string(
    "picture", None,
    "Picture, .png, .svg or .pdf; default with --image: the first --out as .png. More than ten "
    "faces are pages of the .pdf, or NAME-1.png, NAME-2.png.", flag_values=_FLAGS,
)
_FACE_MODEL = flags.DEFINE_string(
    "face_model", None,
    "What finds the faces in photographs and films: MediaPipe's face_landmarker.task, by default "
    "fetched once into the user's cache; or dlib's shape_predictor_68_face_landmarks.dat, whose "
    "licence excludes commercial use.", flag_values=_FLAGS,
)
_IMAGE_SIZE = flags.DEFINE_list(
    "image_size", None,
    "WIDTH,HEIGHT of the pictures in pixels, for landmarks that are parts of them, such as "
    "MediaPipe's; default: those of --image.", flag_values=_FLAGS,
)
_FPS = flags.DEFINE_float(
    "fps", None,
    "Frames per second: the landmark files hold the frames of a video, in their order or with "
    "times. A frame whose landmarks are all equal or hidden is one without a face.",
    flag_values=_FLAGS,
)
_SMOOTH = flags.DEFINE_bool(
    "smooth", True, "With --fps or --video, whether to smooth over time.", flag_values=_FLAGS)

# What other kinds of files are given by.
_FLAG_OF = {
    **dict.fromkeys(SUFFIXES, "photographs by --image=FILE, or --image=FOLDER of several"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm"),
                    "films by --video=FILE"),
}

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
    model = None
    if _VIDEO.value is not None:
        params = load_weights(_WEIGHTS.value or "flame51")[0]
        film = films.open_film(_VIDEO.value)
        with open_detector(_FACE_MODEL.value) as detector:
            lifted = reconstruct_film(params, film, detector, BOTH_WAYS if _SMOOTH.value else None)
    elif image is not None and not paths:
        params = load_weights(_WEIGHTS.value or "flame51")[0]
        model = _open_model(params)
        lifted = reconstruct_photographs(params, image, _FACE_MODEL.value)
    else:
        landmarks, warnings, left_out = read_all_landmarks(paths, image_size=_image_size())
        print(*warnings, sep="\n", end="\n" if warnings else "", file=sys.stderr)
        params = (faces_by_name.load_pretrained_for(landmarks) if _WEIGHTS.value is None
                  else load_weights(_WEIGHTS.value)[0])
        model = _open_model(params)
        if _FPS.value is None:
            lifted = reconstruct_faces(params, landmarks, image)
        else:
            if any(face.track is None for face in landmarks.values()):  # the order is the time
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
    if not paths or _FPS.value is not None:  # not every photograph or frame has a face
        return 0 if lifted.faces else 1
    return 1 if left_out else 0


def _check_flags(paths: Sequence[str]) -> str | None:
    """Raises ValueError for flags that do not go together; returns the picture's file, if any."""
    if _VIDEO.value is not None and (paths or _IMAGE.value is not None or _FPS.value is not None):
        raise ValueError("video: a film needs no landmark files, --image or --fps")
    if _FPS.value is not None and not (paths and 0 < _FPS.value < float("inf")):
        raise ValueError("fps: expected a number above 0, and landmark files, got "
                         f"{_FPS.value:g} and {len(paths)} files")
    if not _OUT.value or "" in _OUT.value:
        raise ValueError("out: expected one or more files, got none")
    for path in paths:
        if flag := _FLAG_OF.get(pathlib.Path(path).suffix.lower()):
            raise ValueError(f"{path}: expected landmark files here, {flag}")
    for out in _OUT.value:
        if not _is_film(out):
            check_format(out)
    picture = _PICTURE.value
    if picture is None and _IMAGE.value is not None:
        picture = str(pathlib.Path(_OUT.value[0]).with_suffix(".png"))
    if picture is not None:
        figures.check_format(picture)
    _check_mesh_flags()
    if _IMAGE_SIZE.value is not None:
        _parse_image_size(_IMAGE_SIZE.value)
    outputs = [("out", out) for out in _OUT.value]
    outputs += [(flag, file) for flag, file in (("picture", picture), ("mesh", _MESH.value))
                if file]
    program.check_outputs(outputs, _inputs(paths))
    if _VIDEO.value is not None:
        for _, out in outputs:  # a long film is not read in vain
            program.check_writable("out", pathlib.Path(out).parent)
        return picture
    if any(map(_is_film, _OUT.value)):
        raise ValueError("out: films are written of films, give --video=FILM")
    if (paths or _IMAGE.value is None) and _FACE_MODEL.value:
        raise ValueError("face_model: it finds faces in photographs and films, give --image or "
                         "--video and no landmark files")
    if not paths and _IMAGE.value is None:
        raise ValueError("expected landmark files or folders of them, or --image=PHOTO, or "
                         "--video=FILM, got none; try: bin/reconstruct examples --image=examples")
    return picture


def _check_mesh_flags() -> None:
    if _MESH.value is None:
        if _DATA_DIR.value is not None or _MESH_IN_IMAGE.value:
            raise ValueError("data_dir, mesh_in_image: they are for dense faces, give --mesh=FILE")
        return
    meshes.check_format(pathlib.Path(_MESH.value))
    if _DATA_DIR.value is None:
        raise ValueError("mesh: needs the dense face of ICT-FaceKit, give its folder by --data_dir")
    if _FPS.value is not None or _VIDEO.value is not None:
        raise ValueError("mesh: expected faces, got the frames of a film, by --fps or --video")
    require("trimesh", extra="files")


def _open_model(params: Params) -> DenseModel | None:
    """The dense face for --mesh, if it is given."""
    if _MESH.value is None or _DATA_DIR.value is None:
        return None
    return reconstructed_meshes.open_model(pathlib.Path(_DATA_DIR.value), params.config.topology)


def _inputs(paths: Sequence[str]) -> list[str | os.PathLike]:
    """The files that are read."""
    photographs = []
    if _IMAGE.value is not None:
        with contextlib.suppress(ValueError):  # told where they are looked for
            photographs = list_photographs(_IMAGE.value)
    others = [file for file in (_VIDEO.value, _WEIGHTS.value) if file is not None]
    return [*list_all(paths)[0], *photographs, *others]


def _image_size() -> ImageSize | None:
    """The size of pictures: as given, or that of the photograph of each face."""
    if _IMAGE_SIZE.value is not None:
        return _parse_image_size(_IMAGE_SIZE.value)
    if _IMAGE.value is None:
        return None

    @functools.cache
    def size_of_file(file: pathlib.Path) -> tuple[int, int] | None:
        photographs, _ = named.read_photographs({"": file})
        return photographs[""].shape[1::-1] if photographs else None

    def size_of(name: str) -> tuple[int, int] | None:
        file = named.match_photographs(_IMAGE.value, [name])[0].get(name)
        return None if file is None else size_of_file(file)

    return size_of


def _parse_image_size(given: Sequence[str]) -> tuple[float, float]:
    try:
        width, height = map(float, given)
        if not (0 < width < float("inf") and 0 < height < float("inf")):
            raise ValueError
    except ValueError:
        raise ValueError("image_size: expected WIDTH,HEIGHT in pixels, got "
                         f"{','.join(given) or 'none'}") from None
    return width, height


def _write(lifted: Reconstructions, picture: str | None, model: DenseModel | None) -> list[str]:
    """Writes all; returns a line for each photograph that cannot be read for a dense face."""
    wrote, unread = list(_OUT.value), []
    for out in _OUT.value:
        if isinstance(lifted, FilmReconstructions) and _is_film(out):
            lifted.write_film(out)
        else:
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


def _is_film(out: str) -> bool:
    return pathlib.Path(out).suffix.lower() in films.SUFFIXES


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments, positional=True)
