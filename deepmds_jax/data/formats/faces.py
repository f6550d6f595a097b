"""What a landmark file says of its faces, whatever its format, and the rules all formats share."""

import collections
import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.photos.mesh_landmarks import NUM_POINTS as MESH_POINTS

# Below it a landmark counts as hidden, and a face as not found. Trackers that fail report less
# than 0.1, and MMPose draws landmarks from 0.3 on (its `kpt_thr`).
MIN_CONFIDENCE = 0.3
# COCO counts 0, 1 and 2; what is more, such as percents, would make every landmark a seen one.
MAX_CONFIDENCE = 2
# Detectors score whole faces by other units, too, some good ones by 2 or 3.
_MAX_SCORE = 10

# A face that is given in parts of its picture's width and height may lie across the edge.
_PARTS = (-0.5, 1.5)

# What says of a landmark whether it was seen, by `make_face`'s names for it, in files of any kind.
# Not `presence`, which MediaPipe leaves at 0, nor `p`, which OpenFace has for the parameters of its
# model, nor `mask`, which shows landmarks in some programs and hides them in others.
SEEN = {
    "visible": ("visible", "visibility", "is_visible", "vis", "valid", "v"),
    "occluded": ("occluded", "occlusion", "is_occluded", "occ", "hidden", "missing"),
    "confidence": ("confidence", "confidences", "conf", "score", "scores", "keypoint_scores",
                   "likelihood", "probability", "prob", "c"),
}
# What says of a face which one it is, by `Face`'s names, and whether there is one.
OF_FACES = {
    "track": ("face_id", "track", "track_id"),
    "frame": ("frame", "frame_id", "frame_number"),
    "seconds": ("timestamp", "seconds", "time"),
    "success": ("success",),
}

# Of those, what may as well be something else in arrays and objects: it counts there where it has a
# value for each landmark, or of a time for each face.
MAY_BE_OTHERS = {"is_visible", "vis", "v", "occ", "hidden", "missing", "c", "frame_number", "time"}

# What says which landmark a row or a point is.
LANDMARK_NUMBER = ("landmark", "landmark_id", "landmark_index", "lm_id", "point", "point_id",
                   "point_index", "pt", "keypoint", "keypoint_id", "keypoint_index", "index")
# Numbers of landmarks, as 7, 7.0, p7, lm 7, pt-7, #7 or [7]; not -7.
_NUMBERED = re.compile(r"(|\D*[^\W\d][\W_]{,3}|[#(\[])(\d{1,4})(?:[.,]0*)?[)\]]?")

_NO_NUMBER = {"", "-", "na", "n/a", "nan", "none", "null", "#n/a", "#na"}

# What stands behind # where a spreadsheet has an error, as in #N/A, #REF! and #DIV/0!, also in
# German and French, or where a column was too narrow for its number.
_ERROR = re.compile(r"#(N/[A-Z]|NA|NV|[^\W\d_]+(/0)?[!?]|##+(?=[\s,;]+[-+.\d]))(?![^\s,;])",
                    re.IGNORECASE)

_SEPARATOR = re.compile(r"sep=([;,\t])\s*?(\n|\r)", re.IGNORECASE)
_QUOTED = re.compile(r'"(?<![^\t;, \r\n]")(?:[^"]|"")*"')


@dataclasses.dataclass(frozen=True)
class Face:
    """One face, as a file describes it.

    Attributes:
      points: (N, 2) float64, x right and y down, usually in pixels. NaN where the file has none.
      visible: (N,) bool, whether each landmark was seen; the points of others may hold anything.
        None is in a frame without a face.
      confidence: of the face, or (N,) of each landmark, from 0 to 1; None if the file has none.
        What is below `MIN_CONFIDENCE` is not `visible`.
      depth: (N,) third coordinate where the file has one, x's unit, away from the viewer. Only
        MediaPipe's is used, to spread the jaw line.
      seconds: time in a video, if the file has one.
      frame: number in a video, 0 in the first frame of the file, if the file has one.
      track: tells the faces of one video apart, and videos; None if the file has no time.
      frame_number: that of `frame` as the file has it.
    """

    points: np.ndarray
    visible: np.ndarray
    confidence: float | np.ndarray | None = None
    depth: np.ndarray | None = None
    seconds: float | None = None
    frame: int | None = None
    track: str | None = None
    frame_number: int | None = None

    def __len__(self) -> int:
        """Number of landmarks N."""
        return len(self.points)


