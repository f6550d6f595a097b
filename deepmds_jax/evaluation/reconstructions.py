"""Named faces from landmark files, photographs and videos: lifted, listed and drawn."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepmds_jax import faces_by_name, topologies
from deepmds_jax.data.photos import named
from deepmds_jax.evaluation import agreement, figures, summaries, tables
from deepmds_jax.evaluation.sequence_figures import draw_sequence
from deepmds_jax.faces_by_name import Arrays
from deepmds_jax.methods.contract import Params
from deepmds_jax.topologies import Topology
from deepmds_jax.video import Smoothing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FRAMES_DRAWN = 5  # of a video
_MAX_ROWS = 20  # of a table of frames
_MAX_DRAWN = 30  # rows of a picture, on all its pages: their photographs are in memory together


@dataclasses.dataclass(frozen=True)
class Reconstructions:
    """Lifted faces, or the lifted frames of a video, and what there is to show of them.

    Attributes:
      faces: face or frame name -> its arrays, as `shape_files.write_shapes` takes them; may be
        empty.
      topology: of their landmarks.
      listing: a table of pose, uncertainty and the solver's report, as text.
      summary: how many there are, in words.
      draw: makes the pages of a picture of them, with photographs where there are some. Raises
        ImportError if matplotlib is not installed, ValueError if there are no faces.
      picture_note: what the picture leaves out, in words; empty if nothing.
      warnings: a line for each face that looks wrong or is drawn without a photograph.
      left_out: a line for each face or photograph that could not be used.
    """

    faces: Mapping[str, Arrays]
    topology: Topology
    listing: str
    summary: str
    draw: Callable[[], Sequence["Figure"]]
    picture_note: str
    warnings: Sequence[str]
    left_out: Sequence[str]


def reconstruct_faces(
    params: Params, landmarks: Mapping[str, np.ndarray], image: str | os.PathLike | None
) -> Reconstructions:
    """Lifts landmarks of faces.

    Args:
      params: the weights.
      landmarks: face name -> (N, 2) image points, x right and y down, in pixels. Faces that have
        another number of landmarks, or all of them in one place, are left out.
      image: the photograph or folder of photographs to draw, see `named.match_photographs`.

    Raises:
      ValueError: no photographs are there.
    """
    topology = topologies.get(params.config.topology)
    landmarks, left_out = faces_by_name.select_faces(landmarks, topology)
    drawn = list(landmarks)[:_MAX_DRAWN]
    photographs, warnings, unread = _read_photographs(image, drawn)
    faces, suspicious, not_finite = _lift(params, landmarks)
    shown = {name: faces[name] for name in drawn if name in faces}
    return _collect(faces, topology, _list_faces(faces), shown, photographs,
                    warnings + suspicious, left_out + unread + not_finite)


def reconstruct_photographs(
    params: Params, image: str | os.PathLike, model: str | None, python: str | None
) -> Reconstructions:
    """Finds the faces in photographs by MediaPipe and lifts them.

    MediaPipe's own 3D shape, aligned to ours, is compared with it in the listing and has a row of
    its own in the picture; as `mediapipe` (N, 3) it is among the arrays of a face.

    Args:
      params: the weights.
      image: a photograph or a folder of them.
      model, python: one of the two ways to MediaPipe, see `detection.find_faces`.

    Raises:
      ValueError, ImportError: as `named.find_named_faces` does.
    """
    topology = topologies.get(params.config.topology)
    meshes, files, left_out = named.find_named_faces(image, topology.name, model, python)
    landmarks, lines = faces_by_name.select_faces(
        {name: mesh[:, :2] for name, mesh in meshes.items()}, topology)
    drawn = list(landmarks)[: _MAX_DRAWN // 2]  # MediaPipe's own shape has a row, too
    photographs, unread = named.read_photographs({name: files[name] for name in drawn})
    faces, warnings, not_finite = _lift(params, landmarks)
    left_out = left_out + lines + unread + not_finite
    if not faces:
        return _collect({}, topology, "", {}, {}, warnings, left_out)
    compared = agreement.compare_shapes(faces, meshes, "MediaPipe", topology)
    listing = (f"{_list_faces(faces)}\n\nbeside MediaPipe's own 3D; neither is the truth, which a "
               f"photograph does not tell:\n{tables.to_text(compared)}")
    shown, photographs = agreement.add_aligned(
        {name: faces[name] for name in drawn if name in faces}, photographs, meshes, "MediaPipe")
    faces = {name: face | {"mediapipe": meshes[name]} for name, face in faces.items()}
    return _collect(faces, topology, listing, shown, photographs, warnings, left_out)


def reconstruct_video(
    params: Params,
    landmarks: Mapping[str, np.ndarray],
    frame_rate: float,
    smoothing: Smoothing | None,
    image: str | os.PathLike | None,
) -> Reconstructions:
    """Lifts the frames of a video. The listing and the picture show some, spread over time.

    Args:
      params, landmarks, frame_rate, smoothing: see `faces_by_name.lift_frames`.
      image: as `reconstruct_faces` takes it; face names are those of frames.

    Raises:
      ValueError: as `faces_by_name.lift_frames` does, or no photographs are there.
    """
    topology = topologies.get(params.config.topology)
    frames = faces_by_name.lift_frames(params, landmarks, frame_rate, smoothing)
    found = [name for name, frame in frames.items() if frame["converged"]]
    shown = summaries.spread_evenly(found, _FRAMES_DRAWN)
    photographs, warnings, left_out = _read_photographs(image, shown)
    listed = summaries.spread_evenly(list(frames), _MAX_ROWS)
    listing = tables.to_text([summaries.summarize_frame(name, frames[name]) for name in listed])
    if len(listed) < len(frames):
        listing += f"\n{len(listed)} of {len(frames)} frames, spread over time"
    return Reconstructions(
        faces=frames,
        topology=topology,
        listing=listing,
        summary=f"{len(frames)} frames of one face, {len(frames) - len(found)} without a face, "
                f"weights {topology.name}",
        draw=lambda: [draw_sequence(frames, shown, topology, photographs)],
        picture_note="",
        warnings=warnings,
        left_out=left_out,
    )


def _lift(
    params: Params, landmarks: Mapping[str, np.ndarray]
) -> tuple[dict[str, Arrays], list[str], list[str]]:
    """Lifted faces, warnings, and a line for each face that is left out."""
    faces, left_out = faces_by_name.lift_faces(params, landmarks) if landmarks else ({}, [])
    warnings = [f"{name}: these are not the landmarks of a face seen from the front; mirrored, or "
                "in another order?" for name in faces_by_name.suspicious_names(faces)]
    return faces, warnings, left_out


def _list_faces(faces: Mapping[str, Arrays]) -> str:
    return tables.to_text(
        [summaries.summarize_face(name, face) for name, face in faces.items()]) if faces else ""


def _read_photographs(
    image: str | os.PathLike | None, names: Sequence[str]
) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Photographs of faces, a warning if some have none, and lines for those it cannot read."""
    files, without = named.match_photographs(image, names)
    warnings = []
    if without:
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        warnings.append(f"warning: image: none of the photographs in {image} is named like "
                        f"{', '.join(without[:3])}{more}; drawn without")
    photographs, left_out = named.read_photographs(files)
    return photographs, warnings, left_out


def _collect(
    faces: Mapping[str, Arrays],
    topology: Topology,
    listing: str,
    shown: Mapping[str, Mapping[str, np.ndarray]],
    photographs: Mapping[str, np.ndarray],
    warnings: Sequence[str],
    left_out: Sequence[str],
) -> Reconstructions:
    num_shown = sum(name in faces for name in shown)
    # Where a whole shape is proposed, its front view is none that a network made by itself.
    shown = {name: {key: array for key, array in face.items()
                    if key != "frontal" or "proposal" not in face} for name, face in shown.items()}
    return Reconstructions(
        faces=faces,
        topology=topology,
        listing=listing,
        summary=f"{len(faces)} faces, weights {topology.name}",
        draw=functools.partial(figures.draw_pages, shown, topology, photographs),
        picture_note=(f"the picture shows {num_shown} of {len(faces)} faces"
                      if num_shown < len(faces) else ""),
        warnings=warnings,
        left_out=left_out,
    )
