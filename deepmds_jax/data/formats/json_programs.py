"""Layouts of JSON of one program each: COCO, 3D Slicer, LabelMe and menpo."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from deepmds_jax.data.formats.array_faces import Damaged, Item, of_array, with_lines
from deepmds_jax.data.formats.array_points import rows_of_three, shape_of, to_array
from deepmds_jax.data.formats.faces import (
    Face,
    all_landmark_places,
    landmark_places,
    make_face,
    some_of,
)
from deepmds_jax.data.formats.plain_names import printable
from deepmds_jax.data.formats.points_files import slicer_face


def coco_in_order(annotations: Any, categories: Any) -> Any:
    """COCO's annotations, their keypoints in the order of the numbers that categories call them."""
    orders = {}
    for category in categories if isinstance(categories, list) else ():
        names = category.get("keypoints") if isinstance(category, Mapping) else None
        places = all_landmark_places([*map(str, names)]) if isinstance(names, list) else None
        if places is not None:
            orders[id_of(category, "id")] = np.argsort(places)

    if not orders or not isinstance(annotations, list):
        return annotations

    def in_order(item):
        order = orders.get(id_of(item, "category_id"), ())
        rows = rows_of_three(item.get("keypoints")) if isinstance(item, Mapping) else None
        if rows is None or len(rows) != len(order):
            return item
        return {**item, "keypoints": [value for i in order for value in rows[i]]}

    return [*map(in_order, annotations)]


def id_of(item: Any, key: str) -> str:
    return str(item.get(key) if isinstance(item, Mapping) else None)


def coco_pictures(content: Mapping[str, Any]) -> dict[str, str]:
    images = content.get("images")
    if not isinstance(images, list):
        return {}
    return {str(image["id"]): str(image["file_name"]) for image in images
            if isinstance(image, Mapping) and {"id", "file_name"} <= image.keys()}


def slicer(markup: Any) -> Face:
    if not isinstance(markup, Mapping) or not isinstance(markup.get("controlPoints"), list):
        raise ValueError("a markup without controlPoints")
    positions = []
    for point in markup["controlPoints"]:
        known = isinstance(point, Mapping) and point.get("positionStatus") in (None, "defined")
        positions.append(point.get("position") if known else None)
    array = to_array([[None] * 3 if position is None else position for position in positions])
    if array is None:
        raise ValueError("positions of control points are not three numbers each")
    return slicer_face(array.tolist(), str(markup.get("coordinateSystem", "LPS")))


def labelme(content: Mapping[str, Any]) -> Iterator[Item]:
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
        if shape_of(points) != (1, 2):
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
            yield Damaged(name, "two points of LabelMe with one label, give each face a group id")
        else:
            yield from with_lines(of_array([points.get(i) for i in range(count)], name, {}),
                                  lines)


def ljson(content: Mapping[str, Any]) -> list[Any] | None:
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


def yx_face(points: Any) -> Face:
    """A face from menpo's points, whose first coordinate is y."""
    array = to_array(points)
    if array is None or array.ndim != 2 or array.shape[1] != 2 or array.size == 0:
        shape = None if array is None else array.shape
        raise ValueError(f"LJSON's points have shape {shape}, expected (N, 2): those of a picture")
    return make_face(array[:, ::-1])
