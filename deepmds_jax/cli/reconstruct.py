"""Lifts landmark files, or the faces in photographs, to 3D.

  bin/reconstruct examples --image=examples
  bin/reconstruct face.pts --image=face.jpg --out=face.npz,face.obj
  bin/reconstruct landmarks/*.npy --weights=runs/ict_flame51 --out=faces.json
  bin/reconstruct --image=face.jpg --face_model=face_landmarker.task
  bin/reconstruct video.npy --fps=25 --picture=video.png

Takes .pts, .json, .csv, .npy, .npz and .mat files, or folders of them; writes .npz, .json, .csv,
.obj and .ply, and with --image or --picture a picture. A file that cannot be read is left out and
named at the end. Without landmark files MediaPipe finds the faces in the photographs, called
PHOTO#0, PHOTO#1, ... from left to right where there are several, and its own 3D is drawn and scored
beside ours. With --fps the faces are frames of one face in time, smoothed unless --nosmooth.
"""

import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from absl import flags

from deepmds_jax import faces_by_name, topologies
from deepmds_jax.cli import program
from deepmds_jax.data.formats.landmark_files import read_all_landmarks
from deepmds_jax.data.formats.shape_files import check_format, write_shapes
from deepmds_jax.data.photos import detection, named
from deepmds_jax.evaluation import agreement, figures, summaries, tables
from deepmds_jax.evaluation.sequence_figures import draw_sequence
from deepmds_jax.methods.contract import Params
from deepmds_jax.methods.saved import load_weights
from deepmds_jax.video import BOTH_WAYS

_FRAMES_DRAWN = 5  # of a video
_MAX_ROWS = 20  # of a table of frames, and of a picture

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
    "picture", None, "Picture, .png, .svg or .pdf; default with --image: the first --out as .png.",
    flag_values=_FLAGS,
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


def main(paths: list[str]) -> int:
    """Lifts the landmark files in `paths`, or the faces in photographs, as the flags say."""
    if _FPS.value is not None and not (paths and 0 < _FPS.value < float("inf")):
        raise ValueError("fps: expected a number above 0, and landmark files, got "
                         f"{_FPS.value:g} and {len(paths)} files")
    for out in _OUT.value:
        check_format(out)
    picture = _PICTURE.value
    if picture is None and _IMAGE.value is not None:
        picture = str(pathlib.Path(_OUT.value[0]).with_suffix(".png"))
    if picture is not None:
        figures.check_format(picture)
    if _IMAGE.value is not None and not paths:
        return _lift_photographs(_IMAGE.value, picture)
    if _FACE_MODEL.value or _FACE_MESH_PYTHON.value:
        raise ValueError("face_model, face_mesh_python: they find faces in photographs, give "
                         "--image and no landmark files")
    if not paths:
        raise ValueError("expected landmark files or folders of them, or --image=PHOTO, got none; "
                         "try: bin/reconstruct examples --image=examples")
    landmarks, left_out = read_all_landmarks(paths)
    params = (faces_by_name.load_pretrained_for(landmarks) if _WEIGHTS.value is None
              else load_weights(_WEIGHTS.value)[0])
    if _FPS.value is not None:
        return _lift_video(params, landmarks, left_out, _FPS.value, picture)
    landmarks, lines = faces_by_name.select_faces(
        landmarks, topologies.get(params.config.topology))
    drawn = list(landmarks)[:_MAX_ROWS] if picture is not None else []
    photographs = _photographs(drawn, left_out := left_out + lines)
    faces = _lift(params, landmarks, left_out)
    if faces:
        shown = {name: faces[name] for name in drawn if name in faces}
        _write(params, faces, shown, photographs, picture)
    _name(left_out)
    return 1 if left_out else 0


