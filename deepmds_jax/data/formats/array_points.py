"""Numbers in the lists and objects of JSON, and points in order, by number or by name."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from deepmds_jax.data.formats.array_names import FIELDS, LISTS
from deepmds_jax.data.formats.faces import (
    LANDMARK_NUMBER,
    MAX_CONFIDENCE,
    MESH_POINTS,
    SEEN,
    all_landmark_places,
    are_shuffled,
    landmark_places,
    some_of,
)
from deepmds_jax.data.formats.plain_names import printable

_NUMBERS = (*LANDMARK_NUMBER, "id")  # of points
# The parts of dlib's 68 landmarks as face_recognition calls them; lips share their corners.
DLIB = {
    "chin": range(17), "left_eyebrow": range(17, 22), "right_eyebrow": range(22, 27),
    "nose_bridge": range(27, 31), "nose_tip": range(31, 36), "left_eye": range(36, 42),
    "right_eye": range(42, 48), "top_lip": (*range(48, 55), 64, 63, 62, 61, 60),
    "bottom_lip": (*range(54, 60), 48, 60, 67, 66, 65, 64),
}  # fmt: skip


def is_point(item: Any) -> bool:
    """Whether an item is a point {x, y, ...}, not a box around landmarks or other faces."""
    return isinstance(item, Mapping) and {"x", "y"} <= item.keys() and not any(
        itertools.starmap(_are_points, item.items()))


def _are_points(key: str, value: Any) -> bool:
    """Whether a value in an object holds landmarks, by its name or as lists or objects in it."""
    if isinstance(value, Mapping):
        value = [*value.values()]
    return isinstance(value, list) and (key in FIELDS or key in LISTS or (
        len(value) > 1 and isinstance(value[0], list | Mapping)))


def shape_of(value: Any) -> tuple[int, ...]:
    """That of an array, or of lists as the first ones in them say; points are as long as others."""
    if isinstance(value, list):
        return len(value), *shape_of(next((item for item in value if item is not None), None))
    return value.shape if isinstance(value, np.ndarray) else (2,) if is_point(value) else ()


def is_number(value: Any) -> bool:
    """Whether a value is one number, which says something else of the landmarks beside it."""
    return isinstance(value, int | float) or (isinstance(value, np.ndarray) and value.ndim == 0)


def to_array(content: Any) -> np.ndarray | None:
    """An array of floating point numbers, null as NaN; None if it is none."""
    try:
        array = np.asarray(_filled(content) if isinstance(content, list) else content)
        if array.dtype.kind == "O" and isinstance(content, list) and all(
            item is None or isinstance(item, int | float) for item in array.ravel()
        ):
            array = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None  # nested lists of unequal length, or endless ones
    return array.astype(np.float64) if array.dtype.kind in "iuf" else None


def _filled(content: list) -> list:
    """Nested lists with null in place of a list made as long as the lists beside it."""
    whole = next((item for item in content if isinstance(item, list)), None)
    if whole is None:
        return content
    content = [_filled(item) if isinstance(item, list) else item for item in content]
    whole = next(item for item in content if isinstance(item, list))
    return [_nulls(whole) if item is None else item for item in content]


def _nulls(whole: list) -> list:
    return [_nulls(item) if isinstance(item, list) else None for item in whole]


def points_of(content: list) -> tuple[list, dict[str, Any], list[str]]:
    """Numbers of points {x, y, z, ...}, what they say besides, and a line on what is not used."""
    content = _by_number(content)
    # A point without a place is hidden, whatever else is not said of it.
    there = [item is not None and None not in (item["x"], item["y"]) for item in content]
    points = list(itertools.compress(content, there))
    if points and all({"original_width", "original_height"} <= item.keys() for item in points):
        raise ValueError("x and y in percents of original_width and original_height, expected "
                         "pixels")
    axes = "xyz" if all("z" in item for item in points) else "xy"
    rows = [[item[axis] if seen else None for axis in axes]
            for item, seen in zip(content, there, strict=True)]
    known = {}
    for key, names in SEEN.items():
        values = [next((item[name] for name in names if name in item), None) for item in points]
        if None not in values:
            each = iter(values)
            known[key] = [next(each) if seen else 0 for seen in there]
        elif any(value is not None for value in values) and len(content) not in MESH_POINTS:
            name = next(name for name in names if any(name in item for item in points))
            raise ValueError(f"'{name}' in {sum(value is not None for value in values)} of "
                             f"{len(points)} points, expected in each or in none")
    used = {*"xyz", *_NUMBERS, "presence", *itertools.chain(*SEEN.values())}
    unused = [printable(str(key)) for key in dict.fromkeys(itertools.chain(*points))
              if key not in used and all(is_number(item.get(key)) for item in points)]
    return rows, known, [f"keys not used: {some_of(unused)}"] if unused else []


def is_single(value: Any) -> bool:
    """Whether a value is one point: two numbers, or three, or x and y; or none."""
    return value is None or is_point(value) or (
        isinstance(value, list) and len(value) in (2, 3) and all(map(is_number, value)))


def points_by_name(content: Mapping[str, Any]) -> list:
    """Points in the order that their names say, null where one is missing.

    Raises:
      ValueError: the names say none.
    """
    if content.keys() >= DLIB.keys():
        return _points_by_part(content)
    places = landmark_places(list(content))
    if places is None or not all(map(is_single, content.values())):
        raise ValueError(f"'{next(iter(content))}' is no number of a landmark, nor are all names "
                         "those of a topology, expected (N, 2) or (faces, N, 2)")
    points = dict(zip(places, content.values(), strict=True))
    if len(points) < len(places):
        raise ValueError("two names of one landmark, expected one")
    return [points.get(i) for i in range(max(points) + 1)]


def _points_by_part(content: Mapping[str, Any]) -> list:
    """dlib's points in their order.

    Raises:
      ValueError: the parts have other numbers of points, or other corners of the mouth.
    """
    points: dict[int, Any] = {}
    for part, places in DLIB.items():
        if not isinstance(content[part], list) or len(content[part]) != len(places):
            raise ValueError(f"'{part}' is no list of {len(places)} points")
        for i, point in zip(places, content[part], strict=True):
            if points.setdefault(i, point) != point:
                raise ValueError(f"'{part}' has another landmark {i} than 'top_lip'")
    return [points[i] for i in range(len(points))]


def _by_number(content: list) -> list:
    """Points in the order of their numbers, where these are 0, 1, 2, ... or 1, 2, 3, ...

    Raises:
      ValueError: something else numbers them in another order.
    """
    labels = {} if None in content else {
        key: [_alone(item.get(key)) for item in content] for key in content[0]
        if key not in ("x", "y", "z")}
    keys = [key for key, values in labels.items()
            if all(type(value) in (str, int, float) for value in values)]
    for key in sorted(keys, key=lambda key: (key not in _NUMBERS, key != "id")):
        places = all_landmark_places([*map(str, labels[key])])
        if places is None:
            continue
        if key in _NUMBERS:
            return [content[i] for i in np.argsort(places)]
        if are_shuffled(places):
            raise ValueError(f"key '{printable(str(key))}' has the numbers of landmarks in another "
                             "order than the points: call it landmark, or leave it out")
    return content


def _alone(value: Any) -> Any:
    """What is in a list by itself, as labels are that may be several."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def rows_of_three(points: Any) -> list | None:
    """COCO's x, y, v in turn as rows of three, of the face alone, or 133 points with the body.

    None if they are something else.
    """
    flat = isinstance(points, list) and points and not isinstance(points[0], list)
    if flat and len(points) % 3 == 0:
        return [points[i : i + 3] for i in range(0, len(points), 3)]
    return None


def have_depths(rows: list | None) -> bool:
    """Whether third numbers are no confidences: most too large, or some negative, but not -1."""
    points = None if rows is None else to_array(rows)
    if points is None:
        return False
    known = points[np.isfinite(points[:, 2]), 2]
    return bool(np.any((known < 0) & (known != -1))
                or np.sum(known <= MAX_CONFIDENCE) < known.size / 2)
