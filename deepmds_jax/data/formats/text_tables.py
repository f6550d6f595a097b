"""Landmarks in tables of text: a row for each face or frame, or a row for each landmark.

Cells are parted by commas, semicolons or tabs; beside the last two a comma may be the decimal
point.
"""

import csv
import dataclasses
import io
import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from deepmds_jax.data.formats.faces import (
    LANDMARK_NUMBER,
    OF_FACES,
    SEEN,
    THIRD_IS_CONFIDENCE,
    Contents,
    Face,
    are_shuffled,
    is_number,
    landmark_number,
    landmark_places,
    lines_to_part,
    make_face,
    number,
    only_count,
    ordered_by,
    picture_names,
    some_of,
    split_third,
    with_tracks,
    without_separator,
)
from deepmds_jax.data.formats.plain_names import from_cell, printable

# What columns are called that say more of a face than its landmarks, in lower case.
_COLUMNS = {
    "image": ("image", "image_name", "image_id", "img", "photo", "file", "filename", "file_name",
              "path"),
    "face": ("face", "person", "subject", "sample"),
    "name": ("name",),
    "id": ("id",),
    **OF_FACES,
    **SEEN,
    "landmark": LANDMARK_NUMBER,
    "x": ("x",), "y": ("y",), "z": ("z",),
}  # fmt: skip
# Those of the face that say in a video, too, which face it is.
_PEOPLE = ("person", "subject")
# Lower case only: the X_0, Y_0, Z_0 of OpenFace are its 3D landmarks.
_AXES = {"x": "x", "y": "y", "z": "depth"} | {
    name: key for key, names in SEEN.items() for name in names}
_WIDE = re.compile(rf"({'|'.join(_AXES)})_?(\d+)")
# Those that say whose or which landmarks a row has.
_KEYS = {"image", "face", "name", "id", "track", "frame", "seconds", "landmark"}
# Those that part the rows of faces.
_OF_FACE = ("image", "face", "track", "frame", "seconds")
# Words for what is true and what is not, as people and programs write them.
_WORDS = {"true": 1, "t": 1, "yes": 1, "y": 1, "false": 0, "f": 0, "no": 0, "n": 0}

_WHOLE = re.compile(r"[+-]?\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")

_Line = tuple[str, Sequence[str]]  # where, and its cells


