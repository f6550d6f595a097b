"""Landmarks in arrays: .npy, .npz, those of .mat, and in the objects and lists of .json.

One face, or several, with what else is known of them, under the names of `FIELDS` and `_KNOWN`.
"""

import dataclasses
import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.formats.archives import unpack_numpy
from deepmds_jax.data.formats.faces import (
    LANDMARK_NUMBER,
    MAX_CONFIDENCE,
    MAY_BE_OTHERS,
    MESH_POINTS,
    OF_FACES,
    SEEN,
    THIRD_IS_CONFIDENCE,
    Contents,
    Face,
    all_landmark_places,
    are_parts,
    are_shuffled,
    in_pixels,
    landmark_places,
    make_face,
    read_text,
    some_of,
    split_third,
    with_tracks,
)
from deepmds_jax.data.formats.plain_names import printable
from deepmds_jax.data.formats.points_files import slicer_face
from deepmds_jax.data.formats.schemes import READ_AS

# What landmarks are called, the likeliest first: in our own files `points` are in 3D, in those of
# COCO-WholeBody `keypoints` are the body's beside `face_kpts`. dlib has `parts`.
FIELDS = ("landmarks", "x2d", "face_kpts", "face_keypoints_2d", "keypoints", "landmark", "points",
          "parts")
# What is called as what `make_face` takes.
_KNOWN = {
    **SEEN,
    **OF_FACES,
    "size": ("image_size",),
}
_SIZE = ("width", "height")
# Beside these, in lower case without _, they are the size of a box.
_CORNERS = {"x", "x0", "x1", "xmin", "left", "originx", "cx", "xc", "centerx", "xcenter"}
# 300W-LP and AFLW2000-3D, counted from 1. `pt3d_68` comes first because `pt2d` of AFLW2000-3D has
# only 21 points, some of them missing.
_MATLAB_FIELDS = ("pt3d_68", "pt2d_68", "pt2d", "pts_2d")
_NUMBERS = (*LANDMARK_NUMBER, "id")  # of points
# The parts of dlib's 68 landmarks as face_recognition calls them; lips share their corners.
_DLIB = {
    "chin": range(17), "left_eyebrow": range(17, 22), "right_eyebrow": range(22, 27),
    "nose_bridge": range(27, 31), "nose_tip": range(31, 36), "left_eye": range(36, 42),
    "right_eye": range(42, 48), "top_lip": (*range(48, 55), 64, 63, 62, 61, 60),
    "bottom_lip": (*range(54, 60), 48, 60, 67, 66, 65, 64),
}  # fmt: skip
# Those that say when, with their kinds.
_TIMES = {"seconds": float, "frame": int, "track": str}
# Lists of faces under other things: ours, MediaPipe's, COCO's, MMPose's and OpenPose's.
_LISTS = ("faces", "faceLandmarks", "face_landmarks", "multi_face_landmarks", "annotations",
          "instance_info", "instances", "people")
# Those of them that have the faces of one picture, if they make up a file.
_OF_ONE_PICTURE = {*_LISTS} - {"faces", "annotations"}


_UNREAD = np.empty(0)  # in the place of an array that is not needed
_NO_LANDMARKS = "no landmarks, expected (N, 2) or (faces, N, 2)"


def load_numpy(path: Path) -> Any:
    """The array of a .npy, or those of a .npz that matter; never unpickled."""
    with path.open("rb") as file:  # np.load leaves a broken .npz open if it opens it itself
        content = unpack_numpy(file)
        if isinstance(content, np.ndarray):
            return content
        field = next((field for field in FIELDS if field in content), None)
        if field is not None:  # the other arrays may be anything, photographs for one
            read = {field, "names", *_SIZE, *(name for names in _KNOWN.values() for name in names)}
            return {key: _unpacked(content, key) if key in read else _UNREAD for key in content}
        faces = {key: content[key] for key in content}
    return next(iter(faces.values())) if len(faces) == 1 else faces


def _unpacked(content: Mapping[str, Any], key: str) -> np.ndarray:
    """An array; of a name that may be something else's, not one that would have to be unpickled."""
    try:
        return content[key]
    except ValueError:
        if key not in MAY_BE_OTHERS:
            raise
        return _UNREAD


def load_json(path: Path) -> Any:
    """The content of a JSON file; of an object with a name twice, a `_Pairs`."""
    return json.loads(read_text(path), object_pairs_hook=_object)


