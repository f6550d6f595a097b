"""Landmarks in arrays: .npy, .npz, those of .mat, and in the objects and lists of .json.

One face, or several, with what else is known of them, under the names of `array_names`.
"""

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from deepmds_jax.data.formats.array_faces import Damaged, Item, no_face, of_array, with_lines
from deepmds_jax.data.formats.array_files import Pairs
from deepmds_jax.data.formats.array_names import (
    CORNERS,
    FIELDS,
    KNOWN,
    LISTS,
    OF_ONE_PICTURE,
    SIZE,
)
from deepmds_jax.data.formats.array_points import (
    DLIB,
    have_depths,
    is_number,
    is_point,
    is_single,
    rows_of_three,
    shape_of,
    to_array,
)
from deepmds_jax.data.formats.faces import MAY_BE_OTHERS, SEEN, Contents, Face, some_of, with_tracks
from deepmds_jax.data.formats.json_programs import (
    coco_in_order,
    coco_pictures,
    id_of,
    labelme,
    ljson,
    slicer,
    yx_face,
)
from deepmds_jax.data.formats.plain_names import printable

# 300W-LP and AFLW2000-3D, counted from 1. `pt3d_68` comes first because `pt2d` of AFLW2000-3D has
# only 21 points, some of them missing.
_MATLAB_FIELDS = ("pt3d_68", "pt2d_68", "pt2d", "pts_2d")
_NO_LANDMARKS = "no landmarks, expected (N, 2) or (faces, N, 2)"


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
        if isinstance(item, Damaged):
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


def _faces(
    content: Any, name: str, outer: Mapping[str, Any], alone: bool = False
) -> Iterator[Item]:
    """Faces in anything; `outer` is what the objects around it say, as `KNOWN` calls it.

    `alone` is what makes up a file, in no list or object.
    """
    try:
        if isinstance(content, Pairs):
            twice = {key for key, _ in content if key in FIELDS or key in LISTS}
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
                    yield name, no_face(outer), ()
                    continue
                known = outer
                if several and isinstance(item, Mapping) and item.keys() & set(LISTS):
                    known = {"frame": i} | dict(outer)  # what was found in one frame
                for face in _faces(item, name, known):
                    if several and isinstance(face, Damaged):
                        face = face._replace(reason=f"{name}#{i}: {face.reason}")
                    yield face
        else:
            yield from of_array(content, name, outer)
    except ValueError as error:
        yield Damaged(name, str(error))


def _holds_faces(content: list) -> bool:
    """Whether a list is one of faces, not of points or of numbers, nor a whole array of faces."""
    items = [item for item in content if item is not None]
    if all(isinstance(item, Mapping | Pairs) for item in items):
        return not items or not all(is_point(item) for item in items)
    if not all(isinstance(item, list) for item in items):
        return False
    inner = [point for item in items for point in item if point is not None]
    if inner and all(is_point(point) for point in inner):
        return True
    return all(isinstance(point, list) for point in inner) and to_array(content) is None


def _of_object(
    content: Mapping[str, Any], name: str, outer: Mapping[str, Any], alone: bool
) -> Iterator[Item]:
    said = _said(content)
    known = dict(outer) | {what: content[key] for what, key in said.items()}
    keys = {str(key).lower().replace("_", "") for key in content}
    if set(SIZE) <= content.keys() and not keys & CORNERS:
        known.setdefault("size", [content[key] for key in SIZE])
    if "markups" in content:
        markups = content["markups"]
        for markup in markups if isinstance(markups, list) else [None]:
            yield name, slicer(markup), ()
        return
    if isinstance(content.get("shapes"), list) and "imagePath" in content:
        yield from labelme(content)
        return
    menpo = ljson(content)
    if menpo is not None:
        for group in menpo:
            yield name, yx_face(group), ()
        return
    for key in LISTS:
        if isinstance(content.get(key), list | Mapping) and content[key]:
            pictures = coco_pictures(content)
            faces = coco_in_order(content[key], content.get("categories"))
            if pictures and isinstance(faces, list):
                items = itertools.chain.from_iterable(
                    _faces(item, PurePosixPath(pictures.get(id_of(item, "image_id"), name)).stem,
                           known) for item in faces)
            elif isinstance(faces, Mapping):
                items = _by_name(list(faces.items()), known)
            else:
                items = _faces(faces, name, known)
            if alone and key in OF_ONE_PICTURE:
                items = _of_one_picture(items)
            # Our own files have a text as `frame`, and say the topology.
            ours = {"frame"} if "topology" in content else set()
            yield from with_lines(items, _not_used(content, {key, *ours, *said.values()}))
            return
    for field in FIELDS:
        if field in content:
            points = content[field]
            if points is None or (isinstance(points, list) and not points):
                if field == "face_keypoints_2d":
                    return  # a body whose face was not looked for
                if known.keys() & {"frame", "seconds"}:
                    yield name, no_face(known), ()
                    return
            face_only = field in ("face_kpts", "face_keypoints_2d")
            in_threes = rows_of_three(points) if face_only or field == "keypoints" else None
            if isinstance(content.get("name"), str | int):
                name = str(content["name"])
            used = content if field == "x2d" else {field, "names", *SIZE, *said.values()}  # ours
            points = points if in_threes is None else in_threes
            # COCO's and OpenPose's objects are in lists: one alone may be another program's.
            depths = alone and field == "keypoints" and have_depths(in_threes)
            lines = ["the third numbers of 'keypoints' are taken as depths"] * depths
            yield from with_lines(
                of_array(points, name, known, content.get("names"),
                         face_only or (in_threes is not None and not depths)),
                [*lines, *_not_used(content, used, *(shape_of(points)[:n] for n in (-1, -2)))])
            return
    if any(key in content and (content[key] is None or content[key] == []) for key in LISTS):
        yield name, no_face(known), ()
        return
    yield from _of_names(content, name, outer)


