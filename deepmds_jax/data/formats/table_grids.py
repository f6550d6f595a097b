"""Numbers of a table as a square matrix, of which it may hold a triangle or lack a row."""

import collections
from collections.abc import Sequence

import numpy as np

from deepmds_jax.data.formats.plain_names import printable
from deepmds_jax.data.formats.table_cells import (
    as_number,
    as_numbers,
    check_marks,
    is_numeric,
    is_symmetric,
)


def read_grid(lines, delimiter, rows, columns):
    """(rows, columns) numbers of lines of cells, NaN where missing; a triangle lies as it should.

    `rows` and `columns` are their names, or None. ValueError for other cells, and other lengths.
    """
    lines = without_padding(lines) if _is_moved(lines) else lines
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
    check_marks(lines, delimiter, first)
    shifted = np.any(steps < 0)  # an upper triangle, moved to the left
    if shifted and columns is not None and len(columns) == width + 1:
        width += 1
    grid = np.full((len(lines), width), np.nan)
    for i, line in enumerate(lines):
        offset = width - len(line.cells) if shifted else 0
        for j, cell in enumerate(line.cells):
            try:
                grid[i, j + offset] = as_number(cell, "")
            except ValueError as error:
                row = "" if rows is None else f" ({printable(rows[i])})"
                column = "" if columns is None else f" ({printable(columns[j + offset])})"
                raise ValueError(f"line {line.number}{row}, column {j + first}{column}"
                                 f"{error}") from None
    return grid


def _is_moved(lines):
    """Whether empty cells fill the ends of an upper triangle whose rows were moved to the left."""
    rows = [line.cells for line in lines]
    lengths = [len(line.cells) for line in without_padding(lines)]
    if len(rows) < 3 or len({*map(len, rows)}) > 1 or lengths[-1] > 1 or not all(
        is_numeric(cell) for row in rows for cell in row
    ):
        return False
    return set(np.diff(lengths)) == {-1} and not is_symmetric(as_numbers(rows))


def to_square(grid, rows, columns):
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


def check_different(names: Sequence[str]) -> None:
    for name, count in collections.Counter(names).items():
        if count > 1:
            raise ValueError(f"{count} points have the name '{printable(name)}', expected "
                             f"different names")


def without_padding(lines):
    """The lines without empty cells at their ends."""
    lengths = [max((i for i, cell in enumerate(line.cells, 1) if cell), default=0)
               for line in lines]
    return [line._replace(cells=line.cells[:length])
            for line, length in zip(lines, lengths, strict=True)]
