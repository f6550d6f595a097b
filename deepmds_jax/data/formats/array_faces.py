"""The faces in one array, or list of points, with what is known of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.formats.array_points import is_point, points_by_name, points_of, to_array
from deepmds_jax.data.formats.faces import (
    MAX_CONFIDENCE,
    MESH_POINTS,
    SEEN,
    THIRD_IS_CONFIDENCE,
    Face,
    are_parts,
    in_pixels,
    make_face,
    split_third,
)
from deepmds_jax.data.formats.schemes import READ_AS

# Those that say when, with their kinds.
_TIMES = {"seconds": float, "frame": int, "track": str}


class Damaged(NamedTuple):
    """A face that cannot be read: how it would be called, and why."""

    name: str
    reason: str


# A face with its name, and lines on what was taken for something; or one that is damaged.
Item = tuple[str, Face, Sequence[str]] | Damaged


def with_lines(items: Iterable[Item], lines: Sequence[str]) -> Iterator[Item]:
    for item in items:
        yield item if isinstance(item, Damaged) else (*item[:2], [*item[2], *lines])


def no_face(outer: Mapping[str, Any]) -> Face:
    """A frame in which nothing was found, without landmarks as their number is not known yet."""
    return make_face(np.empty((0, 2)), **{
        key: kind(_each(key, outer[key], 1, 0)[0]) for key, kind in _TIMES.items() if key in outer})


def of_array(
    content: Any, name: str, outer: Mapping[str, Any], names: Any = None,
    third_is_confidence: bool = False,
) -> Iterator[Item]:
    """Faces in an array, or in a list of points, or in points by name."""
    known, lines = dict(outer), []
    if isinstance(content, Mapping) and content:
        content = points_by_name(content)
    if isinstance(content, list) and content and all(
        item is None or is_point(item) for item in content
    ):
        content, of_points, lines = points_of(content)
        known |= of_points
    points = to_array(content)
    if points is None:
        raise ValueError(f"'{name}' is not a table of numbers, expected (N, 2) or (faces, N, 2)")
    if points.ndim in (1, 2) and _are_in_turn(points.shape[-1]):
        raise ValueError(f"'{name}' has shape {points.shape}, which may be x and y of "
                         f"{points.shape[-1] // 2} landmarks in turn, expected (N, 2) or "
                         "(faces, N, 2)")
    axis = _axis(points.shape)
    if axis is None or points.size == 0:
        raise ValueError(f"'{name}' has shape {points.shape}, expected (N, 2) or (faces, N, 2)")
    if axis == -2:
        points = points.swapaxes(-1, -2)
    points = points.reshape(-1, *points.shape[-2:])
    flat, third, guessed = split_third(points, third_is_confidence)
    if points.shape[1] in MESH_POINTS:
        known.pop("visible", None)  # MediaPipe writes 0 for all of a face, seen or not
    size = _picture_size(known.pop("size", None))
    count = len(flat)
    if names is None:
        names = [name] * count
    if np.shape(names) != (count,):
        raise ValueError(f"names have shape {np.shape(names)}, expected ({count},)")
    fields = {key: _each(key, value, count, flat.shape[1]) for key, value in known.items()}
    if "confidence" in third and "confidence" in fields:  # of the landmarks, and of the face
        own, other = third["confidence"], fields["confidence"].reshape(count, -1)
        low, high = np.minimum(own, other), np.maximum(own, other)
        fields["confidence"] = np.where(high > MAX_CONFIDENCE, high, low)
    fields = third | fields
    lines = [*lines, *[THIRD_IS_CONFIDENCE] * guessed]
    for i, face_name in enumerate(names):
        one = {key: value[i] for key, value in fields.items()}
        for key, kind in _TIMES.items():
            if key in one:
                one[key] = kind(one[key])
        one["found"] = bool(one.pop("success", True))
        face = make_face(flat[i], **one)
        if size is not None and are_parts(face.points[face.visible]):
            face = in_pixels(face, size)
        yield (face_name.decode(errors="replace") if isinstance(face_name, bytes)
               else str(face_name)), face, lines


def _picture_size(given: Any) -> tuple[float, float] | None:
    """Width and height of a picture that an object names; None if it names none."""
    size = None if given is None else to_array(given)
    if size is None or size.shape != (2,) or not (np.isfinite(size) & (size > 1)).all():
        return None
    return float(size[0]), float(size[1])


def _are_in_turn(count: int) -> bool:
    """Whether so many numbers may be x and y in turn of a set of landmarks, but none of each."""
    known = {*READ_AS, *(topology.num_landmarks for topology in topologies.TOPOLOGIES.values())}
    return count % 2 == 0 and count > 3 and count // 2 in known and count not in known


def _axis(shape: tuple[int, ...]) -> int | None:
    """Which of the last two axes is that of x and y, or of x, y and one more."""
    if len(shape) not in (2, 3):
        return None
    for size in (2, 3):
        for axis in (-1, -2):
            if shape[axis] == size:
                return axis
    return None


def _each(key: str, value: Any, count: int, num_landmarks: int) -> Any:
    """A value for each face, or for each landmark of each face."""
    if key == "track":
        values = np.array(value, str)
    else:
        plain = np.asarray(value)
        values = plain.astype(np.float64) if plain.dtype.kind == "b" else to_array(value)
        if values is None:
            raise ValueError(f"{key} is not made of numbers")
    if key in SEEN and (values.shape == (count * num_landmarks,) or _without_ones(
            values.shape) == _without_ones((count, num_landmarks))):
        return values.reshape(count, num_landmarks)
    if values.size == count:
        values = values.reshape(count)
    elif values.ndim == 0:
        values = np.full(count, values)
    else:
        raise ValueError(f"{key} has shape {values.shape}, expected ({count},) or "
                         f"({count}, {num_landmarks})")
    if key in ("seconds", "frame") and not np.isfinite(values).all():
        raise ValueError(f"{key} is not finite")
    return values


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size != 1]
