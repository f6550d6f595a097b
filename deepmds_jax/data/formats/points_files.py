"""Landmarks in text files of their own kinds: .pts, .txt, .tps, .fcsv, and dlib's .xml."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.parsers import expat

import numpy as np

from deepmds_jax.data.formats.faces import (
    THIRD_IS_CONFIDENCE,
    Contents,
    Face,
    all_landmark_places,
    is_comment,
    is_number,
    landmark_number,
    landmark_places,
    make_face,
    number,
    ordered_by,
    picture_names,
    split_third,
)

_WFLW_COLUMNS = 2 * 98 + 4 + 6 + 1  # landmarks, box, attributes, name of the picture
_COMMA = re.compile(r"[+-]?\d+,\d+")


def parse_pts(text: str, stem: str) -> Contents:
    """300-W: a header with n_points, and the points in braces, counted from 1; of each face."""
    rest = "\n".join(_before_comment(line) for line in text.splitlines())
    found: list[tuple[str, Face | None]] = []
    left_out: list[str] = []
    notes: dict[str, None] = {}
    while not found or "n_points" in rest:
        header, opening, rest = rest.partition("{")
        body, closing, rest = rest.partition("}")
        try:
            face, guessed = _one_face(_pts_rows(header, opening, body, closing))
        except ValueError as error:
            face, guessed = None, False
            left_out.append(str(error) if not found else f"face {len(found)}: {error}")
        found.append((stem, face))
        notes |= dict.fromkeys([THIRD_IS_CONFIDENCE] * guessed)
    return Contents(found, left_out, list(notes), first_pixel=1)


def _pts_rows(header: str, opening: str, body: str, closing: str) -> list[list[str]]:
    match = re.search(r"n_points\s*:\s*(\d+)", header)
    if not (opening and match):
        raise ValueError("no header of 300-W, expected 'n_points: N' and '{' before the points")
    num_points = int(match[1])
    rows = [line.split() for line in body.splitlines() if line.strip()]
    if not closing:
        raise ValueError(f"cut off after {len(rows)} of {num_points} points, expected a '}}'")
    if len(rows) != num_points:
        raise ValueError(f"{len(rows)} points where the header says {num_points}")
    if not rows:
        raise ValueError("no points")
    return rows


def parse_txt(text: str, stem: str) -> Contents:
    """Lines `x y` of one face, also behind their number, a face in each line, or lists of WFLW.

    Lines that begin with # or // are comments; of lines `x y` also what comes after one of these.
    """
    lines = {f"line {i}": line for i, line in enumerate(text.splitlines(), 1)
             if _cells(line) and not is_comment(line.lstrip())}
    short = [_cells(_before_comment(line)) for line in lines.values()]
    if short and short[0] == [str(len(short) - 1)]:  # how many follow
        short = short[1:]
        del lines[next(iter(lines))]
    if not short:
        raise ValueError("no points, expected a line 'x y' for each landmark")
    _check_commas(lines)
    if len(short[0]) in (2, 3):
        face, guessed = _one_face(short)
        return Contents([(stem, face)], notes=[THIRD_IS_CONFIDENCE] * guessed)
    # As long as they are, a landmark that is lost behind a # would not be missed.
    rows = {where: _cells(line) for where, line in lines.items()}
    if len(next(iter(rows.values()))) == _WFLW_COLUMNS:
        return _wflw(rows)
    found: list[tuple[str, Face | None]] = []
    left_out: list[str] = []
    for where, row in rows.items():
        try:
            if len(row) % 2:
                raise ValueError(f"{where}: {len(row)} numbers, expected x and y in turn")
            values = [number(cell, where) for cell in row]
            found.append((stem, make_face(np.reshape(values, (-1, 2)))))
        except ValueError as error:
            found.append((stem, None))
            left_out.append(str(error))
    return Contents(found, left_out)


def has_rows(text: str) -> bool:
    """Whether some line has more numbers than words, as landmarks have and notes have not.

    A dash before it may be that of a list, and "none" alone is no number.
    """
    for line in text.splitlines():
        cells = _cells(_before_comment(line).lstrip("- \t"))
        some = len(cells) > 1 or any(map(str.isdigit, line))
        if some and 2 * sum(map(is_number, cells)) > len(cells):
            return True
    return False


def _check_commas(lines: Mapping[str, str]) -> None:
    """ValueError where commas may be decimal ones: in lines of two or three numbers."""
    cells = {where: re.split(r"[\s;]+", _before_comment(line).strip(" \t;"))
             for where, line in lines.items()}
    names = [row[0] for row in cells.values() if len(row) == 2]
    if len(names) == len(cells) and all_landmark_places(names) is not None:
        return  # numbers of landmarks, before x,y
    if all(len(row) in (2, 3) for row in cells.values()) and not any(
        "." in cell for row in cells.values() for cell in row
    ):
        for where, row in cells.items():
            if any(_COMMA.fullmatch(cell) for cell in row[1:]):
                raise ValueError(f"{where}: '{' '.join(row)}', expected numbers with decimal "
                                 "points, or none with commas")


def _by_number(rows: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    """Rows `number x y` in the order of their numbers, if these count from 0 or 1, as `x y`.

    Raises:
      ValueError: they count up from another number, or some are missing.
    """
    names = [row[0] for row in rows if len(row) == 3]
    if len(rows) < 3 or len(names) < len(rows):
        return rows
    places = all_landmark_places(names)
    if places is not None:
        return [rows[int(i)][1:] for i in np.argsort(places)]
    numbers = [pair[1] for pair in map(landmark_number, names) if pair]
    steps = np.diff(numbers)
    if len(numbers) == len(rows) and (steps == 1).all():
        raise ValueError(f"landmarks numbered from {numbers[0]}, expected from 0 or 1")
    # The x of landmarks do not grow so, each by little from the last one, and from 0 or 1.
    if (len(numbers) == len(rows) and numbers[0] in (0, 1) and (steps > 0).all()
            and numbers[-1] < 2 * len(rows)):
        raise ValueError(f"{len(rows)} landmarks numbered from {numbers[0]} to {numbers[-1]}, "
                         "expected all of them, 'nan nan' for those that are hidden")
    return rows


def _wflw(rows: Mapping[str, Sequence[str]]) -> Contents:
    found: list[tuple[str, Face | None]] = []
    left_out: list[str] = []
    names = picture_names([row[-1] for row in rows.values()])
    for (where, row), name in zip(rows.items(), names, strict=True):
        try:
            if len(row) != _WFLW_COLUMNS:
                raise ValueError(f"{where}: {len(row)} columns, expected {_WFLW_COLUMNS} of WFLW")
            values = [number(cell, where) for cell in row[: 2 * 98]]
            found.append((name, make_face(np.reshape(values, (98, 2)))))
        except ValueError as error:
            found.append((name, None))
            left_out.append(str(error))
    return Contents(found, left_out)


def _one_face(rows: Sequence[Sequence[str]]) -> tuple[Face, bool]:
    """The face of rows, and whether its third numbers were guessed."""
    width = len(rows[0])
    for i, row in enumerate(rows):
        if len(row) != width or width not in (2, 3):
            raise ValueError(f"landmark {i}: '{' '.join(row)}', expected two numbers, or three "
                             "in each line")
    points = np.array([[number(cell, f"landmark {i}") for cell in row]
                       for i, row in enumerate(_by_number(rows))])
    flat, third, guessed = split_third(points)
    return make_face(flat, confidence=third.get("confidence"), depth=third.get("depth")), guessed


def parse_tps(text: str, stem: str) -> Contents:
    """tpsDig: LM=N and N lines `x y`, y upward from the lower edge, for each specimen.

    IMAGE names the picture. Curves, scales and other entries are passed over.
    """
    found: list[tuple[str, Face | None]] = []
    left_out: list[str] = []
    rows: list[list[str]] = []
    where, expected, image, identity = "", 0, "", ""

    def finish() -> None:
        if not where:
            return
        name = PurePosixPath(image.replace("\\", "/")).stem or identity or stem
        try:
            if len(rows) != expected:
                raise ValueError(f"{where}: {len(rows)} points where LM says {expected}")
            points = np.array([[number(cell, where) for cell in row] for row in rows])
            if points.ndim != 2 or points.shape[1] != 2:
                raise ValueError(f"{where}: expected two numbers for each point")
            found.append((name, make_face(points)))
        except ValueError as error:
            found.append((name, None))
            left_out.append(str(error))

    reading = False
    for i, line in enumerate(text.splitlines(), 1):
        key, equals, value = line.partition("=")
        if equals:
            key, reading = key.strip().upper(), False
            if key == "LM3":
                raise ValueError(f"line {i}: landmarks in 3D, expected LM=, those of a picture")
            if key == "LM":
                finish()
                where, rows, image, identity, reading = f"line {i}", [], "", "", True
                expected = _count(value, where)
            elif key == "IMAGE":
                image = value.strip()
            elif key == "ID":
                identity = value.strip()
        elif line.strip() and reading:
            rows.append(line.split())
    finish()
    if not where:
        raise ValueError("no landmarks, expected 'LM=N' before them")
    return Contents(found, left_out, y_up=True)


def _count(value: str, where: str) -> int:
    if not value.strip().isdecimal():
        raise ValueError(f"{where}: LM={value.strip()[:20]}, expected a number of points")
    return int(value)


def parse_fcsv(text: str, stem: str) -> Contents:
    """Slicer's older lists of points: comments that name the frame and the columns, then rows."""
    system, columns = "RAS", ["id", "x", "y", "z"]
    positions = []
    for i, line in enumerate(text.splitlines(), 1):
        if line.startswith("#") and is_comment(line):
            key, _, value = line.lstrip("# ").partition("=")
            if key.strip().lower() == "coordinatesystem":
                system = {"0": "RAS", "1": "LPS"}.get(value.strip(), value.strip().upper())
            elif key.strip().lower() == "columns":
                columns = [name.strip() for name in value.split(",")]
            continue
        cells = line.split(",")
        if not line.strip():
            continue
        if not {"x", "y", "z"} <= set(columns) or len(cells) < len(columns) - 1:
            raise ValueError(f"line {i}: {len(cells)} cells, expected {len(columns)}")
        positions.append([number(cells[columns.index(axis)], f"line {i}") for axis in "xyz"])
    return Contents([(stem, slicer_face(positions, system))])


