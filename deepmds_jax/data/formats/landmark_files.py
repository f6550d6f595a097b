"""2D landmark files: .pts of 300-W, .json, .csv, .npy, .npz and .mat.

`read_landmarks` returns image points with x right, y down and the centre of the top left pixel at
(0, 0). Annotations made in MATLAB count pixels from 1 and are shifted by one pixel: .pts of 300-W
and the fields of 300W-LP and AFLW2000-3D in .mat. All other files are taken as written.
"""

import csv
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

_FIELDS = ("landmarks", "points", "x2d")
# 300W-LP and AFLW2000-3D, counted from 1. `pt3d_68` comes first because `pt2d` of AFLW2000-3D has
# only 21 points, some of them missing.
_MATLAB_FIELDS = ("pt3d_68", "pt2d_68", "pt2d", "pts_2d")


def read_landmarks(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the 2D landmarks of every face in a file.

    Layouts, with N landmarks and F faces:

    * `.pts`: the header of 300-W with `n_points: N`, and N lines `x y` in braces.
    * `.npy`, or a list in `.json`: (N, 2), (F, N, 2), or the transposed (2, N), (F, 2, N).
    * `.npz`, `.mat`, or an object in `.json`: such an array called `landmarks`, `points` or `x2d`;
      beside it, in `.npz` and `.json`, optionally the F face `names`; in `.mat` also `pt3d_68` (its
      x and y), `pt2d_68`, `pt2d`, `pts_2d`. Without one of these, each entry is a face and its key
      the face's name.
    * `.csv`: columns `x` and `y`, one row per landmark, and optionally a column `face` that tells
      faces apart; or one row per face, columns `x0,y0,x1,y1,...` in any order (also `x_0`, as
      OpenFace writes them) and optionally a column `face`, `name`, `image` or `file`. Other columns
      are ignored. Without a header, two columns are `x,y`, three are a name and `x,y`, and more are
      `x0,y0,x1,y1,...`, after a name if their number is odd.

    A face without a name is named after the file, with `#0`, `#1`, ... if there are several.

    Args:
      path: The file.

    Returns:
      By face name, (N, 2) float64 points, x right and y down in the file's unit (usually pixels),
      the centre of the top left pixel at (0, 0).

    Raises:
      ValueError: One line that names the file: it cannot be read, is cut off, has another layout,
        or a coordinate is not finite.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(f"{path}: unknown landmark format, expected {', '.join(_FORMATS)}")
    load, parse = _FORMATS[path.suffix.lower()]
    try:
        content = load(path)
    except Exception as error:  # every parser fails on damaged files in ways of its own
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(f"{path}: cannot be read: {reason.splitlines()[0]}") from error
    try:
        return parse(content, path.stem)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def list_landmark_files(folder: str | Path) -> list[Path]:
    """Lists the files in a folder that have an extension `read_landmarks` knows.

    Args:
      folder: The folder. Its subfolders and hidden files are skipped.

    Returns:
      The files, sorted by name.

    Raises:
      ValueError: There is no such folder, or no such file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in _FORMATS and not file.name.startswith(".") and file.is_file()
    )
    if not files:
        raise ValueError(f"{folder}: no landmark files, expected some of {', '.join(_FORMATS)}")
    return files


def _faces_of(points: Any, stem: str, names: Any = None) -> dict[str, np.ndarray]:
    """Checks an array in any of the accepted layouts and splits it into (N, 2) points per face."""
    try:
        points = np.asarray(points)
    except ValueError:  # nested lists of unequal length
        points = np.empty((), object)
    if points.dtype.kind not in "iuf":
        raise ValueError(f"'{stem}' is not a table of numbers, expected (N, 2) or (faces, N, 2)")
    if points.ndim not in (2, 3) or 2 not in points.shape[-2:] or points.size == 0:
        raise ValueError(f"'{stem}' has shape {points.shape}, expected (N, 2) or (faces, N, 2)")
    if points.shape[-1] != 2:
        points = points.swapaxes(-1, -2)
    points = points.reshape(-1, *points.shape[-2:]).astype(np.float64)
    if names is None:
        names = [f"{stem}#{i}" for i in range(len(points))] if len(points) > 1 else [stem]
    if np.shape(names) != (len(points),):
        raise ValueError(f"names have shape {np.shape(names)}, expected ({len(points)},)")
    faces: dict[str, np.ndarray] = {}
    for name, face in zip(map(str, names), points, strict=True):
        if name in faces:
            raise ValueError(f"two faces are named '{name}'")
        for i in np.flatnonzero(~np.isfinite(face).all(-1))[:1]:
            x, y = face[i]
            raise ValueError(f"landmark {i} of '{name}' is ({x}, {y}), expected finite numbers")
        faces[name] = face
    return faces


def _count_from_0(faces: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: points - 1.0 for name, points in faces.items()}


def _number(cell: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{where}: '{cell}', expected a number") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _load_text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")


def _parse_pts(text: str, stem: str) -> dict[str, np.ndarray]:
    header, opening, rest = text.partition("{")
    body, closing, _ = rest.partition("}")
    match = re.search(r"n_points:\s*(\d+)", header)
    if not (opening and match):
        raise ValueError("no header of 300-W, expected 'n_points: N' and '{' before the points")
    num_points = int(match[1])
    rows = [line.split() for line in body.splitlines() if line.strip()]
    if not closing:
        raise ValueError(f"cut off after {len(rows)} of {num_points} points, expected a '}}'")
    if len(rows) != num_points:
        raise ValueError(f"{len(rows)} points where the header says {num_points}")
    for i, row in enumerate(rows):
        if len(row) != 2:
            raise ValueError(f"landmark {i}: '{' '.join(row)}', expected two numbers")
    points = [[_number(cell, f"landmark {i}") for cell in row] for i, row in enumerate(rows)]
    return _count_from_0(_faces_of(points, stem))


def _load_json(path: Path) -> Any:
    return json.loads(_load_text(path))


def _load_numpy(path: Path) -> Any:
    with path.open("rb") as file:  # np.load leaves a broken .npz open if it opens it itself
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        for field in _FIELDS:
            if field in content:  # the other arrays may be anything, photographs for one
                return {key: content[key] for key in (field, "names") if key in content}
        faces = {key: content[key] for key in content}
    return next(iter(faces.values())) if len(faces) == 1 else faces


def _parse_arrays(content: Any, stem: str) -> dict[str, np.ndarray]:
    if not isinstance(content, dict):
        return _faces_of(content, stem)
    for field in _FIELDS:
        if field in content:
            return _faces_of(content[field], stem, content.get("names"))
    faces: dict[str, np.ndarray] = {}
    for name, points in content.items():
        faces |= _faces_of(points, name)
    if not faces:
        raise ValueError("no landmarks, expected (N, 2) or (faces, N, 2)")
    return faces


def _load_mat(path: Path) -> dict[str, np.ndarray]:
    try:
        content = scipy.io.loadmat(path)
    except NotImplementedError:
        raise ValueError("it is in MATLAB's 7.3 format, expected save(..., '-v7')") from None
    return {key: value for key, value in content.items() if not key.startswith("__")}


def _parse_mat(content: dict[str, np.ndarray], stem: str) -> dict[str, np.ndarray]:
    for field in _MATLAB_FIELDS:
        if field in content:
            points = content[field][:2] if field == "pt3d_68" else content[field]
            return _count_from_0(_faces_of(points, stem))
    for field in _FIELDS:
        if field in content:
            return _faces_of(content[field], stem)
    return _parse_arrays(next(iter(content.values())) if len(content) == 1 else content, stem)


def _load_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [[cell.strip() for cell in row] for row in csv.reader(file, strict=True)]


def _parse_csv(rows: list[list[str]], stem: str) -> dict[str, np.ndarray]:
    lines = [(f"line {number}", row) for number, row in enumerate(rows, 1) if any(row)]
    if not lines:
        raise ValueError("no rows, expected landmarks")
    header = lines[0][1]
    if len(header) > 1 and all(map(_is_number, header[1:])):
        pairs = len(header) // 2
        coordinates = ["x", "y"] if pairs == 1 else [f"{a}{i}" for i in range(pairs) for a in "xy"]
        header = ["name"] * (len(header) % 2) + coordinates
    else:
        lines = lines[1:]
    if not lines:
        raise ValueError("no rows under the header, expected landmarks")
    for where, row in lines:
        if len(row) != len(header):
            raise ValueError(f"{where}: {len(row)} cells, expected {len(header)}")

    def column(*names: str) -> int | None:
        return next((i for i, cell in enumerate(header) if cell.lower() in names), None)

    x, y = column("x"), column("y")
    if x is not None and y is not None:
        face = column("face")
        faces: dict[str, list[list[float]]] = {}
        for where, row in lines:
            point = [_number(row[x], where), _number(row[y], where)]
            faces.setdefault(stem if face is None else row[face], []).append(point)
        return {name: _faces_of(points, name)[name] for name, points in faces.items()}

    # Lower case only: the X_0, Y_0, Z_0 of OpenFace are its 3D landmarks.
    matches = [(re.fullmatch(r"([xy])_?(\d+)", cell), i) for i, cell in enumerate(header)]
    axes = {axis: {int(m[2]): i for m, i in matches if m and m[1] == axis} for axis in "xy"}
    if not axes["x"] or axes["x"].keys() != axes["y"].keys():
        raise ValueError(f"header '{','.join(header)}', expected x,y or x0,y0,x1,y1,...")
    columns = [axes[axis][i] for i in sorted(axes["x"]) for axis in "xy"]
    points = [[_number(row[i], where) for i in columns] for where, row in lines]
    name = column("face", "name", "image", "file")
    names = None if name is None else [row[name] for _, row in lines]
    return _faces_of(np.reshape(points, (len(points), len(columns) // 2, 2)), stem, names)


_FORMATS = {
    ".pts": (_load_text, _parse_pts),
    ".json": (_load_json, _parse_arrays),
    ".csv": (_load_csv, _parse_csv),
    ".npy": (_load_numpy, _parse_arrays),
    ".npz": (_load_numpy, _parse_arrays),
    ".mat": (_load_mat, _parse_mat),
}


def read_all_landmarks(
    paths: Sequence[str | os.PathLike],
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads landmark files and folders of them.

    Returns:
      Landmarks by face name; of a second face of one name, the file is part of the name. And a line
      for each file or folder that cannot be read.
    """
    files, landmarks, left_out = [], {}, []
    for path in paths:
        try:
            files += list_landmark_files(Path(path)) if os.path.isdir(path) else [Path(path)]
        except (ValueError, OSError) as error:
            left_out.append(str(error))
    for file in files:
        try:
            for name, points in read_landmarks(file).items():
                landmarks[name if name not in landmarks else f"{name} ({file})"] = points
        except ValueError as error:
            left_out.append(str(error))
    return landmarks, left_out
