"""Named faces from landmark files, photographs and videos: lifted, listed and drawn."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepmds_jax import faces_by_name, suspicions, topologies
from deepmds_jax.data.formats.faces import Face, make_face, some_of
from deepmds_jax.data.photos import named
from deepmds_jax.data.photos.detection import check_topology, open_detector
from deepmds_jax.evaluation import agreement, figures, summaries, tables
from deepmds_jax.evaluation.sequence_figures import draw_sequence
from deepmds_jax.faces_by_name import Arrays
from deepmds_jax.lifting import lifting_method
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
    params: Params, landmarks: Mapping[str, Face], image: str | os.PathLike | None
) -> Reconstructions:
    """Lifts landmarks of faces.

    Args:
      params: the weights.
      landmarks: face name -> landmarks. Faces that have others than the weights, all of them in one
        place or too few that are visible are left out.
      image: the photograph or folder of photographs to draw, see `named.match_photographs`.

    Raises:
      ValueError: no photographs are there.
    """
    topology = topologies.get(params.config.topology)
    landmarks, left_out = faces_by_name.select_faces(landmarks, topology, lifting_method(params))
    drawn = list(landmarks)[:_MAX_DRAWN]
    photographs, warnings, unread = _read_photographs(image, drawn)
    faces, suspicious, not_finite = _lift(params, landmarks)
    shown = {name: _to_draw(faces[name]) for name in drawn if name in faces}
    return _collect(faces, topology, _list(summaries.summarize_face, faces), shown, photographs,
                    warnings + suspicious, left_out + unread + not_finite)


def reconstruct_photographs(
    params: Params, image: str | os.PathLike, model: str | os.PathLike | None
) -> Reconstructions:
    """Finds the faces in photographs and lifts them.

    MediaPipe's own 3D shape, aligned to ours, is compared with it in the listing and has a row of
    its own in the picture; as `mediapipe` (N, 3) it is among the arrays of a face. dlib has none.

    Args:
      params: the weights.
      image: a photograph or a folder of them.
      model: of the detector, see `detection.open_detector`.

    Raises:
      ValueError: no photographs are there, detectors do not find the landmarks of these weights,
        and as `open_detector` does.
      ImportError: a package is missing.
    """
    topology = topologies.get(params.config.topology)
    check_topology(topology.name)
    photographs = named.list_files(image)
    with open_detector(model) as detector:
        found, files, left_out = named.find_named_faces(photographs, topology.name, detector)
    landmarks, lines = faces_by_name.select_faces(
        {name: make_face(face[:, :2]) for name, face in found.items()}, topology,
        lifting_method(params))
    shapes = {name: face for name, face in found.items() if face.shape[1] == 3}
    drawn = list(landmarks)[: _MAX_DRAWN // 2 if shapes else _MAX_DRAWN]  # a row for its own, too
    images, unread = named.read_photographs({name: files[name] for name in drawn})
    faces, warnings, not_finite = _lift(params, landmarks)
    warnings = [detector.note] * bool(detector.note) + warnings
    left_out = left_out + lines + unread + not_finite
    shown = {name: faces[name] for name in drawn if name in faces}
    listing = _list(summaries.summarize_face, faces)
    if faces and shapes:
        compared = agreement.compare_shapes(faces, shapes, detector.name, topology)
        listing += (f"\n\nbeside {detector.name}'s own 3D; neither is the truth, which a "
                    f"photograph does not tell:\n{tables.to_text(compared)}")
        shown, images = agreement.add_aligned(shown, images, shapes, detector.name)
        faces = {name: face | {"mediapipe": shapes[name]} for name, face in faces.items()}
    return _collect(faces, topology, listing, shown, images, warnings, left_out)


def reconstruct_video(
    params: Params,
    landmarks: Mapping[str, Face],
    frame_rate: float,
    smoothing: Smoothing | None,
    image: str | os.PathLike | None,
) -> Reconstructions:
    """Lifts the frames of a video, each track by itself.

    The listing and the picture show some frames, spread over time; the picture those of one track.

    Args:
      params: the weights.
      landmarks: frame name -> landmarks, of one face or of several told apart by their `track`.
      frame_rate, smoothing: see `faces_by_name.lift_frames`.
      image: as `reconstruct_faces` takes it; face names are those of frames.

    Raises:
      ValueError: as `faces_by_name.lift_frames` does of the only track, with what its landmarks
        look like instead, or no photographs are there.
    """
    topology = topologies.get(params.config.topology)
    tracks, left_out, suspicious = {}, [], []
    given = faces_by_name.split_tracks(landmarks)
    for track, faces in given.items():
        try:
            tracks[track] = faces_by_name.lift_frames(params, faces, frame_rate, smoothing)
            suspicious += _look(params, {name: faces[name] for name, frame in tracks[track].items()
                                         if not frame["converged"]})
        except ValueError as error:
            looks = _look(params, faces) if isinstance(error, faces_by_name.NoFaceError) else []
            told = "; ".join([str(error), *looks])
            if len(given) == 1:
                raise ValueError(told) from None
            left_out.append(f"{track or 'frames without times'}: {told}")
    if not tracks:
        raise ValueError("; ".join(left_out[:3]))
    frames = {name: frame for track in tracks.values() for name, frame in track.items()}
    drawn = {name: _to_draw(frame) for name, frame in next(iter(tracks.values())).items()}
    found = [name for name, frame in drawn.items() if frame["converged"]]
    shown = summaries.spread_evenly(found, _FRAMES_DRAWN)
    photographs, warnings, unread = _read_photographs(image, shown)
    listed = summaries.spread_evenly(list(frames), _MAX_ROWS)
    listing = _list(summaries.summarize_frame, {name: frames[name] for name in listed})
    if len(listed) < len(frames):
        listing += f"\n{len(listed)} of {len(frames)} frames, spread over time"
    without = sum(not frame["converged"] for frame in frames.values())
    who = "one face" if len(tracks) == 1 else f"{len(tracks)} faces, each smoothed by itself"
    return Reconstructions(
        faces=frames,
        topology=topology,
        listing=listing,
        summary=f"{len(frames)} frames of {who}, {without} without a face, weights {topology.name}",
        draw=lambda: [draw_sequence(drawn, shown, topology, photographs)],
        picture_note=(f"the picture shows {next(iter(tracks))}, one of {len(tracks)} faces"
                      if len(tracks) > 1 else ""),
        warnings=warnings + suspicious,
        left_out=left_out + unread,
    )


def _look(params: Params, frames: Mapping[str, Face]) -> list[str]:
    """What frames that count as without a face look like: a line on the first with landmarks."""
    fitting, _ = faces_by_name.select_faces(
        frames, topologies.get(params.config.topology), lifting_method(params))
    _, lines, _ = _lift(params, dict(list(fitting.items())[:1]))
    if lines and len(fitting) > 1:
        lines[0] += f" (the first of {len(fitting)} such frames)"
    return lines


def _to_draw(face: Arrays) -> Arrays:
    """The arrays of a face with hidden landmarks where its shape lies in the image."""
    return face | {"x2d": np.where(face["visible"][:, None], face["x2d"],
                                   face["image_points"][:, :2])}


def _lift(
    params: Params, landmarks: Mapping[str, Face]
) -> tuple[dict[str, Arrays], list[str], list[str]]:
    """Lifted faces, warnings, and a line for each face that is left out."""
    faces, left_out = faces_by_name.lift_faces(params, landmarks) if landmarks else ({}, [])
    warnings = [f"{name}: {text}" for name, text in suspicions.describe(params, faces).items()]
    return faces, warnings, left_out


def _list(summarize: Callable[[str, Arrays], tables.Row], faces: Mapping[str, Arrays]) -> str:
    """A table of faces or frames, with how many landmarks are hidden where some are."""
    if not faces:
        return ""
    rows = [summarize(name, face) for name, face in faces.items()]
    if not all(face["visible"].all() for face in faces.values()):
        rows = [{**row, "hidden": int((~face["visible"]).sum())}
                for row, face in zip(rows, faces.values(), strict=True)]
    return tables.to_text(rows)


def _read_photographs(
    image: str | os.PathLike | None, names: Sequence[str]
) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Photographs of faces, a warning if some have none, and lines for those it cannot read."""
    files, without = named.match_photographs(image, names)
    warnings = []
    if without:
        warnings.append(f"warning: image: none of the photographs in {image} is named like "
                        f"{some_of(without)}; drawn without")
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
        summary=f"{len(faces)} face{'s' * (len(faces) != 1)}, weights {topology.name}",
        draw=functools.partial(figures.draw_pages, shown, topology, photographs),
        picture_note=(f"the picture shows {num_shown} of {len(faces)} faces"
                      if num_shown < len(faces) else ""),
        warnings=warnings,
        left_out=left_out,
    )
