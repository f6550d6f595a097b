"""Square matrices in tables of text: whole, triangles, or a row for each pair; with names or none.

Or the vector of all pairs.
"""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deepmds_jax.data.formats.faces import only_count
from deepmds_jax.data.formats.pair_tables import (
    check_columns,
    find_pairs,
    may_be_quantity,
    parse_pairs,
)
from deepmds_jax.data.formats.plain_names import from_cell, printable
from deepmds_jax.data.formats.table_cells import (
    WHOLE,
    as_names,
    as_number,
    as_numbers,
    begins_with_quotes,
    check_marks,
    is_missing,
    is_numeric,
    is_symmetric,
    is_word,
    split_cells,
)


class LabelledMatrix(NamedTuple):
    """A square matrix of n named points.

    Attributes:
      labels: n different names.
      values: (n, n) float64, NaN where missing.
      measure: what the file calls the values, if it does.
      in_corner: whether that stands in the corner of the matrix, which may as well name the rows.
    """

    labels: list[str]
    values: np.ndarray
    measure: str | None = None
    in_corner: bool = False


def parse_square(text: str, directed: bool = False) -> LabelledMatrix:
    """The matrix of a text; both triangles are the same where it has only one.

    Args:
      text: the table.
      directed: whether `a,b,1` and `b,a,2` are entries of their own, instead of an error.

    Raises:
      ValueError: it is no such text; says in which row and column.
    """
    lines, delimiter = split_cells(text)
    # Commas may be decimal points, unless names in quotes come before them.
    may_be_decimals = delimiter == "," and not begins_with_quotes(text)
    vector = _parse_vector(lines, delimiter, may_be_decimals)
    if vector is not None:
        return vector
    if may_be_decimals:
        _check_decimals(lines)
    is_numbered = _lacks_corner(lines, may_be_decimals) or _has_numbered_columns(lines)
    pairs = None if is_numbered else find_pairs(lines)
    if pairs is not None:
        return LabelledMatrix(*parse_pairs(*pairs, delimiter, directed))
    check_columns(lines)
    if not is_numbered:
        _check_diagonal(lines)
    # Names stand in the first line, and in the first cells of others.
    words = [[is_word(cell) for cell in line.cells[:None if i == 0 else 1]]
             for i, line in enumerate(lines)]
    if _has_names_like_numbers(lines):
        words = [[not is_numeric(cell) for cell in line.cells[:len(row)]]
                 for line, row in zip(lines, words, strict=True)]
    header = lines[0].cells if is_numbered or _is_header(lines, words) else None
    if header is not None:
        lines, words = lines[1:], words[1:]
        if not lines:
            raise ValueError("no rows under the header, expected numbers")
    rows = _row_names(lines, words, header)
    columns, measure = None if header is None else as_names(header), None
    if rows is not None:
        lines = [line._replace(cells=line.cells[1:]) for line in lines]
        width = max(len(line.cells) for line in lines)
        if columns and (not columns[0] or (len(columns) > width and columns[0] not in rows)):
            measure, *columns = columns  # in the corner
    for names in (rows, columns):
        _check_different(names or ())
    grid = _read_grid(lines, delimiter, rows, columns)
    if rows and columns and rows != columns and len(rows) == len(columns):
        # Programs number the rows or columns that have no names, which says nothing of them.
        are_counted = only_count(rows), only_count(columns)
        if any(are_counted) and not _lacks_diagonal(grid, rows, columns):
            rows, columns = (None, columns) if are_counted[0] else (rows, None)
    values, labels = _to_square(grid, rows, columns)
    return LabelledMatrix(labels, values, measure, in_corner=measure is not None)


def _parse_vector(lines, delimiter, may_be_decimals):
    """The matrix of a vector of all pairs; None for other tables.

    What its numbers are called may stand over their column, and programs count them.
    """
    header, rows = lines[0].cells, lines
    measure = counts = None
    has_corner = header[:-1] == [""] or (len(header) == 1 and not may_be_decimals)
    if has_corner and all(len(line.cells) == 2 for line in lines[1:]):
        counts = [line.cells[0] for line in lines[1:]]
        measure, rows = header[-1], [line._replace(cells=line.cells[1:]) for line in lines[1:]]
    elif len(header) == 1 and not may_be_quantity(header[0]):
        measure, rows = header[0], lines[1:]
    if measure is not None and (len(rows) < 3 or rows[0].number != lines[0].number + 1):
        return None
    if not _is_vector(rows) or not only_count(counts or []):
        return None
    values = from_pairs(_read_grid(rows, delimiter, counts, None).ravel())
    labels = [str(i + 1) for i in range(len(values))]
    return LabelledMatrix(labels, values, measure and from_cell(measure))


def _is_vector(lines):
    """Whether these are three or more numbers in one row, or in one column without gaps."""
    cells = [cell for line in lines for cell in line.cells]
    if len(cells) < 3 or not all(map(is_numeric, cells)):
        return False
    is_column = len(lines) == len(cells) == lines[-1].number - lines[0].number + 1
    return len(lines) == 1 or is_column


def from_pairs(pairs: np.ndarray) -> np.ndarray:
    """(n, n) of the (n (n - 1) / 2,) pairs i < j, in the order of SciPy's `pdist` and R's `dist`.

    Raises:
      ValueError: a number of pairs that no n points have.
    """
    n = round((1 + np.sqrt(1 + 8 * len(pairs))) / 2)
    if n * (n - 1) / 2 != len(pairs):
        raise ValueError(f"a vector of {len(pairs)} numbers, expected n (n - 1) / 2 for n points")
    values = np.zeros((n, n))
    values[np.triu_indices(n, 1)] = pairs
    return values + values.T