def slicer_face(positions: Sequence[Sequence[float]], system: str) -> Face:
    """A face from points that were marked on a picture in Slicer.

    Slicer puts the columns of a picture along L and its rows along P. In RAS both change sign.

    Raises:
      ValueError: the points do not lie in the plane of a picture, or in another frame.
    """
    if system not in ("LPS", "RAS"):
        raise ValueError(f"coordinate system '{system}', expected LPS or RAS")
    points = np.array(positions, np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"positions have shape {points.shape}, expected (N, 3)")
    known = points[np.isfinite(points).all(-1)]
    spread = np.ptp(known, axis=0) if len(known) else np.zeros(3)
    if spread[2] > 1e-3 * spread[:2].max():
        raise ValueError("the points lie in space, expected them on a picture, all of one height")
    flat = points[:, :2] * (1 if system == "LPS" else -1)
    return make_face(flat + 0.0)


def load_imglib(path: Path) -> list[dict[str, Any]]:
    """The boxes of an imglib .xml: `image` and `parts`, which are names with x and y.

    Raises:
      ValueError: it declares a document type, which may expand without bound.
      expat.ExpatError: it is no XML.
    """
    boxes: list[dict[str, Any]] = []
    image = ""

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal image
        if tag == "image":
            image = attributes.get("file", "")
        elif tag == "box":
            boxes.append({"image": image, "parts": []})
        elif tag == "part" and boxes:
            boxes[-1]["parts"].append([attributes.get(key, "") for key in ("name", "x", "y")])

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = start
    parser.Parse(path.read_bytes(), True)
    return boxes