class _Pairs(list):
    """Names and values of an object that has a name more than once."""


def _object(pairs: list[tuple[str, Any]]) -> Any:
    content = dict(pairs)
    return content if len(content) == len(pairs) else _Pairs(pairs)


def parse_mat(content: Mapping[str, Any], stem: str) -> Contents:
    """Data sets of MATLAB, else like `parse_arrays`."""
    for field in _MATLAB_FIELDS:
        if field in content:
            points = content[field][:2] if field == "pt3d_68" else content[field]
            return parse_arrays(points, stem)._replace(first_pixel=1)
    if len(content) == 1 and not content.keys() & set(FIELDS):
        return parse_arrays(next(iter(content.values())), stem)
    return parse_arrays({key: value for key, value in content.items() if key != "names"}, stem)


def parse_arrays(content: Any, stem: str) -> Contents:
    """The faces in arrays, lists and objects.

    Raises:
      ValueError: there are none.
    """
    found: list[tuple[str, Face | None]] = []
    left_out: list[str] = []
    notes: dict[str, None] = {}
    for item in _faces(content, stem, {}, alone=True):
        if isinstance(item, _Damaged):
            found.append((item.name, None))
            left_out.append(item.reason)
        else:
            name, face, lines = item
            found.append((name, face))
            notes |= dict.fromkeys(lines)
    with_face = [face for _, face in found if face is not None and len(face)]
    if not with_face and not left_out:
        raise ValueError(_NO_LANDMARKS)
    timed = any(face.track is not None for face in with_face)
    count = len(with_face[0]) if with_face else 0
    for i, (name, face) in enumerate(found):
        if face is None or len(face):
            continue
        if timed:  # a frame without a face has no track
            left_out.append(f"{name}: {_NO_LANDMARKS}")
        found[i] = name, None if timed else _hidden(face, count)
    return Contents(with_tracks(found, stem), left_out, list(notes))


def _hidden(face: Face, count: int) -> Face:
    """A frame without a face as one that shows none of its landmarks."""
    return dataclasses.replace(face, points=np.full((count, 2), np.nan),
                               visible=np.zeros(count, bool))


class _Damaged(NamedTuple):
    """A face that cannot be read: how it would be called, and why."""

    name: str
    reason: str


# A face with its name, and lines on what was taken for something; or one that is damaged.
_Item = tuple[str, Face, Sequence[str]] | _Damaged


def _faces(
    content: Any, name: str, outer: Mapping[str, Any], alone: bool = False
) -> Iterator[_Item]:
    """Faces in anything; `outer` is what the objects around it say, as `_KNOWN` calls it.

    `alone` is what makes up a file, in no list or object.
    """
    try:
        if isinstance(content, _Pairs):
            twice = {key for key, _ in content if key in FIELDS or key in _LISTS}
            if twice:
                raise ValueError(f"'{sorted(twice)[0]}' in an object with a name twice")
            yield from _by_name(content, outer)
        elif isinstance(content, Mapping):
            yield from _of_object(content, name, outer, alone)
        elif isinstance(content, list) and _holds_faces(content):
            if not content:
                raise ValueError(_NO_LANDMARKS)
            several = len(content) > 1
            for i, item in enumerate(content):
                if several and (item is None or item == []):
                    yield name, _no_face(outer), ()
                    continue
                known = outer
                if several and isinstance(item, Mapping) and item.keys() & set(_LISTS):
                    known = {"frame": i} | dict(outer)  # what was found in one frame
                for face in _faces(item, name, known):
                    if several and isinstance(face, _Damaged):
                        face = face._replace(reason=f"{name}#{i}: {face.reason}")
                    yield face
        else:
            yield from _of_array(content, name, outer)
    except ValueError as error:
        yield _Damaged(name, str(error))


def _holds_faces(content: list) -> bool:
    """Whether a list is one of faces, not of points or of numbers, nor a whole array of faces."""
    items = [item for item in content if item is not None]
    if all(isinstance(item, Mapping | _Pairs) for item in items):
        return not items or not all(_is_point(item) for item in items)
    if not all(isinstance(item, list) for item in items):
        return False
    inner = [point for item in items for point in item if point is not None]
    if inner and all(_is_point(point) for point in inner):
        return True
    return all(isinstance(point, list) for point in inner) and _shape(content) is None


