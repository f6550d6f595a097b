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
  bin/reconstruct faces/*.parquet --out=lifted

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
Of Parquet files, or folders of them, each becomes a file of the same name in the folder --out,
block by block, on all cores and GPUs of this machine or, with --engine=ray, of a cluster; the same
command again goes on after an interruption (docs/many_faces.md).
"""

import pathlib
from collections.abc import Sequence

from deepmds_jax import faces_by_name
from deepmds_jax.cli import image_size, program, reconstruct_many
from deepmds_jax.cli import reconstruct_flags as given
from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.formats.landmark_files import read_all_landmarks
from deepmds_jax.data.formats.shape_files import write_shapes
from deepmds_jax.data.photos import films, named
from deepmds_jax.data.photos.detection import open_detector
from deepmds_jax.evaluation import figures, reconstructed_meshes
from deepmds_jax.evaluation.reconstructed_films import FilmReconstructions, reconstruct_film
from deepmds_jax.evaluation.reconstructions import (
    Reconstructions,
    reconstruct_faces,
    reconstruct_photographs,
    reconstruct_video,
)
from deepmds_jax.files import all_or_none
from deepmds_jax.methods.contract import Params
from deepmds_jax.methods.saved import load_weights
from deepmds_jax.video import BOTH_WAYS

_FLAGS = given.FLAGS


def main(paths: list[str]) -> int:
    """Lifts the landmark files in `paths`, or the faces in photographs, as the flags say."""
    if reconstruct_many.are_parquet(paths):
        return reconstruct_many.main(paths)
    picture, image = given.check(paths), given.IMAGE.value
    smoothing = BOTH_WAYS if given.SMOOTH.value else None
    left_out: list[str] = []
    model = None
    if given.VIDEO.value is not None:
        params = load_weights(given.WEIGHTS.value or "flame51")[0]
        film = films.open_film(given.VIDEO.value)
        with open_detector(given.FACE_MODEL.value) as detector:
            lifted = reconstruct_film(params, film, detector, smoothing)
    elif image is not None and not paths:
        params = load_weights(given.WEIGHTS.value or "flame51")[0]
        model = _open_model(params)
        lifted = reconstruct_photographs(params, image, given.FACE_MODEL.value)
    else:
        size = image_size.read(given.IMAGE_SIZE) or named.sizes_of_photographs(image)
        landmarks, warnings, left_out = read_all_landmarks(paths, image_size=size)
        program.warn(*warnings)
        if given.WEIGHTS.value is None:
            params = faces_by_name.load_pretrained_for(landmarks)
            program.warn(*faces_by_name.losing_landmarks(landmarks))
        else:
            params = load_weights(given.WEIGHTS.value)[0]
        model = _open_model(params)
        if given.FPS.value is None:
            lifted = reconstruct_faces(params, landmarks, image)
        else:
            if not landmarks or any(  # without a track, the order is the time
                    face.track is None for face in landmarks.values()):
                faces_by_name.refuse_gaps(left_out)
            program.warn(*faces_by_name.jumps(landmarks))
            lifted = reconstruct_video(params, landmarks, given.FPS.value, smoothing, image)
    program.warn(*lifted.warnings)
    if lifted.faces:
        program.tell(lifted.listing)
        with all_or_none():
            wrote, unread = _write(lifted, picture, model)
        weights = given.WEIGHTS.value
        whose = "" if weights in (None, lifted.topology.name) else f" of {weights}"
        program.tell(f"{lifted.summary}{whose}; wrote {' '.join(wrote)}")
        left_out += [line for line in unread if line not in lifted.left_out]
    left_out += lifted.left_out
    program.list_left_out(left_out)
    if not paths or given.FPS.value is not None:  # not every photograph or frame has a face
        return 0 if lifted.faces else 1
    return 1 if left_out else 0


def _open_model(params: Params) -> DenseModel | None:
    """The dense face for --mesh, if it is given."""
    if given.MESH.value is None or given.DATA_DIR.value is None:
        return None
    folder = pathlib.Path(given.DATA_DIR.value)
    return reconstructed_meshes.open_model(folder, params.config.topology)


def _write(
    lifted: Reconstructions, picture: str | None, model: DenseModel | None
) -> tuple[list[str], list[str]]:
    """Writes all; returns the files, and a line for each photograph that no dense face can have."""
    wrote, unread = list(given.OUT.value), []
    for out in given.OUT.value:
        if isinstance(lifted, FilmReconstructions) and films.is_film(out):
            lifted.write_film(out)
        else:
            write_shapes(out, lifted.faces, lifted.topology)
    if picture is not None:
        if lifted.picture_note:
            program.tell(lifted.picture_note)
        wrote += map(str, figures.save_pages(lifted.draw(), picture))
    if model is not None and given.MESH.value is not None:
        photographs, _ = named.match_photographs(given.IMAGE.value, list(lifted.faces))
        files, unread = reconstructed_meshes.write_meshes(
            pathlib.Path(given.MESH.value), lifted.faces, model, photographs,
            in_image=given.MESH_IN_IMAGE.value)
        wrote += map(str, files)
    return wrote, unread


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments, positional=True)
