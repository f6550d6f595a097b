"""Faces of a film followed from frame to frame, by how far their boxes overlap."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tqdm

from deepmds_jax.data.photos.detection import Detector
from deepmds_jax.data.photos.films import Film, read_frames

_MARGIN = 0.25  # of the width and height of the landmarks' box, on each side
_MIN_OVERLAP = 0.2  # intersection over union of boxes of one face in consecutive frames
_PATIENCE = 1.0  # seconds that a face may be lost
_SHORTEST = 0.2  # seconds; what is seen for less is no face that people would miss


@dataclasses.dataclass
class Track:
    """One face over time.

    Attributes:
      frames: numbers of the film's frames that show it, from 0, ascending.
      x2d: its (N, 2) landmarks in each of them, x right and y down, in pixels.
    """

    frames: list[int]
    x2d: list[np.ndarray]

    def filled(self) -> np.ndarray:
        """(T, N, 2) of all frames from the first to the last; all 0 where the face is lost."""
        whole = np.zeros((self.frames[-1] - self.frames[0] + 1, *self.x2d[0].shape))
        whole[np.array(self.frames) - self.frames[0]] = self.x2d
        return whole


class Tracker:
    """Gives each face of a frame to the track whose last box it overlaps most, or to a new one.

    Args:
      patience: frames that a face may be lost; after that its track is over.

    Attributes:
      tracks: those so far, in the order of their first frame, and from left to right there.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.tracks: list[Track] = []

    def add(self, frame: int, faces: Sequence[np.ndarray]) -> None:
        """Takes the (N, 2) faces of the next frame, from left to right."""
        alive = [track for track in self.tracks if frame - track.frames[-1] <= self.patience + 1]
        overlap = _overlaps([track.x2d[-1] for track in alive], faces)
        found: dict[int, Track] = {}
        while overlap.size and overlap.max() >= _MIN_OVERLAP:
            i, j = np.unravel_index(overlap.argmax(), overlap.shape)
            found[int(j)] = alive[i]
            overlap[i], overlap[:, j] = -1, -1
        for j, face in enumerate(faces):
            if j not in found:
                found[j] = Track([], [])
                self.tracks.append(found[j])
            found[j].frames.append(frame)
            found[j].x2d.append(face)


def find_tracks(
    film: Film, detector: Detector, topology: str
) -> tuple[list[Track], np.ndarray, list[str]]:
    """Finds the faces of a film and follows them.

    A face that is lost for more than a second, or that jumps so far from one frame to the next that
    its boxes hardly overlap, goes on as another track. Whose face it is nobody asks: after a cut
    another person's in the same place goes on in the same track.

    Args:
      film: read once, frame by frame.
      detector: see `detection.open_detector`.
      topology: "flame51" or "ibug68".

    Returns:
      The tracks, as `Tracker` orders them, of faces seen for 0.2 s or more; if there are none,
      those there are. The (F,) times of the film's frames, in seconds. And a line for each track
      that is left out and for what could not be read.

    Raises:
      ValueError: the film cannot be read.
    """
    tracker, seconds, failed = Tracker(_PATIENCE * film.frame_rate), [], 0
    frames = tqdm.tqdm(read_frames(film), desc=f"{detector.name} on {film.path.name}",
                       total=film.num_frames or None, unit="frame", delay=2)
    for number, (time, pixels) in enumerate(frames):
        seconds.append(time)
        try:
            faces = detector.detect(pixels)
        except ValueError:
            failed += 1
            continue
        tracker.add(number, [detector.landmarks(face, topology)[:, :2] for face in faces])
    told = [f"{film.path}: {film.damage}"] * bool(film.damage)
    told += [f"{film.path}: {detector.name} failed in {failed} frames"] * bool(failed)
    long = [track for track in tracker.tracks
            if len(track.frames) >= _SHORTEST * film.frame_rate]
    for track in tracker.tracks:
        if long and not any(track is other for other in long):
            told.append(f"{film.path}: a face seen in {len(track.frames)} frames only, at "
                        f"{seconds[track.frames[0]]:.2f} s")
    return long or tracker.tracks, np.array(seconds), told


def _overlaps(old: Sequence[np.ndarray], new: Sequence[np.ndarray]) -> np.ndarray:
    """(A, B) intersection over union of the boxes around faces, in [0, 1]."""
    if not len(old) or not len(new):
        return np.empty((0, 0))
    a, b = _boxes(old)[:, None], _boxes(new)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    areas = [np.prod(box[..., 2:] - box[..., :2], axis=-1) for box in (a, b)]
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)


def _boxes(faces: Sequence[np.ndarray]) -> np.ndarray:
    """(F, 4) left, top, right and bottom, with a margin: a head is larger than its landmarks."""
    low, high = (getattr(np.array(faces), end)(axis=1) for end in ("min", "max"))
    margin = _MARGIN * (high - low)
    return np.concatenate([low - margin, high + margin], axis=1)