def _is_point(item: Any) -> bool:
    """Whether an item is a point {x, y, ...}, not a box around landmarks or other faces."""
    return isinstance(item, Mapping) and {"x", "y"} <= item.keys() and not any(
        itertools.starmap(_are_points, item.items()))


def _are_points(key: str, value: Any) -> bool:
    """Whether a value in an object holds landmarks, by its name or as lists or objects in it."""
    if isinstance(value, Mapping):
        value = [*value.values()]
    return isinstance(value, list) and (key in FIELDS or key in _LISTS or (
        len(value) > 1 and isinstance(value[0], list | Mapping)))


def _of_object(
    content: Mapping[str, Any], name: str, outer: Mapping[str, Any], alone: bool
) -> Iterator[_Item]:
    said = _said(content)
    known = dict(outer) | {what: content[key] for what, key in said.items()}
    keys = {str(key).lower().replace("_", "") for key in content}
    if set(_SIZE) <= content.keys() and not keys & _CORNERS:
        known.setdefault("size", [content[key] for key in _SIZE])
    if "markups" in content:
        markups = content["markups"]
        for markup in markups if isinstance(markups, list) else [None]:
            yield name, _slicer(markup), ()
        return
    if isinstance(content.get("shapes"), list) and "imagePath" in content:
        yield from _labelme(content)
        return
    menpo = _ljson(content)
    if menpo is not None:
        for group in menpo:
            yield name, _yx_face(group), ()
        return
    for key in _LISTS:
        if isinstance(content.get(key), list | Mapping) and content[key]:
            if alone and key in _OF_ONE_PICTURE and sum(map(bool, content[key])) > 1:
                known = {"frame": 0} | known
            pictures = _coco_pictures(content)
            faces = _coco_in_order(content[key], content.get("categories"))
            if pictures and isinstance(faces, list):
                items = itertools.chain.from_iterable(
                    _faces(item, PurePosixPath(pictures.get(_id_of(item, "image_id"), name)).stem,
                           known) for item in faces)
            elif isinstance(faces, Mapping):
                items = _by_name(list(faces.items()), known)
            else:
                items = _faces(faces, name, known)
            yield from _with_lines(items, _not_used(content, {key, *said.values()}))
            return
    for field in FIELDS:
        if field in content:
            points = content[field]
            if points is None or (isinstance(points, list) and not points):
                if field == "face_keypoints_2d":
                    return  # a body whose face was not looked for
                if known.keys() & {"frame", "seconds"}:
                    yield name, _no_face(known), ()
                    return
            face_only = field in ("face_kpts", "face_keypoints_2d")
            in_threes = _in_threes(points) if face_only or field == "keypoints" else None
            if isinstance(content.get("name"), str | int):
                name = str(content["name"])
            used = content if field == "x2d" else {field, "names", *_SIZE, *said.values()}  # ours
            points = points if in_threes is None else in_threes
            # COCO's and OpenPose's objects are in lists: one alone may be another program's.
            depths = alone and field == "keypoints" and _have_depths(in_threes)
            lines = ["the third numbers of 'keypoints' are taken as depths"] * depths
            yield from _with_lines(
                _of_array(points, name, known, content.get("names"),
                          face_only or (in_threes is not None and not depths)),
                [*lines, *_not_used(content, used, *(_shape_of(points)[:n] for n in (-1, -2)))])
            return
    if any(key in content and (content[key] is None or content[key] == []) for key in _LISTS):
        yield name, _no_face(known), ()
        return
    yield from _of_names(content, name, outer)


