"""Tables of text as cells: how they are parted, and which are numbers, names or missing.

Cells are parted by commas, semicolons, tabs or spaces; a comma may be the decimal point, beside
commas in quotes. Empty cells, NA and NaN are missing values.
"""

import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deepmds_jax.data.formats.faces import is_number, lines_to_part, number, without_separator
from deepmds_jax.data.formats.plain_names import from_cell

WHOLE = re.compile(r"\d+")
_THOUSANDS = {mark: re.compile(rf"[+-]?[1-9]\d{{0,2}}({re.escape(mark)}\d{{3}})+") for mark in ",."}
_GROUPED = re.compile(r"[+-]?\d{1,3}([ .,'\u2019\xa0\u202f]\d{3})+([.,]\d+)?")
STARTS_WITH_DIGIT = re.compile(r"\W*\d")  # behind signs, of a currency too
_FORTRAN = re.compile(r"^([+-]?(?:\d+\.\d*|\.\d+))[dD]([+-]?\d+)$")  # double precision


class Line(NamedTuple):
    """The cells of a line, and which of the text it is, from 1."""

    number: int
    cells: list[str]


def split_cells(text):
    """The lines that are not empty, and what parts their cells."""
    text, delimiter = without_separator(text)
    if delimiter is None:
        lines = [line for line in lines_to_part(text) if line.strip()]
        counts = {mark: sum(mark in line for line in lines) for mark in "\t;,"}
        # Commas may be in all names, beside what parts those of a header and most other lines.
        marks = [mark for mark in "\t;" if counts[mark] > len(lines) / 2 and mark in lines[0]]
        delimiter = (marks or [max(counts, key=counts.__getitem__)])[0]
        if not any(counts.values()):
            delimiter = " "
    if delimiter == " ":
        text = "\n".join(line.rstrip() for line in text.splitlines())
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True,
                        skipinitialspace=True)
    try:
        rows = [[_FORTRAN.sub(r"\1e\2", cell.strip()) for cell in row] for row in reader]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None
    lines = [Line(i, row) for i, row in enumerate(rows, 1) if len(row) > 1 or any(row)]
    while lines and not any(lines[-1].cells):  # spreadsheets leave such rows below
        lines.pop()
    while lines and not any(lines[0].cells):
        lines.pop(0)
    if not lines:
        raise ValueError("no rows, expected a matrix")
    while all(len(line.cells) > 1 and not line.cells[-1] for line in lines):  # a mark at each end
        lines = [line._replace(cells=line.cells[:-1]) for line in lines]
    return lines, delimiter


def begins_with_quotes(text):
    """Whether each line does, as where R writes names."""
    return all(line.lstrip().startswith('"') for line in text.splitlines() if line.strip())


def is_numeric(cell):
    """Whether a cell is a number or a missing value."""
    return is_number(cell, ",")


def is_missing(cell):
    """Whether a cell is empty, NA or NaN."""
    return is_numeric(cell) and np.isnan(number(cell, "", ","))


def is_word(cell):
    """Whether a cell is no number, nor one with marks of thousands."""
    return not is_numeric(cell) and not _GROUPED.fullmatch(cell)


def check_marks(lines, delimiter, first=None):
    """ValueError where commas or points may part thousands; cells begin at the column `first`."""
    comma, point = (next(_with(mark, lines), None) for mark in ",.")
    if comma and (point or _may_be_thousands(",", lines)):
        (line, i), way_out = comma, "write it without a comma"
    # Where all numbers have a point, or are 0, its meaning is only a unit.
    elif point and delimiter in ";\t" and _may_be_thousands(".", lines) and any(
        WHOLE.fullmatch(cell.lstrip("+-")) and int(cell) for line in lines for cell in line.cells
    ):
        (line, i), way_out = point, "write it without a point, or every number with one"
    else:
        return
    cell, column = line.cells[i], "" if first is None else f", column {i + first}"
    raise ValueError(f"line {line.number}{column}: '{cell}' may be {re.sub('[,.]', '', cell)} or "
                     f"{cell.replace(',', '.')}: {way_out}")


def _with(mark, lines):
    """The lines and places of the numbers that have a mark."""
    return ((line, i) for line in lines for i, cell in enumerate(line.cells)
            if mark in cell and is_numeric(cell))


def _may_be_thousands(mark, lines):
    return all(_THOUSANDS[mark].fullmatch(line.cells[i]) for line, i in _with(mark, lines))


def as_numbers(rows):
    """The numbers of rows of cells that all are some."""
    return np.array([[number(cell, "", ",") for cell in row] for row in rows])


def is_symmetric(values):
    """Whether both triangles of a square are the same, what is missing too."""
    return np.array_equal(values, values.T, equal_nan=True)


def as_names(cells: Sequence[str]) -> list[str]:
    """Names as cells hold them."""
    return [from_cell(cell) for cell in cells]


def as_number(cell, where):
    """The finite number of a cell, or NaN; ValueError that begins with `where`."""
    try:
        value = number(cell, where, ",")
    except ValueError as error:
        way_out = ""
        if STARTS_WITH_DIGIT.match(cell):
            way_out = ": write it without a unit and marks of thousands, as 1597.8"
        raise ValueError(f"{error}{way_out}") from None
    if np.isinf(value):
        raise ValueError(f"{where}: '{cell}', expected a finite number")
    return value