class Contents(NamedTuple):
    """What a parser found in a file.

    Attributes:
      faces: names, which may be the same, and faces, in the file's frame and unit; None in the
        place of one that is damaged, so that those behind it keep their numbers.
      left_out: a line for each face that is damaged.
      notes: lines on what was taken for something.
      first_pixel: 1 in files that count pixels from 1.
      y_up: whether y grows from the lower edge of the picture upward.
    """

    faces: list[tuple[str, Face | None]]
    left_out: Sequence[str] = ()
    notes: Sequence[str] = ()
    first_pixel: int = 0
    y_up: bool = False


def make_face(
    points: Any, *, visible: Any = None, occluded: Any = None, confidence: Any = None,
    found: bool = True, **fields: Any
) -> Face:
    """A face whose points that are not finite, not visible or not confident are hidden.

    Args:
      points: (N, 2).
      visible, occluded, confidence: of the face or of each landmark; NaN counts as not visible,
        occluded, low. All are visible by default.
      found: whether the frame shows a face at all.
      **fields: others of `Face`.

    Raises:
      ValueError: a confidence is none, such as a percent.
    """
    points = np.array(points, np.float64)
    seen = np.isfinite(points).all(-1)
    if visible is not None:
        seen &= are_seen("visible", visible)
    if occluded is not None:
        seen &= are_seen("occluded", occluded)
    if confidence is not None:
        confidence = np.asarray(confidence, float)
        too_large = confidence > MAX_CONFIDENCE if confidence.ndim else confidence >= _MAX_SCORE
        if np.any(too_large):
            raise ValueError(f"confidence: expected from 0 to 1, got {np.nanmax(confidence):g}")
        seen &= are_seen("confidence", confidence)
        confidence = confidence if confidence.ndim else float(confidence)
    return Face(points, seen & found, confidence, **fields)


def are_seen(what: str, values: Any) -> np.ndarray:
    """Which landmarks were seen, (...), by numbers (...) of that meaning; not those that are NaN.

    Args:
      what: "visible", "occluded" or "confidence".
      values: the numbers.
    """
    values = np.asarray(values, float)
    if what == "occluded":
        return values < 0.5
    return values >= (MIN_CONFIDENCE if what == "confidence" else 0.5)


def split_third(
    points: np.ndarray, is_confidence: bool = False
) -> tuple[np.ndarray, dict[str, np.ndarray], bool]:
    """The (..., 2) points of (..., 2) or (..., N, 3), and what their third numbers are.

    Numbers from 0 to 1, or 0, 1 and 2 as COCO counts, are a confidence, unless all of them are 0:
    no depth is like that. Nor is one that is from 0 to 2 everywhere in a face of some size, while
    peaks of heat maps go beyond 1. MediaPipe's mesh has a depth. Numbers of the landmarks in their
    order may be third; before x and y, or in another order, they are refused.

    Args:
      points: those.
      is_confidence: whether the file says that the third numbers are a confidence.

    Returns:
      The points, {"confidence": ...} or {"depth": ...} or nothing, and whether that is a guess.

    Raises:
      ValueError: they should be a confidence, and some are negative, but not -1 as hidden ones; or
        the first are the numbers of the landmarks, or the third in another order.
    """
    if points.shape[-1] == 2:
        return points, {}, False
    first, _, third = np.moveaxis(points, -1, 0)
    if _are_numbers(first):
        raise ValueError("the first of three numbers count the landmarks, expected x and y first")
    if _are_numbers(third) and (np.diff(third) < 0).any():
        raise ValueError("the third numbers count the landmarks in another order than they come, "
                         "expected them in order")
    flat = points[..., :2]
    known = third[np.isfinite(third)]
    if is_confidence and points.shape[-2] not in MESH_POINTS:
        if np.any((known < 0) & (known != -1)):
            raise ValueError(f"confidence: expected from 0 to 1, got {np.min(known):g}")
        return flat, {"confidence": third}, False
    if np.any(known < 0) or points.shape[-2] in MESH_POINTS:
        return flat, {"depth": third}, False
    there = np.isfinite(flat)
    sizes = (np.max(flat, axis=-2, where=there, initial=-np.inf)
             - np.min(flat, axis=-2, where=there, initial=np.inf))
    if np.any(known > 0) and (np.all(known <= 1) or np.all(np.isin(known, (0, 1, 2))) or (
        np.max(known) <= min(MAX_CONFIDENCE, np.max(sizes) / 10) and np.mean(known <= 1) >= 0.9
    )):
        return flat, {"confidence": third}, True
    return flat, {"depth": third}, False


def _are_numbers(values: np.ndarray) -> bool:
    """Whether (..., N) values are 0, 1, 2, ... or 1, 2, 3, ... of each face, in any order."""
    count = values.shape[-1]
    return count > 2 and any((np.sort(values) == np.arange(first, first + count)).all()
                             for first in (0, 1))