def _of_names(content: Mapping[str, Any], name: str, outer: Mapping[str, Any]) -> Iterator[_Item]:
    """Faces by name, or an array under any name, and what is known of them."""
    shapes = {key: _shape_of(value) for key, value in content.items()}
    of_landmarks, of_faces = _shapes_of_values(content)
    fits = of_landmarks | of_faces
    said = {what: key for what, key in _said(content).items()  # faces may be called so, too
            if shapes[key] in fits or not (shapes[key][-1:] in ((), (2,), (3,))
                                           or isinstance(content[key], Mapping))}
    known = dict(outer) | {what: content[key] for what, key in said.items()}
    rest = {key: value for key, value in content.items() if key not in said.values()}
    faces = {key: value for key, value in rest.items() if shapes[key] not in of_landmarks}
    # The same faces in space: beside them in the picture they would count again.
    flat = [key for key in faces if 2 in shapes[key][-2:]]
    in_space = [key for key in faces if flat and key not in flat and 3 in shapes[key][-2:]
                and "3d" in str(key).lower()]
    faces = {key: value for key, value in faces.items() if key not in in_space}
    told = [f"not used beside landmarks in 2D: {some_of(map(printable, in_space))}"] * (
        len(in_space) > 0)
    lines = [*told, *_not_used(rest, {*faces, *in_space}, *of_landmarks)]
    names = faces.pop("names") if _are_texts(faces.get("names")) else None
    first = next(iter(faces.values()), None)
    points = {key: value for key, value in faces.items() if not _is_number(value)}
    if points and (all(map(_is_single, points.values())) or points.keys() >= _DLIB.keys()):
        yield from _with_lines(_of_array(points, name, known), lines)
    elif len(faces) == 1 and isinstance(first, np.ndarray):  # called like the file, as one alone is
        yield from _with_lines(_of_array(first, name, known, names), lines)
    elif faces:
        yield from _with_lines(_by_name(list(faces.items()), known), lines)
    else:
        yield from _by_name(list(content.items()), outer)


def _said(content: Mapping[str, Any]) -> dict[str, str]:
    """What an object says of its faces, as `_KNOWN` calls it -> under which key.

    Of several keys, one that has more than a number.
    """
    of_landmarks, of_faces = _shapes_of_values(content)

    def is_sure(what, key):
        fits = of_landmarks if what in SEEN else of_faces
        return key not in MAY_BE_OTHERS or (
            _shape_of(content[key]) in fits and np.asarray(content[key]).dtype.kind in "biuf")

    given = {what: [key for key in names if _is_known(what, content.get(key))
                    and is_sure(what, key)] for what, names in _KNOWN.items()}
    return {what: max(keys, key=lambda key: not _is_number(content[key]))
            for what, keys in given.items() if keys}


def _shapes_of_values(
    content: Mapping[str, Any]
) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    """Shapes that a value for each landmark has, and one for each face, beside tables of points."""
    shapes = map(_shape_of, content.values())
    of_landmarks = {shape[:-1] for shape in shapes if shape[1:] and shape[-1] in (2, 3)}
    return of_landmarks, {shape[:-1] for shape in of_landmarks if shape[1:]}


def _not_used(
    content: Mapping[str, Any], used: Collection[str], *shapes: tuple[int, ...]
) -> list[str]:
    """A line on the arrays that are not used, and on lists of these shapes, of landmarks or faces.

    And on what is called as in `_KNOWN`, but is no number, or may be something else.
    """
    arrays = any(isinstance(value, np.ndarray) for value in content.values())
    known = {*itertools.chain(*_KNOWN.values())}
    unused = [printable(str(key)) for key, value in content.items() if key not in used
              and (arrays or (key in known and value)
                   or (isinstance(value, list) and _shape_of(value) in shapes))]
    return [f"{'arrays' if arrays else 'keys'} not used: {some_of(unused)}"] if unused else []


def _with_lines(items: Iterable[_Item], lines: Sequence[str]) -> Iterator[_Item]:
    for item in items:
        yield item if isinstance(item, _Damaged) else (*item[:2], [*item[2], *lines])


def _shape_of(value: Any) -> tuple[int, ...]:
    """That of an array, or of lists as the first ones in them say; points are as long as others."""
    if isinstance(value, list):
        return len(value), *_shape_of(next((item for item in value if item is not None), None))
    return value.shape if isinstance(value, np.ndarray) else (2,) if _is_point(value) else ()


