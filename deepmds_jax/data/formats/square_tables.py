"""Square matrices in tables of text: whole, triangles, or a row for each pair; with names or none.

Cells are parted by commas, semicolons, tabs or spaces; beside semicolons and tabs a comma may be
the decimal point. Empty cells, NA and NaN are missing values.
"""

import collections
import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deepmds_jax.data.formats.faces import (
    is_number,
    number,
    only_count,
    without_quoted,
    without_separator,
)
from deepmds_jax.data.formats.plain_names import from_cell, printable

# What the third column of pairs may be called, in lower case, where the first two hold numbers.
_MEASURES = ("distance", "dissimilarity", "dist", "similarity", "value", "d", "delta", "weight",
             "freq")
_WHOLE = re.compile(r"\d+")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")


class LabelledMatrix(NamedTuple):
    """A square matrix of n named points.

    Attributes:
      labels: n different names.
      values: (n, n) float64, NaN where missing.
    """

    labels: list[str]
    values: np.ndarray


class _Line(NamedTuple):
    number: int
    cells: list[str]


def parse_square(text: str) -> LabelledMatrix:
    """The matrix of a text; both triangles are the same where it has only one.

    Raises:
      ValueError: it is no such text; says in which row and column.
    """
    lines, decimal = _split(text)
    lines = _without_row_numbers(lines, decimal)
    # Names stand in the first line, and in the first cells of others.
    words = [[not is_number(cell, decimal) for cell in line.cells[:None if i == 0 else 3]]
             for i, line in enumerate(lines)]
    is_numbered = _has_numbered_columns(lines, decimal)
    if not is_numbered and _are_pairs(lines, words, None):
        return _parse_pairs(lines, decimal)
    header = lines[0].cells if is_numbered or _is_header(lines, words) else None
    if header is not None:
        lines, words = lines[1:], words[1:]
        if not lines:
            raise ValueError("no rows under the header, expected numbers")
    if header is not None and not is_numbered and _are_pairs(lines, words, header):
        return _parse_pairs(lines, decimal)
    if all(len(line.cells) > 3 and row[0] and row[1] and not any(row[2:])
           for line, row in zip(lines, words, strict=True)):
        raise ValueError(f"rows of two names and {len(lines[0].cells) - 2} numbers, expected one "
                         "number for each pair")
    rows = _row_names(lines, words, header)
    columns = None if header is None else _names(header)
    if rows is not None:
        lines = [line._replace(cells=line.cells[1:]) for line in lines]
        width = max(len(line.cells) for line in lines)
        if columns and (not columns[0] or (len(columns) > width and columns[0] not in rows)):
            columns = columns[1:]  # without the corner
    for names in (rows, columns):
        _check_different(names or ())
    grid = _read_grid(lines, decimal, rows, columns)
    if rows and columns and rows != columns and len(rows) == len(columns):
        # Programs number the rows or columns that have no names, which says nothing of them.
        if only_count(rows):
            rows = None
        elif only_count(columns):
            columns = None
    values, labels = _to_square(grid, rows, columns)
    return LabelledMatrix(labels, values)


def _split(text):
    """The lines that are not empty, and the decimal point."""
    text, delimiter = without_separator(text)
    if delimiter is None:
        lines = without_quoted(text).splitlines()
        counts = {mark: sum(mark in line for line in lines) for mark in "\t;,"}
        delimiter = max(counts, key=counts.__getitem__) if any(counts.values()) else " "
    if delimiter == " ":
        text = "\n".join(line.rstrip() for line in text.splitlines())
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True,
                        skipinitialspace=True)
    try:
        rows = [[cell.strip() for cell in row] for row in reader]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None
    lines = [_Line(i, row) for i, row in enumerate(rows, 1) if len(row) > 1 or any(row)]
    while lines and not any(lines[-1].cells):  # spreadsheets leave such rows below
        lines.pop()
    while lines and not any(lines[0].cells):
        lines.pop(0)
    if not lines:
        raise ValueError("no rows, expected a matrix")
    while all(len(line.cells) > 1 and not line.cells[-1] for line in lines):  # a mark at each end
        lines = [line._replace(cells=line.cells[:-1]) for line in lines]
    decimal = "," if delimiter in ";\t" else "."
    if decimal == ",":
        _check_commas(lines)
    return lines, decimal