THIRD_IS_CONFIDENCE = ("the third numbers of landmarks, all from 0 to 1 or little above, or 0, 1 "
                       "and 2, are taken as their confidence")


def hide_marks(face: Face) -> tuple[Face, int]:
    """Hides landmarks at places that programs write for hidden ones.

    Those are (0, 0) and (-1, -1) where they lie outside of the other landmarks, and points of two
    negative coordinates where the other landmarks have none: faces that lie around the origin, or
    across the edge of a picture, keep theirs.

    Returns:
      The face, its hidden points NaN, and how many were hidden here.
    """
    points, seen = face.points, face.visible
    mark = seen & ((points == 0).all(-1) | (points == -1).all(-1))
    others = points[seen & ~mark]
    if len(others):
        mark &= ((points < others.min(0)) | (points > others.max(0))).any(-1)
    negative = seen & ~mark & (points < 0).all(-1)
    others = points[seen & ~mark & ~negative]
    if len(others) and (others >= 0).all():
        mark |= negative
    if not mark.any():
        return face, 0
    return dataclasses.replace(
        face, points=np.where(mark[:, None], np.nan, points), visible=seen & ~mark
    ), int(mark.sum())


def are_parts(points: np.ndarray) -> bool:
    """Whether points (..., 2) may be parts of a picture's width and height; NaN do not count."""
    return nearly_all_within(points, *_PARTS)


def are_parts_from_middle(points: np.ndarray) -> bool:
    """Whether they may be parts of its half width and height, from the middle of the picture."""
    return not are_parts(points) and nearly_all_within(points, -_PARTS[1], _PARTS[1])


def are_around_origin(points: np.ndarray) -> bool:
    """Whether a face of points (P, 2) was put there: by its mean, its middle or a landmark."""
    with np.errstate(over="ignore"):  # one landmark may lie anywhere
        middles = np.stack([points.mean(0), (points.min(0) + points.max(0)) / 2])
        near = np.abs(middles).max(-1) <= 1e-3 * np.ptp(points)
    return bool(near.any() or (points == 0).all(-1).any())


def nearly_all_within(points: np.ndarray, low: float, high: float) -> bool:
    """Whether nine of ten coordinates lie there; NaN do not count."""
    known = points[np.isfinite(points)]
    return bool(known.size and np.mean((known >= low) & (known <= high)) >= 0.9)


def in_pixels(face: Face, size: tuple[float, float]) -> Face:
    """A face of parts of a picture's width and height in its pixels; depth is in widths."""
    with np.errstate(over="ignore"):  # hidden ones may hold anything
        return dataclasses.replace(face, points=face.points * np.asarray(size, float),
                                   depth=None if face.depth is None else face.depth * size[0])


def ordered_by(
    indices: Sequence[int], rows: np.ndarray, count: int, first: int = 0
) -> np.ndarray:
    """(count, D) rows in the order of their indices from 0, NaN where there is none.

    Raises:
      ValueError: an index comes twice; it is told as the file has it, counted from `first`.
    """
    twice = [i for i, times in collections.Counter(indices).items() if times > 1]
    if twice:
        raise ValueError(f"landmark {twice[0] + first} comes twice")
    ordered = np.full((count, rows.shape[-1]), np.nan)
    ordered[list(indices)] = rows
    return ordered


def landmark_number(name: str) -> tuple[str, int] | None:
    """The word before the number of a landmark, and the number, also one such as 7.000e+00."""
    match = _NUMBERED.fullmatch(name)
    if match:
        return match[1], int(match[2])
    try:
        value = plain_float(name)
    except ValueError:
        return None
    return ("", int(value)) if 0 <= value < 10_000 and value == int(value) else None


def landmark_places(names: Sequence[str]) -> list[int] | None:
    """The places of landmarks from 0 that names say, None if they say none.

    They are numbers from 0 or 1, alone or behind one word for all, or names of one topology.
    """
    found = [pair for pair in map(landmark_number, names) if pair]
    if found and len(found) == len(names) and len({word for word, _ in found}) == 1:
        numbers = [value for _, value in found]
        return [value - (min(numbers) == 1) for value in numbers]
    known = [topology.landmarks for topology in topologies.TOPOLOGIES.values()
             if {*names} <= {*topology.landmarks}]
    return [min(known, key=len).index(name) for name in names] if known and names else None


def all_landmark_places(names: Sequence[str]) -> list[int] | None:
    """The places that names say, None if they are not those of all landmarks."""
    places = landmark_places(names)
    return places if places is not None and sorted(places) == [*range(len(names))] else None