def _are_texts(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "US"


def _no_face(outer: Mapping[str, Any]) -> Face:
    """A frame in which nothing was found, without landmarks as their number is not known yet."""
    return make_face(np.empty((0, 2)), **{
        key: kind(_each(key, outer[key], 1, 0)[0]) for key, kind in _TIMES.items() if key in outer})


def _by_name(pairs: Sequence[tuple[str, Any]], outer: Mapping[str, Any]) -> Iterator[_Item]:
    if not pairs:
        raise ValueError(_NO_LANDMARKS)
    for name, value in [pair for pair in pairs if not _is_number(pair[1])] or pairs:
        yield from _faces(value, str(name), outer)


def _is_number(value: Any) -> bool:
    """Whether a value is one number, which says something else of the landmarks beside it."""
    return isinstance(value, int | float) or (isinstance(value, np.ndarray) and value.ndim == 0)


def _is_known(key: str, value: Any) -> bool:
    """Whether a value may be that; our own files have a text as `frame`."""
    return value is not None and (key == "track" or not isinstance(value, str))


def _of_array(
    content: Any, name: str, outer: Mapping[str, Any], names: Any = None,
    third_is_confidence: bool = False,
) -> Iterator[_Item]:
    """Faces in an array, or in a list of points, or in points by name."""
    known, lines = dict(outer), []
    if isinstance(content, Mapping) and content:
        content = _points_by_name(content)
    if isinstance(content, list) and content and all(
        item is None or _is_point(item) for item in content
    ):
        content, of_points, lines = _points_of(content)
        known |= of_points
    points = _to_array(content)
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
    size = None if given is None else _to_array(given)
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
        values = plain.astype(np.float64) if plain.dtype.kind == "b" else _to_array(value)
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


def _to_array(content: Any) -> np.ndarray | None:
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


def _shape(content: list) -> tuple[int, ...] | None:
    array = _to_array(content)
    return None if array is None else array.shape


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


def _points_of(content: list) -> tuple[list, dict[str, Any], list[str]]:
    """Numbers of points {x, y, z, ...}, what they say besides, and a line on what is not used."""
    content = _by_number(content)
    points = [item for item in content if item]
    if points and all({"original_width", "original_height"} <= item.keys() for item in points):
        raise ValueError("x and y in percents of original_width and original_height, expected "
                         "pixels")
    axes = "xyz" if all("z" in item for item in points) else "xy"
    rows = [[None if item is None else item[axis] for axis in axes] for item in content]
    known = {}
    for key, names in SEEN.items():
        values = [next((item[name] for name in names if name in item), None) for item in points]
        if None not in values:
            each = iter(values)
            known[key] = [next(each) if item else 0 for item in content]
        elif any(value is not None for value in values) and len(content) not in MESH_POINTS:
            name = next(name for name in names if any(name in item for item in points))
            raise ValueError(f"'{name}' in {sum(value is not None for value in values)} of "
                             f"{len(points)} points, expected in each or in none")
    used = {*"xyz", *_NUMBERS, "presence", *itertools.chain(*SEEN.values())}
    unused = [printable(str(key)) for key in dict.fromkeys(itertools.chain(*points))
              if key not in used and all(_is_number(item.get(key)) for item in points)]
    return rows, known, [f"keys not used: {some_of(unused)}"] if unused else []


def _is_single(value: Any) -> bool:
    """Whether a value is one point: two numbers, or three, or x and y; or none."""
    return value is None or _is_point(value) or (
        isinstance(value, list) and len(value) in (2, 3) and all(map(_is_number, value)))


def _points_by_name(content: Mapping[str, Any]) -> list:
    """Points in the order that their names say, null where one is missing.

    Raises:
      ValueError: the names say none.
    """
    if content.keys() >= _DLIB.keys():
        return _points_by_part(content)
    places = landmark_places(list(content))
    if places is None or not all(map(_is_single, content.values())):
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
    for part, places in _DLIB.items():
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


def _in_threes(points: Any) -> list | None:
    """COCO's x, y, v in turn as rows of three, of the face alone, or 133 points with the body.

    None if they are something else.
    """
    flat = isinstance(points, list) and points and not isinstance(points[0], list)
    if flat and len(points) % 3 == 0:
        return [points[i : i + 3] for i in range(0, len(points), 3)]
    return None


def _have_depths(rows: list | None) -> bool:
    """Whether third numbers are no confidences: most too large, or some negative, but not -1."""
    points = None if rows is None else _to_array(rows)
    if points is None:
        return False
    known = points[np.isfinite(points[:, 2]), 2]
    return bool(np.any((known < 0) & (known != -1))
                or np.sum(known <= MAX_CONFIDENCE) < known.size / 2)


def _coco_in_order(annotations: Any, categories: Any) -> Any:
    """COCO's annotations, their keypoints in the order of the numbers that categories call them."""
    orders = {}
    for category in categories if isinstance(categories, list) else ():
        names = category.get("keypoints") if isinstance(category, Mapping) else None
        places = landmark_places([*map(str, names)]) if isinstance(names, list) else None
        if places is not None:
            orders[_id_of(category, "id")] = np.argsort(places)

    def in_order(item):
        order = orders.get(_id_of(item, "category_id"), ())
        rows = _in_threes(item.get("keypoints")) if isinstance(item, Mapping) else None
        if rows is None or len(rows) != len(order):
            return item
        return {**item, "keypoints": [value for i in order for value in rows[i]]}

    return [*map(in_order, annotations)] if orders and isinstance(annotations, list) \
        else annotations


def _id_of(item: Any, key: str) -> str:
    return str(item.get(key) if isinstance(item, Mapping) else None)


def _coco_pictures(content: Mapping[str, Any]) -> dict[str, str]:
    images = content.get("images")
    if not isinstance(images, list):
        return {}
    return {str(image["id"]): str(image["file_name"]) for image in images
            if isinstance(image, Mapping) and {"id", "file_name"} <= image.keys()}


def _slicer(markup: Any) -> Face:
    if not isinstance(markup, Mapping) or not isinstance(markup.get("controlPoints"), list):
        raise ValueError("a markup without controlPoints")
    positions = []
    for point in markup["controlPoints"]:
        known = isinstance(point, Mapping) and point.get("positionStatus") in (None, "defined")
        positions.append(point.get("position") if known else None)
    array = _to_array([[None] * 3 if position is None else position for position in positions])
    if array is None:
        raise ValueError("positions of control points are not three numbers each")
    return slicer_face(array.tolist(), str(markup.get("coordinateSystem", "LPS")))


def _labelme(content: Mapping[str, Any]) -> Iterator[_Item]:
    """Faces of LabelMe's points, by their group; labels say which landmarks they are, or order."""
    name = PurePosixPath(str(content["imagePath"]).replace("\\", "/")).stem
    groups: dict[str, list[tuple[str, Any]]] = {}
    others = {}
    for shape in content["shapes"]:
        points: Any = shape.get("points") if isinstance(shape, Mapping) else None
        kind = str(shape.get("shape_type", "point")) if points else "none"
        if kind != "point":
            others[printable(kind)] = None
            continue
        if _shape_of(points) != (1, 2):
            raise ValueError("a point of LabelMe that is not one pair of numbers")
        flags = shape.get("flags")
        flags = flags if isinstance(flags, Mapping) else {}
        groups.setdefault(str(shape.get("group_id")), []).append(
            (str(shape.get("label")), {**flags, "x": points[0][0], "y": points[0][1]}))
    if not groups:
        raise ValueError("no points among LabelMe's shapes, expected one for each landmark")
    lines = [f"shapes not used: {some_of(others)}"] * (len(others) > 0)
    labels = [label for group in groups.values() for label, _ in group]
    places = iter(landmark_places(labels) or ())
    numbered = [[(next(places, i), point) for i, (_, point) in enumerate(group)]
                for group in groups.values()]
    count = max(place for group in numbered for place, _ in group) + 1
    for group in numbered:
        points = dict(group)
        if len(points) < len(group):
            yield _Damaged(name, "two points of LabelMe with one label, give each face a group id")
        else:
            yield from _with_lines(_of_array([points.get(i) for i in range(count)], name, {}),
                                   lines)


def _ljson(content: Mapping[str, Any]) -> list[Any] | None:
    """The points of menpo's LJSON, versions 1 to 3, a list for each face; None if it is none."""
    groups, landmarks = content.get("groups"), content.get("landmarks")
    if isinstance(landmarks, Mapping) and "points" in landmarks:
        return [landmarks["points"]]
    if isinstance(groups, Mapping):
        return [_dig(group, "landmarks", "points") for group in groups.values()]
    if isinstance(groups, list):  # parts of one face
        parts = [_dig(group, "landmarks") for group in groups]
        return [[_dig(point, "point") for part in parts
                 for point in (part if isinstance(part, list) else [part])]]
    return None


def _dig(content: Any, *keys: str) -> Any:
    for key in keys:
        if not isinstance(content, Mapping) or key not in content:
            raise ValueError(f"no '{key}' where LJSON has it")
        content = content[key]
    return content


def _yx_face(points: Any) -> Face:
    """A face from menpo's points, whose first coordinate is y."""
    array = _to_array(points)
    if array is None or array.ndim != 2 or array.shape[1] != 2 or array.size == 0:
        shape = None if array is None else array.shape
        raise ValueError(f"LJSON's points have shape {shape}, expected (N, 2): those of a picture")
    return make_face(array[:, ::-1])