def _check_decimals(lines):
    """ValueError for three or more numbers in one column with commas, which may be of decimals."""
    rows = lines[len(lines[0].cells) == 1 and not is_numeric(lines[0].cells[0]):]
    if len(rows) < 3 or any(len(line.cells) > 2 for line in rows) or not all(
        WHOLE.fullmatch(cell.lstrip("+-")) for line in rows for cell in line.cells
    ):
        return
    for line in rows:
        if len(line.cells) == 2:
            one, other = line.cells
            raise ValueError(f"line {line.number}: '{one},{other}' is two numbers, expected a "
                             "matrix, or a column of all pairs; if the comma is a decimal point "
                             f"write {one}.{other}, or sep=; in a line before all others")


def _check_diagonal(lines):
    """ValueError for both triangles without what lies between, as R prints them."""
    header, *rows = [line.cells for line in lines]
    n = len(header)
    if n > 2 and [row[0] for row in rows] == header and all(
        len(row) == n and not any(map(is_missing, row)) for row in rows
    ):
        raise ValueError(f"{n} rows of {n - 1} numbers for {n} points, expected a square or a "
                         "triangle; R prints the diagonal of a square with diag=TRUE")


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


def _has_numbered_columns(lines):
    """Whether the first line holds numbers for names, above a matrix with a zero diagonal."""
    header, *rows = [line.cells for line in lines]
    n = len(header)
    if n < 3 or len(rows) != n or any(len(row) != n for row in rows) or len(set(header)) < n:
        return False
    if not all(WHOLE.fullmatch(cell) for cell in header) or not all(
        is_numeric(cell) for row in rows for cell in row
    ):
        return False
    values = as_numbers(rows)
    return not np.diag(values).any() and is_symmetric(values)


def _lacks_corner(lines, may_be_decimals):
    """Whether the first line holds names, of numbers too, over rows that begin with theirs.

    So R writes a whole matrix, and prints a triangle with a diagonal of 0, or without, where the
    rows begin with the second point.
    """
    header, *rows = [line.cells for line in lines]
    names, lengths = [row[0] for row in rows], [len(row) - 1 for row in rows]
    n = len(header)
    if n < 2 or len(rows) != n or len(set(header)) < n:
        return False
    if lengths == [n] * n:
        return names == header and not may_be_decimals
    if lengths != [*range(1, n + 1)]:
        return False
    has_diagonal = names == header and not any(row[-1].strip("0.,") for row in rows)
    return has_diagonal or names[:-1] == header[1:]


def _has_names_like_numbers(lines):
    """Whether what looks like numbers with marks of thousands are names, beside a square of others.

    They are if all of the first line, of the first column, or of both are different and no numbers.
    """
    rows = [line.cells for line in lines]
    for has_header, has_names in ((0, 1), (1, 0), (1, 1)):
        n = len(rows) - has_header
        below = rows[has_header:]
        names = [rows[0][-n:]] * has_header + [[row[0] for row in below]] * has_names
        square = [row[has_names:] for row in below]
        if n > 1 and all(len(row) == n and all(map(is_numeric, row)) for row in square) and all(
            len(set(some)) == n and not any(map(is_numeric, some)) for some in names
        ):
            return True
    return False


def _row_names(lines, words, header):
    """The first cell of each line, if these are names."""
    names = as_names([line.cells[0] for line in lines])
    if any(row[0] for row in words):
        return names
    if header is None:
        return None
    width = max(len(line.cells) for line in lines)
    is_named = len(header) == width - 1 or as_names(header)[1:] == names
    return names if is_named or (not header[0] and all(names)) else None


def _lacks_diagonal(grid, rows, columns):
    """Whether numbers for names say that a triangle begins beside its diagonal.

    Raises:
      ValueError: what it begins with may be its diagonal as well.
    """
    i, j = known = np.nonzero(~np.isnan(grid))
    is_lower = rows[:-1] == columns[1:] and np.all(i >= j)
    is_upper = rows[1:] == columns[:-1] and np.all(i <= j)
    if len(rows) < 2 or not np.size(known) or not (is_lower or is_upper):
        return False
    diagonal = np.diag(grid)
    names = [columns[0], *rows] if is_lower else [rows[0], *columns]
    are_names = only_count(names) and len(set(np.nan_to_num(diagonal))) > 1
    # Programs count rows, and columns from 0 on; columns from 1 on are rather names.
    may_count = only_count(rows) or columns[0] == "0"
    if np.isnan(diagonal).all() or (may_count and not are_names):
        one, other = (", ".join(map(printable, some[:2])) for some in (rows, columns))
        raise ValueError(f"a triangle of rows {one}, ... under columns {other}, ..., with "
                         f"{diagonal[0]:g}, ... where its diagonal may be: give rows and columns "
                         "the same names, or the whole matrix")
    return True


def _check_different(names: Sequence[str]) -> None:
    for name, count in collections.Counter(names).items():
        if count > 1:
            raise ValueError(f"{count} points have the name '{printable(name)}', expected "
                             f"different names")


def _read_grid(lines, delimiter, rows, columns):
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
    check_marks(lines, delimiter, first)
    shifted = np.any(steps < 0)  # an upper triangle, moved to the left
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