def _refuse_doctype(*_: Any) -> None:
    raise ValueError("it has a document type, expected imglib's XML without one")


def parse_imglib(boxes: Sequence[dict[str, Any]], stem: str) -> Contents:
    """The faces that dlib's imglab marked or its programs found, a box with parts for each."""
    if not any(box["parts"] for box in boxes):
        raise ValueError("no parts, expected <box>es with <part name= x= y=>")
    pictures = picture_names([box["image"] or stem for box in boxes])
    names = [name for box in boxes for name, _, _ in box["parts"]]
    places = landmark_places(names)  # else their order is that of the file
    count = 0 if places is None else max(places) + 1
    place_of = dict(zip(names, places or (), strict=places is not None))
    found: list[tuple[str, Face | None]] = []
    left_out: list[str] = []
    for i, (box, picture) in enumerate(zip(boxes, pictures, strict=True)):
        name = PurePosixPath(picture).stem if box["image"] else stem
        where = f"box {i} of '{name}'"
        try:
            if not box["parts"]:
                raise ValueError(f"{where}: no parts")
            rows = np.array([[number(x, where), number(y, where)] for _, x, y in box["parts"]])
            own = [part for part, _, _ in box["parts"]]
            if places is not None:
                rows = _ordered([place_of[part] for part in own], rows, count, where)
            elif own != names[: len(own)] and sorted(own) == sorted(names[: len(own)]):
                raise ValueError(f"{where}: parts in another order than in the first box")
            found.append((name, make_face(rows)))
        except ValueError as error:
            found.append((name, None))
            left_out.append(str(error))
    return Contents(found, left_out)


def _ordered(places: Sequence[int], rows: np.ndarray, count: int, where: str) -> np.ndarray:
    try:
        return ordered_by(places, rows, count)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _cells(line: str) -> list[str]:
    return [cell for cell in re.split(r"[\s,;]+", line) if cell]


def _before_comment(line: str) -> str:
    """A line without a comment, which begins it or comes after a blank."""
    marks = re.finditer(r"(^|(?<=\s))(#|//)", line)
    end = next((mark.start() for mark in marks if is_comment(line[mark.start():])), None)
    return line[:end]
