"""The faces of a film: found, followed, lifted, listed and drawn onto the film."""

import dataclasses
import functools
import os
from collections.abc import Mapping

import numpy as np
import tqdm

from deepmds_jax import faces_by_name, topologies
from deepmds_jax.data.formats.faces import make_face
from deepmds_jax.data.photos.detection import Detector, check_topology
from deepmds_jax.data.photos.films import Film, read_frames, write_film
from deepmds_jax.data.photos.tracks import Track, find_tracks
from deepmds_jax.evaluation import summaries, tables
from deepmds_jax.evaluation.film_pictures import annotate
from deepmds_jax.evaluation.reconstructions import Reconstructions
from deepmds_jax.evaluation.sequence_figures import draw_sequence
from deepmds_jax.faces_by_name import Arrays
from deepmds_jax.methods.contract import Params
from deepmds_jax.topologies import Topology
from deepmds_jax.video import Smoothing

_FRAMES_DRAWN = 5
_MAX_ROWS = 20  # of the table
_SHORTEST = 32  # frames; tracks are lifted in lengths of this times a power of two


@dataclasses.dataclass(frozen=True)
class FilmReconstructions(Reconstructions):
    """The faces of a film; `faces` has an entry for each frame of each person.

    Attributes:
      film: where it is from.
      people: person -> number of the film's frame -> its arrays, those of `faces`.
    """

    film: Film
    people: Mapping[str, Mapping[int, Arrays]]

    def write_film(self, path: str | os.PathLike) -> None:
        """Writes the film with what was found drawn on and beside it, see `annotate`.

        Raises:
          ValueError: the film cannot be read again, or `path` has an ending that cannot be written.
        """
        progress = tqdm.tqdm(read_frames(self.film), desc=str(path), unit="frame", delay=2,
                             total=self.film.num_frames or None)
        with write_film(path, self.film.frame_rate) as add:
            for number, (seconds, pixels) in enumerate(progress):
                there = {name: frames.get(number) for name, frames in self.people.items()}
                add(annotate(pixels, there, seconds, self.topology))


def reconstruct_film(
    params: Params, film: Film, detector: Detector, smoothing: Smoothing | None
) -> FilmReconstructions:
    """Finds the faces of a film, follows each over time and lifts it.

    A person is called like the film, or FILM#0, FILM#1, ... where there are several, in the order
    in which they appear, from left to right; a frame of a person is PERSON@NUMBER, with the number
    of the film's frame from 0. Besides what `faces_by_name.lift_frames` gives, each has its `frame`
    and `person`, numbers from 0. From a person's first frame to the last none is missing; where the
    detector has lost the face, `converged` is false, `x2d` is 0, and shape and pose are filled in.

    Pictures are read one by one and never kept; for each face and frame some 6 kB are.

    Args:
      params: the weights.
      film: see `films.open_film`.
      detector: see `detection.open_detector`.
      smoothing: see `video.reconstruct_sequence`.

    Raises:
      ValueError: the film cannot be read, it shows no face, or detectors do not find the landmarks
        of these weights.
      ImportError: a package is missing.
    """
    topology = topologies.get(params.config.topology)
    check_topology(topology.name)
    tracks, seconds, left_out = find_tracks(film, detector, topology.name)
    if not tracks:
        raise ValueError(f"video: {film.path}: no face in {len(seconds)} frames")
    people: dict[str, dict[int, Arrays]] = {}
    for i, track in enumerate(tracks):
        person = film.path.stem + (f"#{i}" if len(tracks) > 1 else "")
        lifted = _lift(params, track, film.frame_rate, smoothing)
        if not lifted:
            left_out.append(f"{person}: no frame shows a face from the front")
            continue
        people[person] = {
            frame: arrays | {"seconds": seconds[frame], "frame": np.int64(frame),
                             "person": np.int64(i)}
            for frame, arrays in lifted.items()
        }
    named = {person: {f"{person}@{frame}": arrays for frame, arrays in frames.items()}
             for person, frames in people.items()}
    faces = {name: arrays for frames in named.values() for name, arrays in frames.items()}
    lost = sum(not arrays["converged"] for arrays in faces.values())
    return FilmReconstructions(
        faces=faces,
        topology=topology,
        listing=_list(named),
        summary=f"{len(seconds)} frames at {film.frame_rate:.4g} per second; faces followed: "
                f"{len(people)}, over {len(faces)} frames in all, lost in {lost} of them; weights "
                f"{topology.name}",
        draw=functools.partial(_draw, film, people, topology),
        picture_note=("the picture shows the face that is there longest" if len(people) > 1
                      else ""),
        warnings=[detector.note] * bool(detector.note),
        left_out=left_out,
        film=film,
        people=people,
    )


def _lift(
    params: Params, track: Track, frame_rate: float, smoothing: Smoothing | None
) -> dict[int, Arrays]:
    """Arrays by frame of the film; empty if none shows a face from the front."""
    x2d = track.filled()
    # Frames without a face at the end change nothing, and few lengths need few compilations.
    length = _SHORTEST
    while length < len(x2d):
        length *= 2
    padded = np.pad(x2d, ((0, length - len(x2d)), (0, 0), (0, 0)))
    try:
        lifted = faces_by_name.lift_frames(
            params, {str(i): make_face(points) for i, points in enumerate(padded)}, frame_rate,
            smoothing)
    except ValueError:  # no frame has converged
        return {}
    return {track.frames[0] + i: lifted[str(i)] for i in range(len(x2d))}


def _list(named: Mapping[str, Mapping[str, Arrays]]) -> str:
    """A table of some frames of each person, spread over time."""
    each = max(2, _MAX_ROWS // max(len(named), 1))
    rows = [summaries.summarize_frame(name, frames[name]) for frames in named.values()
            for name in summaries.spread_evenly(list(frames), each)]
    total = sum(map(len, named.values()))
    more = f"\n{len(rows)} of {total}, spread over time" if len(rows) < total else ""
    return tables.to_text(rows) + more if rows else ""


def _draw(film: Film, people: Mapping[str, Mapping[int, Arrays]], topology: Topology):
    """The curves and some frames of the person who is there longest."""
    person = max(people, key=lambda name: len(people[name]))
    frames = {f"{person}@{number}": arrays for number, arrays in people[person].items()}
    shown = summaries.spread_evenly(
        [name for name, arrays in frames.items() if arrays["converged"]], _FRAMES_DRAWN)
    wanted = {int(frames[name]["frame"]): name for name in shown}
    images = {wanted[number]: frame.pixels for number, frame in enumerate(read_frames(film))
              if number in wanted}
    return [draw_sequence(frames, shown, topology, images)]