def _check_commas(lines):
    """ValueError where commas may part thousands."""
    marked = [(line.number, i, cell) for line in lines for i, cell in enumerate(line.cells, 1)
              if "," in cell and is_number(cell.replace(",", ""))]
    points = any("." in cell and is_number(cell) for line in lines for cell in line.cells)
    if marked and (points or all(_THOUSANDS.fullmatch(cell) for *_, cell in marked)):
        row, column, cell = marked[0]
        raise ValueError(f"line {row}, column {column}: '{cell}' may be {cell.replace(',', '')} or "
                         f"{cell.replace(',', '.', 1)}: write it without a comma")


def _without_row_numbers(lines, decimal):
    """Lines of pairs without the numbers of their rows, which R and pandas write before them."""
    header, *others = [line.cells for line in lines]
    if header[0] or not others or any(len(row) != 4 for row in (header, *others)):
        return lines
    names = [cell for row in others for cell in row[1:3]]
    # Numbers for names: three rows of them could be a square.
    may_be_numbers = header[-1].lower() in _MEASURES and len(others) != 3
    named = ((may_be_numbers and all(map(_WHOLE.fullmatch, names)))
             or not any(is_number(cell, decimal) for cell in names))
    if not (named and all(_WHOLE.fullmatch(row[0]) for row in others)):
        return lines
    return [line._replace(cells=line.cells[1:]) for line in lines]


def _is_header(lines, words):
    """Whether the first line holds names of columns."""
    first, others = lines[0].cells, lines[1:]
    if any(words[0][1:]):
        return True
    if not others:
        return False
    if not first[0]:  # an empty corner, unless that column is empty below, too
        return all(line.cells[0] for line in others)
    # A name in one row only is that of the column of names.
    return words[0][0] and not any(row[0] for row in words[1:])


def _has_numbered_columns(lines, decimal):
    """Whether the first line holds numbers for names, above a matrix with a zero diagonal."""
    header, *rows = [line.cells for line in lines]
    n = len(header)
    if n < 3 or len(rows) != n or any(len(row) != n for row in rows) or len(set(header)) < n:
        return False
    if not all(_WHOLE.fullmatch(cell) for cell in header) or not all(
        is_number(cell, decimal) for row in rows for cell in row
    ):
        return False
    values = np.array([[number(cell, "", decimal) for cell in row] for row in rows])
    return not np.diag(values).any() and np.array_equal(values, values.T, equal_nan=True)


def _are_pairs(lines, words, header):
    """Whether the lines are of two names and a number each."""
    cells = [line.cells for line in lines]
    if any(len(row) != 3 for row in cells) or any(row[2] for row in words):
        return False
    if all(row[0] and row[1] for row in words):
        return True
    if not all(_WHOLE.fullmatch(cell) for row in cells for cell in row[:2]):
        return False
    # Numbers for names: of three columns only three rows are a square.
    return len(cells) > 3 if header is None else header[-1].lower() in _MEASURES


def _parse_pairs(lines, decimal):
    labels: dict[str, int] = {}
    found: dict[tuple[int, int], tuple[float, int]] = {}
    for line in lines:
        names = [from_cell(cell) for cell in line.cells[:2]]
        i, j = sorted(labels.setdefault(name, len(labels)) for name in names)
        value = _number(line.cells[2], f"line {line.number}", decimal)
        before, where = found.setdefault((i, j), (value, line.number))
        if before != value and not np.isnan([before, value]).all():
            raise ValueError(f"line {line.number}: {printable(names[0])} and {printable(names[1])} "
                             f"have {value:g}, but {before:g} in line {where}")
    values = np.full((len(labels), len(labels)), np.nan)
    np.fill_diagonal(values, 0)
    for (i, j), (value, _) in found.items():
        values[i, j] = values[j, i] = value
    return LabelledMatrix(list(labels), values)


def _row_names(lines, words, header):
    """The first cell of each line, if these are names."""
    names = _names([line.cells[0] for line in lines])
    if any(row[0] for row in words):
        return names
    if header is None:
        return None
    width = max(len(line.cells) for line in lines)
    is_named = len(header) == width - 1 or _names(header)[1:] == names
    return names if is_named or (not header[0] and all(names)) else None


def _check_different(names: Sequence[str]) -> None:
    for name, count in collections.Counter(names).items():
        if count > 1:
            raise ValueError(f"{count} points have the name '{printable(name)}', expected "
                             f"different names")


def _names(cells: Sequence[str]) -> list[str]:
    return [from_cell(cell) for cell in cells]


def _number(cell, where, decimal):
    value = number(cell, where, decimal)
    if np.isinf(value):
        raise ValueError(f"{where}: '{cell}', expected a finite number")
    return value


