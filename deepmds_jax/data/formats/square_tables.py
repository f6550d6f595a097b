"""Square matrices in tables of text: whole, triangles, or a row for each pair; with names or none.

Or the vector of all pairs.
"""

from typing import NamedTuple

import numpy as np

from deepmds_jax.data.formats.counted_tables import parse_counted
from deepmds_jax.data.formats.faces import only_count
from deepmds_jax.data.formats.pair_tables import (
    check_columns,
    find_pairs,
    is_odd,
    may_be_quantity,
    parse_pairs,
)
from deepmds_jax.data.formats.plain_names import from_cell, printable
from deepmds_jax.data.formats.table_cells import (
    WHOLE,
    Line,
    as_names,
    as_numbers,
    begins_with_quotes,
    is_missing,
    is_numeric,
    is_symmetric,
    is_word,
    split_cells,
)
from deepmds_jax.data.formats.table_grids import (
    check_different,
    read_grid,
    to_square,
    without_padding,
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
    lines = _without_comment_mark(lines)
    # Commas may be decimal points, unless names in quotes come before them.
    may_be_decimals = delimiter == "," and not begins_with_quotes(text)
    vector = _parse_vector(lines, delimiter, may_be_decimals)
    if vector is not None:
        return vector
    counted = parse_counted(text, lines)
    if counted is not None:
        return LabelledMatrix(*counted)
    if may_be_decimals:
        _check_decimals(lines)
    is_numbered = _lacks_corner(lines, may_be_decimals) or _has_numbered_columns(lines)
    pairs = None if is_numbered else find_pairs(lines, may_be_decimals)
    if pairs is not None:
        return LabelledMatrix(*parse_pairs(*pairs, delimiter, directed))
    check_columns(lines)
    if not is_numbered:
        _check_diagonal(lines)
        _check_odd_cells(lines)
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
    if rows is None and columns is None:
        _check_counted_rows(lines)
    for names in (rows, columns):
        check_different(names or ())
    grid = read_grid(lines, delimiter, rows, columns)
    if rows and columns and rows != columns and len(rows) == len(columns):
        # Programs number the rows or columns that have no names, which says nothing of them.
        are_counted = only_count(rows), only_count(columns)
        if any(are_counted) and not _lacks_diagonal(grid, rows, columns):
            rows, columns = (None, columns) if are_counted[0] else (rows, None)
    values, labels = to_square(grid, rows, columns)
    return LabelledMatrix(labels, values, measure, in_corner=measure is not None)


def _without_comment_mark(lines):
    """The lines without the # before a header, as NumPy writes it; not where it is of a name."""
    (at, header), others = lines[0], [line.cells for line in lines[1:]]
    marked = [cell for row in (header, *others) for cell in row if cell.startswith("#")]
    width = max(map(len, others), default=0)
    name = header[0].lstrip("# ")
    are_words = {is_word(cell) for cell in (name, *header[1:]) if cell}
    # Numbers are names only over a square: other rows of numbers may be taken out by the mark.
    if marked != header[:1] or is_numeric(header[0]) or not (
        are_words == {True} or (are_words == {False} and len(others) == width)
    ):
        return lines
    if name and (len(header) == width or 1 < len(header) == width - 1):
        header = [name, *header[1:]]
    elif not name and len(header) == width + 1:
        header = header[1:]
    return [Line(at, header), *lines[1:]]


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
    values = from_pairs(read_grid(rows, delimiter, counts, None).ravel())
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


def _check_counted_rows(lines):
    """ValueError for a triangle whose rows begin with 1, 2, 3, ..., which may be their names."""
    rows = [line.cells for line in without_padding(lines)]
    if len(rows) < 3 or [*map(len, rows)] != [*range(1, len(rows) + 1)]:
        return
    first, last = ([row[i] for row in rows] for i in (0, -1))
    if not all(map(WHOLE.fullmatch, first)):
        return
    has_diagonal = not any(cell.strip("0.,") for cell in last)
    if not has_diagonal and set(np.diff([*map(int, first)])) == {1}:
        raise ValueError(f"a triangle whose rows begin with {first[0]}, {first[1]}, ...: cannot "
                         "tell whether these are names; give the whole matrix, or names in words")


def _check_odd_cells(lines):
    """ValueError for words in the first row or column of what else is a matrix without names.

    A number in the corner says so, if it is of a square and others are in the first row, or if no
    word looks like a name.
    """
    header, first = lines[0].cells, [line.cells[0] for line in lines]
    n, lengths = len(lines), [len(line.cells) for line in lines]
    if lengths not in ([n] * n, [*range(1, n + 1)], [*range(n, 0, -1)]) or is_missing(header[0]):
        return
    cells = [(0, j, cell) for j, cell in enumerate(header)]
    cells += [(i, 0, cell) for i, cell in enumerate(first[1:], 1)]
    words = [(i, j, cell) for i, j, cell in cells if is_word(cell)]
    if any(len(some) > 1 and all(map(is_word, some)) for some in (header, first)):
        return
    others = {is_word(cell) for cell in header[1:] if not is_missing(cell)}
    is_mixed = lengths == [n] * n and all(first) and len(others) == 2 and is_numeric(header[0])
    if words and (is_mixed or all(is_odd(cell) for _, _, cell in words)):
        i, j, cell = words[0]
        raise ValueError(f"line {lines[i].number}, column {j + 1}: '{cell}', expected a number as "
                         "beside it, NA if it is missing, or over a matrix with names a header "
                         "that begins with an empty cell")


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