def _lift_photographs(image: str, picture: str | None) -> int:
    """Finds the faces, lifts them, and shows MediaPipe's own 3D beside ours."""
    params = load_weights(_WEIGHTS.value or "flame51")[0]
    topology = topologies.get(params.config.topology)
    meshes, files, left_out = named.find_named_faces(
        image, topology.name, _FACE_MODEL.value, _FACE_MESH_PYTHON.value)
    landmarks, lines = faces_by_name.select_faces(
        {name: mesh[:, :2] for name, mesh in meshes.items()}, topology)
    drawn = list(landmarks)[: _MAX_ROWS // 2]  # MediaPipe's own shape has a row, too
    photographs, more = named.read_photographs({name: files[name] for name in drawn})
    left_out += lines + more
    faces = _lift(params, landmarks, left_out)
    if faces:
        print("\nbeside MediaPipe's own 3D; neither is the truth, which a photograph does not "
              "tell:")
        print(tables.to_text(agreement.compare_shapes(faces, meshes, "MediaPipe", topology)))
        shown, photographs = agreement.add_aligned(
            {name: faces[name] for name in drawn if name in faces}, photographs, meshes,
            "MediaPipe")
        faces = {name: face | {"mediapipe": meshes[name]} for name, face in faces.items()}
        _write(params, faces, shown, photographs, picture)
    _name(left_out)
    return 0 if faces else 1  # not every photograph has a face


def _lift_video(params: Params, landmarks: dict[str, np.ndarray], left_out: list[str],
                frame_rate: float, picture: str | None) -> int:
    """Lifts frames of one face in time."""
    faces_by_name.refuse_gaps(left_out)
    frames = faces_by_name.lift_frames(
        params, landmarks, frame_rate, BOTH_WAYS if _SMOOTH.value else None)
    found = [name for name, frame in frames.items() if frame["converged"]]
    listed = summaries.spread_evenly(list(frames), _MAX_ROWS)
    print(tables.to_text([summaries.summarize_frame(name, frames[name]) for name in listed]))
    if len(listed) < len(frames):
        print(f"{len(listed)} of {len(frames)} frames, spread over time")
    topology = topologies.get(params.config.topology)
    for out in _OUT.value:
        write_shapes(out, frames, topology)
    if picture is not None:
        shown = summaries.spread_evenly(found, _FRAMES_DRAWN)
        photographs = _photographs(shown, left_out)
        drawn = {name: frame | {"frontal": frame["points"][:, :2]}
                 for name, frame in frames.items()}
        figures.save_figure(draw_sequence(drawn, shown, topology, photographs), picture)
    written = [*_OUT.value, *([picture] if picture is not None else [])]
    print(f"{len(frames)} frames of one face, {len(frames) - len(found)} without a face, weights "
          f"{topology.name}; wrote", *written)
    _name(left_out)
    return 0


def _lift(params: Params, landmarks: dict[str, np.ndarray],
          left_out: list[str]) -> dict[str, faces_by_name.Arrays]:
    """Lifts and lists faces; adds a line for each that is left out."""
    faces, lines = faces_by_name.lift_faces(params, landmarks) if landmarks else ({}, [])
    left_out += lines
    for name in faces_by_name.suspicious_names(faces):
        print(f"{name}: these are not the landmarks of a face seen from the front; mirrored, or in "
              "another order?", file=sys.stderr)
    if faces:
        print(tables.to_text(
            [summaries.summarize_face(name, face) for name, face in faces.items()]))
    return faces


def _photographs(names: Sequence[str], left_out: list[str]) -> dict[str, np.ndarray]:
    """The photographs of faces, with a warning for those that have none."""
    files, without = named.match_photographs(_IMAGE.value, names)
    if without:
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        print(f"warning: image: none of the photographs in {_IMAGE.value} is named like "
              f"{', '.join(without[:3])}{more}; drawn without", file=sys.stderr)
    photographs, lines = named.read_photographs(files)
    left_out += lines
    return photographs


def _write(params, faces, shown, photographs, picture) -> None:
    """Writes shapes, and draws those that are shown."""
    topology = topologies.get(params.config.topology)
    for out in _OUT.value:
        write_shapes(out, faces, topology)
    if picture is not None:
        num_shown = sum(name in faces for name in shown)
        if num_shown < len(faces):
            print(f"the picture shows {num_shown} of {len(faces)} faces")
        figures.save_figure(figures.draw_reconstructions(shown, topology, photographs), picture)
    written = [*_OUT.value, *([picture] if picture is not None else [])]
    print(f"{len(faces)} faces, weights {topology.name}; wrote", *written)


def _name(left_out: Sequence[str]) -> None:
    if left_out:
        print("left out:", *left_out, sep="\n  ", file=sys.stderr)


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments, positional=True)