def _read_grid(lines, decimal, rows, columns):
    """(rows, columns) numbers, NaN where empty or missing; a ragged triangle lies as it should."""
    lengths = [len(line.cells) for line in lines]
    width, first = max(lengths), 2 if rows is not None else 1
    if columns is not None and width > len(columns):
        raise ValueError(f"line {lines[lengths.index(width)].number}: {width} numbers under "
                         f"{len(columns)} names of columns")
    steps = np.diff(lengths)
    if len(set(steps)) > 1 or np.any(np.abs(steps) > 1):
        usual = collections.Counter(lengths).most_common(1)[0][0]
        odd = next(i for i, length in enumerate(lengths) if length != usual)
        raise ValueError(f"line {lines[odd].number}: {lengths[odd]} numbers, expected {usual} as "
                         "in other lines, or one more or less in each for a triangle")
    shifted = np.any(steps < 0)  # an upper triangle, moved to the left
    grid = np.full((len(lines), width), np.nan)
    for i, line in enumerate(lines):
        offset = width - len(line.cells) if shifted else 0
        for j, cell in enumerate(line.cells):
            try:
                grid[i, j + offset] = _number(cell, "", decimal)
            except ValueError as error:
                row = "" if rows is None else f" ({printable(rows[i])})"
                column = "" if columns is None else f" ({printable(columns[j + offset])})"
                raise ValueError(f"line {line.number}{row}, column {j + first}{column}"
                                 f"{error}") from None
    return grid


def _to_square(grid, rows, columns):
    """(n, n) values, and n labels, of a grid that may lack a row, a column and a triangle."""
    known = np.argwhere(~np.isnan(grid))
    if not len(known):
        raise ValueError("no numbers, expected a matrix")
    if rows is not None and columns is not None:
        labels = _merge(rows, columns)
        at = [labels.index(name) for name in rows], [labels.index(name) for name in columns]
    else:
        labels = rows if rows is not None else columns
        n = _count_points(grid) if labels is None else len(labels)
        labels = [str(i + 1) for i in range(n)] if labels is None else labels
        at = [np.arange(offset, offset + length)
              for offset, length in zip(_offsets(grid, known, n), grid.shape, strict=True)]
    values = np.full((len(labels), len(labels)), np.nan)
    values[np.ix_(at[0], at[1][:grid.shape[1]])] = grid
    i, j = np.nonzero(~np.isnan(values))
    if np.all(i >= j) or np.all(i <= j):
        values = np.where(np.isnan(values), values.T, values)
    elif grid.shape != values.shape:
        raise ValueError(f"{grid.shape[0]} rows of {grid.shape[1]} numbers for {len(values)} "
                         "points, expected a square or a triangle")
    return values, labels


def _merge(rows, columns):
    """All names in their order, of names of rows and of columns, either of which may lack one."""
    if set(columns) <= set(rows):
        return rows
    if set(rows) <= set(columns):
        return columns
    # A triangle without its diagonal lacks the first name on one side, and the last on the other.
    one, other = (columns, rows) if columns[0] not in rows else (rows, columns)
    if one[1:] != other[:-1]:
        lacking = next(name for name in rows if name not in columns)
        raise ValueError(f"the row '{printable(lacking)}' has no column of that name, expected the "
                         "same names in both")
    return [*one, other[-1]]


def _count_points(grid):
    """How many points an unnamed grid is of."""
    num_rows, num_columns = grid.shape
    diagonal = np.nan_to_num(np.diag(grid))
    i, j = np.nonzero(~np.isnan(grid))
    if num_rows != num_columns or (np.any(i < j) and np.any(i > j)) or not np.any(diagonal):
        return max(grid.shape)
    if num_rows > 1 and np.all(diagonal == diagonal[0]):
        raise ValueError(f"a triangle that ends in {diagonal[0]:g} in each row: cannot tell "
                         "whether these are a diagonal; name the rows, or give the whole matrix")
    return num_rows + 1


def _offsets(grid, known, n):
    """At which row and column of the (n, n) matrix the grid begins."""
    i, j = known.T
    num_rows, num_columns = grid.shape
    if num_rows == num_columns == n:
        return 0, 0
    # A row or column is lacking only beside a triangle without its diagonal.
    fits = [(a, b) for a in range(n - num_rows + 1) for b in range(n - num_columns + 1)
            if np.all(i + a > j + b) or np.all(i + a < j + b)]
    if not fits or max(n - num_rows, n - num_columns) > 1:
        raise ValueError(f"{num_rows} rows of up to {num_columns} numbers, expected a square, a "
                         f"triangle, or rows of two names and a number")
    return fits[0]