class _Table:
    """Rows of cells under a header, and what its columns are."""

    def __init__(self, rows: Sequence[Sequence[str]], delimiter: str):
        self.decimal = "," if delimiter in ";\t" else "."
        self.notes: list[str] = []
        lines = [(f"line {i}", row) for i, row in enumerate(rows, 1) if len(row) > 1 or any(row)]
        while lines and not any(lines[-1][1]):  # spreadsheets leave such rows below
            lines.pop()
        while lines and not any(lines[0][1]):
            lines.pop(0)
        if not lines:
            raise ValueError("no rows, expected landmarks")
        header = lines[0][1]
        numbers = [is_number(cell, self.decimal) for cell in header[1:]]
        # Columns without names, behind one of the rows' names or none.
        if len(lines) > 1 and any(only_count(cells) and (len(cells) > 3 or not header[0])
                                  for cells in (header, header[1:])):
            lines = lines[1:]
        if numbers and 2 * sum(numbers) > len(numbers):  # others are damaged
            header = self._plain_header([row for _, row in lines])
        else:
            header = [header[0].lstrip("# "), *header[1:]]
            lines = lines[1:]
        if not lines:
            raise ValueError("no rows under the header, expected landmarks")
        self.header, self.lines = header, lines
        lower = [cell.lower() for cell in header]
        self.columns = {key: lower.index(name) for key, names in _COLUMNS.items()
                        for name in names[::-1] if name in lower}
        if self.columns.keys() & _KEYS:  # an empty row is of no face, else it is a hidden landmark
            self.lines = [(where, row) for where, row in lines if any(row)]

    def _plain_header(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """What the columns of a table without a header are."""
        width = len(rows[0])
        if width == 3 and all(len(row) == 3 for row in rows):
            first, _, third = np.array([
                [number(cell, "", self.decimal) if is_number(cell, self.decimal) else np.nan
                 for cell in row] for row in rows]).T
            known = first[np.isfinite(first)]
            if 2 * len(known) < len(rows):
                return ["name", "x", "y"]
            numbers = np.unique(known)  # but for those that are damaged, which is told
            starts = (0, 1, *known[:1]) if np.array_equal(numbers, known) else (0, 1)
            if len(numbers) == len(known) and any(
                np.isin(numbers, np.arange(start, start + len(rows))).all() for start in starts
            ):
                return ["landmark", "x", "y"]
            _, kind, guessed = split_third(np.stack([first, first, third], axis=-1))
            self.notes += [THIRD_IS_CONFIDENCE] * guessed
            return ["x", "y", "z" if "depth" in kind else "confidence"]
        pairs = width // 2
        plain = ["x", "y"] if pairs == 1 else [f"{a}{i}" for i in range(pairs) for a in "xy"]
        return ["name"] * (width % 2) + plain

    def number(self, where: str, row: Sequence[str], column: int) -> float:
        return number(row[column], where, self.decimal)

    def flag(self, where: str, row: Sequence[str], column: int) -> float:
        """A number, or one of `_WORDS`."""
        cell = row[column]
        if cell.lower() in _WORDS:
            return float(_WORDS[cell.lower()])
        if not is_number(cell, self.decimal):
            raise ValueError(f"{where}: '{cell}', expected a number, or true or false")
        return self.number(where, row, column)

    def check_length(self, where: str, row: Sequence[str]) -> None:
        if len(row) != len(self.header):
            raise ValueError(f"{where}: {len(row)} cells, expected {len(self.header)}")

    def check_marks(self, columns: Collection[int]) -> None:
        """ValueError where the points or commas of these columns may part thousands.

        They may if three digits follow each, while other cells have none of them: whole numbers
        below 1000, or the other mark. -1 and 0 are marks of hidden landmarks.
        """
        if self.decimal == ".":
            return
        cells = [(where, row[i]) for where, row in self.lines for i in columns
                 if i < len(row) and is_number(row[i], self.decimal)]
        whole = {int(cell) for _, cell in cells if _WHOLE.fullmatch(cell)} - {-1, 0}
        for mark, other in (".,", ",."):
            marked = [(where, cell) for where, cell in cells if mark in cell]
            if not marked or not all(_THOUSANDS.fullmatch(cell) for _, cell in marked):
                continue
            small = whole and max(map(abs, whole)) < 1000
            if small or any(other in cell for _, cell in cells):
                where, cell = marked[0]
                raise ValueError(f"{where}: '{cell}' may be {cell.replace(mark, '')} or "
                                 f"{cell.replace(mark, '.')}, expected no marks of thousands, or "
                                 "as many decimals in all cells")

    def has(self, *keys: str) -> bool:
        return all(key in self.columns for key in keys)

    def tell_unused(self, used: Iterable[int]) -> None:
        """Notes the columns beside those that were used.

        Not of OpenFace's tables, which have hundreds, none of them of what was seen.
        """
        known = {*used, *(i for key, i in self.columns.items() if key != "id")}
        unused = [printable(cell) for i, cell in enumerate(self.header) if cell and i not in known]
        if unused and not self.has("success") and "X_0" not in self.header:
            self.notes.append(f"columns not used: {some_of(unused)}")

    def cell(self, row: Sequence[str], key: str) -> str | None:
        column = self.columns.get(key, len(row))
        return row[column] if column < len(row) else None

    def fields(self, where: str, row: Sequence[str]) -> dict[str, Any]:
        """What a row says of its face, as `make_face` takes it."""
        found: dict[str, Any] = {}
        for key in ("seconds", "frame", "success"):
            if self.has(key):
                read = self.flag if key == "success" else self.number
                found[key] = read(where, row, self.columns[key])
        frame = found.pop("frame", None)
        if frame is not None and np.isfinite(frame):
            found["frame"] = int(frame)
        if not np.isfinite(found.get("seconds", 0)):
            raise ValueError(f"{where}: no time")
        success = found.pop("success", 1)
        return found | {"found": np.nan_to_num(success) > 0, "track": self.cell(row, "track")}


def split_rows(text: str) -> tuple[list[list[str]], str]:
    """Rows of cells, and what parts them: the one of tab, semicolon and comma in the first row.

    Unless a line for Excel before it says so.
    """
    text, delimiter = without_separator(text)
    if delimiter is None:
        first = next(iter(lines_to_part(text)), "")
        delimiter = next((mark for mark in "\t;" if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return [[cell.strip() for cell in row] for row in reader], delimiter


def wide_columns(header: Sequence[str]) -> dict[str, dict[int, int]]:
    """The columns that have a number of one landmark each.

    Returns:
      x, y, depth and those of `SEEN`, as far as there are any, -> number of the landmark -> column.

    Raises:
      ValueError: two columns have x, or y, of one landmark.
    """
    wide: dict[str, dict[int, int]] = {}
    for i, cell in enumerate(header):
        if match := _WIDE.fullmatch(cell):
            columns = wide.setdefault(_AXES[match[1]], {})
            other = columns.setdefault(int(match[2]), i)
            if other != i and match[1] in ("x", "y"):
                raise ValueError(f"columns '{printable(header[other])}' and '{printable(cell)}' "
                                 f"have {match[1]} of one landmark, expected one of them")
            columns[int(match[2])] = i
    return wide


def parse_table(content: tuple[list[list[str]], str], stem: str) -> Contents:
    """The faces of a table.

    Raises:
      ValueError: it is empty, or has other columns.
    """
    rows, delimiter = content
    table = _Table(_under_one_header(rows), delimiter)
    wide = wide_columns(table.header)
    if "x" in wide and wide["x"].keys() == wide.get("y", {}).keys():
        return _parse_wide(table, stem, wide)  # x and y beside it are those of a box
    if table.has("x", "y"):
        return _parse_long(table, stem)
    raise ValueError(f"header '{_short(','.join(table.header))}', expected x,y or x0,y0,x1,y1,...")


def _under_one_header(rows: list[list[str]]) -> list[list[str]]:
    """The rows of DeepLabCut, whose header takes three, under one; others as they are.

    Raises:
      ValueError: they are those of several animals.
    """
    head = [row[0].lower() if row else "" for row in rows[:4]]
    if head[:2] == ["scorer", "individuals"]:
        raise ValueError("DeepLabCut's individuals in one table, expected a file for each")
    if head[:3] != ["scorer", "bodyparts", "coords"]:
        return rows
    _, parts, coordinates = rows[:3]
    lead = max(1, len(parts) - len([*itertools.dropwhile(lambda part: not part, parts[1:])]))
    names = list(dict.fromkeys(parts[lead:]))
    places = landmark_places(names) or range(len(names))
    numbers = dict(zip(names, places, strict=True))
    is_frame = all(row[lead - 1].isdecimal() for row in rows[3:] if len(row) >= lead)
    header = [*[""] * (lead - 1), "frame" if is_frame else "image"]
    header += [f"{coordinate.lower()}{numbers[part]}" for part, coordinate
               in zip(parts[lead:], coordinates[lead:], strict=False)]
    return [[], [], header, *rows[3:]]


def _parse_wide(table: _Table, stem: str, wide: Mapping[str, Mapping[int, int]]) -> Contents:
    """A row for each face."""
    order = sorted(wide["x"])
    others = {key: [columns[i] for i in order] for key, columns in wide.items()
              if key not in "xy" and all(i in columns for i in order)}
    table.check_marks([*wide["x"].values(), *wide["y"].values()])
    label = "name" if table.has("name") or table.has("image") else "id"
    table.tell_unused([*wide["x"].values(), *wide["y"].values(), *itertools.chain(*others.values()),
                       table.columns.get(label, -1)])
    found: list[tuple[Sequence[str], Face | None]] = []
    left_out = []
    for where, row in table.lines:
        try:
            table.check_length(where, row)
            points = [[table.number(where, row, wide[axis][i]) for axis in "xy"] for i in order]
            fields = table.fields(where, row)
            for key in ("confidence", "visible", "occluded"):
                if table.has(key):
                    fields[key] = table.flag(where, row, table.columns[key])
            fields |= {key: np.array([table.flag(where, row, i) for i in columns])
                       for key, columns in others.items()}
            found.append((row, _face_of(where, points, fields)))
        except ValueError as error:
            found.append((row, None))
            left_out.append(str(error))
    return Contents(_named(table, stem, found, label), left_out, table.notes)


def _parse_long(table: _Table, stem: str) -> Contents:
    """A row for each landmark."""
    table.check_marks([table.columns[axis] for axis in "xy"])
    keys = [key for key in _OF_FACE if table.has(key)]
    groups, label = _grouped(table, keys), "face"
    indices, first = _landmark_indices(table, groups.values())
    if not _are_different(groups.values(), indices):
        for key in ("id", "name"):  # of faces, or of landmarks
            finer = _grouped(table, [*keys, key]) if table.has(key) else {}
            if _are_whole(finer.values(), indices):
                groups, label = finer, key
    used = [table.columns[label]] if table.has(label) else []
    table.tell_unused(used)
    if not indices:
        _check_order(table, groups.values(), used)
    count = max(indices.values(), default=-1) + 1
    found: list[tuple[Sequence[str], Face | None]] = []
    left_out = []
    for lines in groups.values():
        face = None
        try:
            face = _long_face(table, lines, indices, first, count)
        except ValueError as error:
            left_out.append(str(error))
        found.append((lines[0][1], face))
    return Contents(_named(table, stem, found, label), left_out, table.notes)


def _grouped(table: _Table, keys: Sequence[str]) -> dict[tuple, list[_Line]]:
    """The rows of each face, by what their columns of these keys say."""
    groups: dict[tuple, list[_Line]] = {}
    for where, row in table.lines:
        groups.setdefault(tuple(table.cell(row, key) or "" for key in keys), []).append(
            (where, row))
    return groups


def _are_different(groups: Iterable[Sequence[_Line]], indices: Mapping[str, int]) -> bool:
    """Whether no landmark comes twice in a group."""
    each = [[indices[where] for where, _ in lines if where in indices] for lines in groups]
    return all(len(set(group)) == len(group) for group in each)


def _are_whole(groups: Iterable[Sequence[_Line]], indices: Mapping[str, int]) -> bool:
    """Whether each group has the same landmarks, all once: groups of parts of a face have not."""
    each = {tuple(sorted(indices.get(where, -1) for where, _ in lines)) for lines in groups}
    return len(each) == 1 and all(len(set(group)) == len(group) > 1 for group in each)


def _long_face(
    table: _Table, lines: Sequence[_Line], indices: Mapping[str, int], first: int, count: int
) -> Face:
    """The face of some rows, NaN where landmarks of `count` numbered ones are missing."""
    for where, row in lines:
        table.check_length(where, row)
    keys = [key for key in ("x", "y", "z", "confidence", "visible", "occluded")
            if table.has(key)]
    rows = np.array([[
        (table.flag if key in ("visible", "occluded") else table.number)(
            where, row, table.columns[key])
        for key in keys] for where, row in lines])
    lost = [where for where, _ in lines if where not in indices]
    if indices and lost:
        raise ValueError(f"{lost[0]}: no number of a landmark, expected one as in other rows")
    if indices:
        try:
            rows = ordered_by([indices[where] for where, _ in lines], rows, count, first)
        except ValueError as error:
            way_out = "" if table.columns.keys() & set(_OF_FACE) else (
                "; name the face in a column face, image, file or frame")
            raise ValueError(f"{lines[0][0]} and on: {error}{way_out}") from None
    each = dict(zip(keys, rows.T, strict=True))
    others = {"depth" if key == "z" else key: each[key] for key in keys[2:]}
    where, row = lines[0]
    return _face_of(f"{where} and on", rows[:, :2], others | table.fields(where, row))


def _face_of(where: str, points: Any, fields: Mapping[str, Any]) -> Face:
    try:
        return make_face(points, **fields)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _landmark_indices(
    table: _Table, groups: Collection[Sequence[_Line]]
) -> tuple[dict[str, int], int]:
    """By line, which landmark it is, from 0, and from what the table counts.

    Nothing where it does not number them. Where most rows have a number, those that have none are
    lacking. A number of each row of several faces is none of a landmark.
    """
    if not table.has("landmark"):
        return {}, 0
    cells = {where: table.cell(row, "landmark") for where, row in table.lines
             if len(row) == len(table.header)}
    found = {where: pair for where, cell in cells.items()
             if (pair := landmark_number(cell or "")) is not None}
    numbers = {where: value for where, (word, value) in found.items() if not word}
    if len(numbers) < len(cells) / 2:
        places = landmark_places([cell or "" for cell in cells.values()])
        enough = len(cells) if places else len(cells) / 2
        if len({word for word, _ in found.values()}) != 1 or len(found) < enough:
            indices = dict(zip(cells, places or (), strict=bool(places)))
        else:
            indices = numbers = {where: value for where, (_, value) in found.items()}
        # Other names of landmarks: their order is that of the rows.
        if not _are_different(groups, indices):
            return {}, 0
        if indices is not numbers:
            return indices, 0
    if len(groups) > 1 and len(set(numbers.values())) == len(numbers):
        return {}, 0
    first = 1 if min(numbers.values(), default=0) == 1 else 0
    return {where: value - first for where, value in numbers.items()}, first


def _check_order(
    table: _Table, groups: Collection[Sequence[_Line]], used: Collection[int]
) -> None:
    """ValueError where a column numbers the landmarks of each face otherwise than its rows do."""
    known = {*used, *(i for key, i in table.columns.items() if key not in ("id", "name"))}
    for i, name in enumerate(table.header):
        places = [] if i in known else [
            landmark_places([row[i] if i < len(row) else "" for _, row in lines])
            for lines in groups]
        if any(map(are_shuffled, places)) and all(
            each is not None and sorted(each) == [*range(len(each))] for each in places
        ):
            raise ValueError(f"column '{printable(name)}' has the numbers of landmarks in another "
                             "order than the rows: call it landmark, or leave it out")


def _named(
    table: _Table, stem: str, found: Sequence[tuple[Sequence[str], Face | None]],
    column: str = "face",
) -> list[tuple[str, Face | None]]:
    """Names: of the picture, or the face, or else the file; and of the track where several are.

    Without a column for them, tracks are those of people.
    """
    pictures = picture_names([table.cell(row, "image") or stem for row, _ in found])
    named = []
    for (row, face), picture in zip(found, pictures, strict=True):
        label = from_cell(table.cell(row, "face") or table.cell(row, column) or "")
        name = picture
        only_numbered = label.isdecimal() and (column == "id" or table.has("face"))
        if label and not table.has("image") and not only_numbered:
            name = label
        elif label and label != picture:
            name = f"{picture}#{label}"
        named.append((name, face))
    named = with_tracks(named, stem)
    people = table.header[table.columns["face"]].lower() in _PEOPLE if table.has("face") else False
    several = len({table.cell(row, "face") for row, _ in found} - {"", None}) > 1
    if not people or not several or table.has("track"):
        return named
    return [(name, face if face is None or face.track is None else dataclasses.replace(
        face, track=f"{face.track} {table.cell(row, 'face')}".rstrip()))
        for (name, face), (row, _) in zip(named, found, strict=True)]


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."
