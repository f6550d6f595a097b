"""Files of reconstructed shapes: .npz, .json, .csv, .obj and .ply.

`.npz` and `.json` keep every array, in the frame of the package: x right, y down, z away from the
viewer. `.csv` keeps the 3D points, in the same frame, when they were seen and whether they can be
believed. `.obj` and `.ply` keep the 3D points and the edges of the topology, turned by half a turn
about x (which does not mirror the face) to the frame that mesh viewers expect: y up, z toward the
viewer.
"""

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepmds_jax.data.formats.plain_names import printable, to_cell
from deepmds_jax.files import replacing
from deepmds_jax.topologies import Topology

_FRAME = "x right, y down, z away from the viewer"
# What a table says of a face in each of its rows.
_OF_FACE = ("frame", "seconds", "converged")
_MESH_FRAME = "x right, y up, z toward the viewer"


def write_shapes(
    path: str | Path, faces: Mapping[str, Mapping[str, np.ndarray]], topology: Topology
) -> None:
    """Writes reconstructed faces to one file, whole or not at all.

    * `.npz`: each array stacked over the faces, and `names`, `topology`, `landmark_names`, `edges`.
    * `.json`: one object per face with its arrays as lists, beside `topology`, `landmark_names`,
      `edges` and `frame`.
    * `.csv`: one row `face,landmark,name,x,y,z` per landmark, landmarks counted from 0, and behind
      it the face's `frame`, `seconds` and `converged`, those there are. Names that a spreadsheet
      would compute (= + - @) have ' before them.
    * `.obj`: one object per face, its points and the edges as lines.
    * `.ply`: points and edges of all faces; the property `face` counts the faces from 0, a comment
      names each.

    Args:
      path: The file; its extension decides the format. A missing folder is made.
      faces: By face name, the arrays of that face by name: `points` (N, 3), and for .npz and .json
        any others, the same for all faces.
      topology: The topology of the N landmarks.

    Raises:
      ValueError: The extension is unknown, there is no face, `points` is not (N, 3) for the N of
        the topology, a number is not finite (but `x2d` where `visible` is not), or the faces differ
        in their arrays.
    """
    path = check_format(path)
    faces = {
        name: {key: np.asarray(array) for key, array in face.items()}
        for name, face in faces.items()
    }
    _check(faces, topology)
    content = _FORMATS[path.suffix.lower()](faces, topology)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def check_format(path: str | Path) -> Path:
    """Returns the path if `write_shapes` can write its format.

    Raises:
      ValueError: Its extension is unknown.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(f"{path}: unknown shape format, expected {', '.join(_FORMATS)}")
    return path


def _check(faces: dict[str, dict[str, np.ndarray]], topology: Topology) -> None:
    if not faces:
        raise ValueError("no faces to write, expected at least one")
    expected = (topology.num_landmarks, 3)
    shapes = {key: array.shape for key, array in next(iter(faces.values())).items()}
    for name, face in faces.items():
        if "points" not in face or face["points"].shape != expected:
            came = face["points"].shape if "points" in face else None
            raise ValueError(
                f"points of '{name}' have shape {came}, expected {expected} of {topology.name}"
            )
        if {key: array.shape for key, array in face.items()} != shapes:
            raise ValueError(
                f"the arrays of '{name}' differ in name or shape from the first face's"
            )
        for key, array in face.items():
            known = array[face["visible"]] if key == "x2d" and "visible" in face else array
            if array.dtype.kind == "f" and not np.isfinite(known).all():
                raise ValueError(f"{key} of '{name}' is not finite")


def _edges(topology: Topology) -> np.ndarray:
    return np.asarray(topology.edges, np.int64).reshape(-1, 2)


def _npz(faces: dict[str, dict[str, np.ndarray]], topology: Topology) -> bytes:
    keys = next(iter(faces.values()))
    arrays: dict[str, Any] = {
        "names": list(faces),
        "topology": topology.name,
        "landmark_names": list(topology.landmarks),
        "edges": _edges(topology),
        **{key: np.stack([face[key] for face in faces.values()]) for key in keys},
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _plain(array: np.ndarray) -> Any:
    """A number, or lists of numbers, with no more digits than the dtype has; null for NaN."""
    if array.dtype.kind == "f":
        numbers = array.astype(str).astype(np.float64)
        array = numbers.astype(object) if np.isnan(numbers).any() else numbers
        array[np.isnan(numbers)] = None
    return array.tolist()


def _json(faces: dict[str, dict[str, np.ndarray]], topology: Topology) -> bytes:
    content = {
        "topology": topology.name,
        "landmark_names": list(topology.landmarks),
        "edges": _edges(topology).tolist(),
        "frame": _FRAME,
        "faces": {
            name: {key: _plain(array) for key, array in face.items()}
            for name, face in faces.items()
        },
    }
    # Of half a character the escape is the same in JSON.
    return json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace")


def _csv(faces: dict[str, dict[str, np.ndarray]], topology: Topology) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    more = [key for key in _OF_FACE if all(key in face for face in faces.values())]
    writer.writerow(["face", "landmark", "name", "x", "y", "z", *more])
    for name, face in faces.items():
        values = [_plain(face[key]) for key in more]
        for i, landmark in enumerate(topology.landmarks):
            writer.writerow([to_cell(name), i, to_cell(landmark), *_plain(face["points"][i]),
                             *values])
    return buffer.getvalue().encode()


def _mesh_points(face: dict[str, np.ndarray]) -> list[list[float]]:
    # Adding 0 turns -0.0 into 0.0.
    return _plain(face["points"] * np.array([1, -1, -1], face["points"].dtype) + 0)


def _token(name: str) -> str:
    return printable(re.sub(r"\s", "_", name))


def _obj(faces: dict[str, dict[str, np.ndarray]], topology: Topology) -> bytes:
    lines = [f"# {topology.name} landmarks, {_MESH_FRAME}"]
    for count, (name, face) in enumerate(faces.items()):
        lines.append(f"o {_token(name)}")
        lines += ["v {} {} {}".format(*point) for point in _mesh_points(face)]
        # OBJ counts the points of all objects together, from 1.
        lines += [
            "l {} {}".format(*edge)
            for edge in _edges(topology) + count * topology.num_landmarks + 1
        ]
    return ("\n".join(lines) + "\n").encode()


def _ply(faces: dict[str, dict[str, np.ndarray]], topology: Topology) -> bytes:
    edges = _edges(topology)
    lines = ["ply", "format ascii 1.0", f"comment {topology.name} landmarks, {_MESH_FRAME}"]
    lines += [f"comment face {count} is {_token(name)}" for count, name in enumerate(faces)]
    lines += [f"element vertex {len(faces) * topology.num_landmarks}"]
    lines += [f"property double {axis}" for axis in "xyz"] + ["property int face"]
    lines += [f"element edge {len(faces) * len(edges)}"]
    lines += ["property int vertex1", "property int vertex2", "end_header"]
    for count, face in enumerate(faces.values()):
        lines += ["{} {} {} {}".format(*point, count) for point in _mesh_points(face)]
    for count in range(len(faces)):
        lines += ["{} {}".format(*edge) for edge in edges + count * topology.num_landmarks]
    return ("\n".join(lines) + "\n").encode()


_FORMATS = {".npz": _npz, ".json": _json, ".csv": _csv, ".obj": _obj, ".ply": _ply}