def are_shuffled(places: Sequence[int] | None) -> bool:
    """Whether places are those of all landmarks, but not in their order."""
    return places is not None and len(places) > 2 and (
        sorted(places) == [*range(len(places))] != [*places])


def number(cell: str, where: str, decimal: str = ".") -> float:
    """A number in a text, NaN where the text says that there is none.

    Raises:
      ValueError: it is no number.
    """
    if cell.strip().lower() in _NO_NUMBER:
        return np.nan
    try:
        return plain_float(cell.replace(decimal, "."))
    except ValueError:
        raise ValueError(f"{where}: '{cell}', expected a number") from None


def plain_float(text: str) -> float:
    """`float` of a text, but not of 12_5, which Python takes for 125.

    Raises:
      ValueError: it is no number.
    """
    if "_" in text:
        raise ValueError(f"'{text}', expected a number")
    return float(text)


def is_comment(text: str) -> bool:
    """Whether a text begins as comments do: with # or //, but not with the error of a spreadsheet.

    That stands for a number, and the landmark would be lost with it.
    """
    return text.startswith(("#", "//")) and not _ERROR.match(text)


def is_number(cell: str, decimal: str = ".") -> bool:
    """Whether `number` takes it."""
    try:
        number(cell, "", decimal)
    except ValueError:
        return False
    return True


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 if it says so by a byte order mark.

    Raises:
      ValueError: it is in another encoding, such as that of older spreadsheets.
    """
    content = path.read_bytes()
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{'' if utf16 else f'line {line}: '}no {'UTF-16' if utf16 else 'UTF-8'}, "
                         "expected a text saved in UTF-8") from None


def without_separator(text: str) -> tuple[str, str | None]:
    """A table without its first line `sep=;`, which is for Excel, and what that says parts cells.

    The end of that line stays, or the others had other numbers.
    """
    told = _SEPARATOR.match(text)
    return (text[told.end() - 1:], told[1]) if told else (text, None)


def lines_to_part(text: str) -> list[str]:
    """The lines of a table from its first cell on, to see what parts the cells.

    Commas, semicolons and tabs in quotes part nothing: each cell in quotes is replaced by a letter.
    """
    lines = _QUOTED.sub("q", text).splitlines()
    first = next((i for i, line in enumerate(lines) if line.strip(" \t;,")), 0)
    return lines[first:]


def picture_names(names: Sequence[str]) -> list[str]:
    """File names without their folders, where they stay different without."""
    short = [PurePosixPath(name.replace("\\", "/")).name for name in names]
    return short if len(set(short)) == len(set(names)) else list(names)


def with_tracks(
    named: Sequence[tuple[str, Face | None]], stem: str
) -> list[tuple[str, Face | None]]:
    """The faces of one file, told apart by track where it has several.

    A file with frames or times is a video of its own, called like the file.
    """
    known = [face for _, face in named if face is not None]
    several = len({face.track for face in known}) > 1
    first = min((face.frame for face in known if face.frame is not None), default=0)
    result: list[tuple[str, Face | None]] = []
    for name, face in named:
        if face is None:
            result.append((name, None))
            continue
        timed = (face.track, face.frame, face.seconds) != (None, None, None)
        track = f"{stem} face {face.track}" if several else stem if timed else None
        result.append((f"{name} face {face.track}" if several else name,
                       dataclasses.replace(face, track=track, frame_number=face.frame, frame=(
                           None if face.frame is None else face.frame - first))))
    return result


def tell_apart(names: Sequence[str]) -> list[str]:
    """Names with #0, #1, ... where several are the same."""
    names = list(names)
    while len(set(names)) < len(names):
        counts, so_far = collections.Counter(names), collections.Counter[str]()
        for i, name in enumerate(names):
            if counts[name] > 1:
                names[i] = f"{name}#{so_far[name]}"
                so_far[name] += 1
    return names


def only_count(names: Sequence[str]) -> bool:
    """Whether names are 0, 1, 2, ... or 1, 2, 3, ..., as programs name rows without names."""
    return any(list(names) == [str(i) for i in range(start, start + len(names))]
               for start in (0, 1))


def some_of(names: Iterable[str]) -> str:
    """The first of names for a line, and how many more there are."""
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def natural_key(text: str) -> list[tuple[int, str]]:
    """A key to sort by that puts frame2 before frame10."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]


def undo_alphabet(names: Iterable[str]) -> list[int]:
    """The places of names in natural order if they come in that of the alphabet, else as they are.

    Shells and other programs sort them so; any other order is someone's own.
    """
    names = list(names)
    places = range(len(names))
    return sorted(places, key=lambda i: natural_key(names[i])) if names == sorted(names) \
        else list(places)