def _of_one_picture(items: Iterable[Item]) -> list[Item]:
    """Several faces without times as those of one frame."""
    items = list(items)
    faces = [item[1] for item in items if not isinstance(item, Damaged)]
    if len(faces) < 2 or any((face.frame, face.seconds) != (None, None) for face in faces):
        return items
    return [item if isinstance(item, Damaged) else
            (item[0], dataclasses.replace(item[1], frame=0), item[2]) for item in items]


def _of_names(content: Mapping[str, Any], name: str, outer: Mapping[str, Any]) -> Iterator[Item]:
    """Faces by name, or an array under any name, and what is known of them."""
    shapes = {key: shape_of(value) for key, value in content.items()}
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
    points = {key: value for key, value in faces.items() if not is_number(value)}
    if points and (all(map(is_single, points.values())) or points.keys() >= DLIB.keys()):
        yield from with_lines(of_array(points, name, known), lines)
    elif len(faces) == 1 and isinstance(first, np.ndarray):  # called like the file, as one alone is
        yield from with_lines(of_array(first, name, known, names), lines)
    elif faces:
        yield from with_lines(_by_name(list(faces.items()), known), lines)
    else:
        yield from _by_name(list(content.items()), outer)


def _said(content: Mapping[str, Any]) -> dict[str, str]:
    """What an object says of its faces, as `KNOWN` calls it -> under which key.

    Of several keys, one that has more than a number.
    """
    of_landmarks, of_faces = _shapes_of_values(content)

    def is_sure(what, key):
        fits = of_landmarks if what in SEEN else of_faces
        return key not in MAY_BE_OTHERS or (
            shape_of(content[key]) in fits and np.asarray(content[key]).dtype.kind in "biuf")

    given = {what: [key for key in names if _is_known(what, content.get(key))
                    and is_sure(what, key)] for what, names in KNOWN.items()}
    return {what: max(keys, key=lambda key: not is_number(content[key]))
            for what, keys in given.items() if keys}


def _shapes_of_values(
    content: Mapping[str, Any]
) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    """Shapes that a value for each landmark has, and one for each face, beside tables of points."""
    shapes = map(shape_of, content.values())
    of_landmarks = {shape[:-1] for shape in shapes if shape[1:] and shape[-1] in (2, 3)}
    return of_landmarks, {shape[:-1] for shape in of_landmarks if shape[1:]}


def _not_used(
    content: Mapping[str, Any], used: Collection[str], *shapes: tuple[int, ...]
) -> list[str]:
    """A line on the arrays that are not used, and on lists of these shapes, of landmarks or faces.

    And on what is called as in `KNOWN`, but is no number, or may be something else.
    """
    arrays = any(isinstance(value, np.ndarray) for value in content.values())
    known = {*itertools.chain(*KNOWN.values())}
    unused = [printable(str(key)) for key, value in content.items() if key not in used
              and (arrays or (key in known and value)
                   or (isinstance(value, list) and shape_of(value) in shapes))]
    return [f"{'arrays' if arrays else 'keys'} not used: {some_of(unused)}"] if unused else []


def _are_texts(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "US"


def _by_name(pairs: Sequence[tuple[str, Any]], outer: Mapping[str, Any]) -> Iterator[Item]:
    if not pairs:
        raise ValueError(_NO_LANDMARKS)
    for name, value in [pair for pair in pairs if not is_number(pair[1])] or pairs:
        yield from _faces(value, str(name), outer)


def _is_known(key: str, value: Any) -> bool:
    """Whether a value may be that; our own files have a text as `frame`."""
    return value is not None and (key == "track" or not isinstance(value, str))
