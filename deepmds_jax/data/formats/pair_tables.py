"""Lists of pairs in tables of text: a row for each, of two names and a number."""

import collections
import re

import numpy as np

from deepmds_jax.data.formats.measure_words import MEASURES, ONE_MINUS, as_words
from deepmds_jax.data.formats.plain_names import from_cell, printable
from deepmds_jax.data.formats.table_cells import (
    STARTS_WITH_DIGIT,
    WHOLE,
    as_names,
    as_number,
    as_numbers,
    check_marks,
    is_missing,
    is_numeric,
    is_symmetric,
    is_word,
)

# A number, however it is written, and at most a unit.
_QUANTITY = re.compile(r"\W*\d[\d.,' \u2019\xa0\u202f]*[^\W\d_]*\W*")
# What stands for a missing number, but not what stands over names of rows, as # and \.
_MISSING = re.compile(r"[^\w#/\\|@&]+|_+|[+-]?(1\.#\w+|nan\(\w+\))|#[\w/]+[!?]|"
                      r"[\W_]*(n[\W_]*a|nan|null|none|missing)[\W_]*", re.IGNORECASE)
# What pandas and people call the two columns of names.
_AXIS = re.compile(r"level_\d+|index|from|to|source|target|rows?|col(umn)?s?", re.IGNORECASE)


def find_pairs(lines, may_be_decimals):
    """What the values of a list of pairs are called, and its lines as name, name and number.

    None for other tables.

    Args:
      lines: of the table.
      may_be_decimals: whether what parts the cells may be decimal commas.
    """
    header, rows = lines[0].cells, lines[1:]
    if header[-1] == "0" and all(map(_AXIS.fullmatch, header[-3:-1])) and not any(
        {*header[-3:-1]} & {*line.cells} for line in rows
    ):
        header = [*header[:-1], "value"]  # pandas calls a column without a name 0
    tables = [(header, rows), (None, lines)]
    if _has_row_numbers(header, rows, may_be_decimals):
        tables.insert(0, (header[-3:], [line._replace(cells=line.cells[1:]) for line in rows]))
    for header, rows in tables:
        value = _value_column(header, rows)
        if value is not None:
            order = [*(i for i in range(3) if i != value), value]
            return header and from_cell(header[value]), [
                line._replace(cells=[line.cells[i] for i in order]) for line in rows]
    return None


def _has_row_numbers(header, rows, may_be_decimals):
    """Whether the lines of pairs may have numbers before them, as R and pandas write them."""
    if len(header) != 3 and (len(header) != 4 or header[0]):
        return False
    if not all(len(line.cells) == 4 and WHOLE.fullmatch(line.cells[0]) for line in rows):
        return False
    if any(is_word(cell) for line in rows for cell in line.cells):
        return True
    # Numbers for names: three rows of them could be a square, and commas be those of decimals.
    is_decimal = len(header) == 3 and may_be_decimals
    return not is_decimal and (len(rows) != 3 or _is_measure(header[-1], 2))


def _value_column(header, lines):
    """Which of the three columns of pairs has the values; None where these are no pairs."""
    rows = [line.cells for line in lines]
    if not rows or any(len(row) != 3 for row in rows):
        return None
    if header is not None and (len(header) != 3 or not all(header)):
        return None
    measures = [2] if header is None else [i for i in (2, 0, 1) if _is_measure(header[i], i)]
    names = [i for i in range(3) if not any(is_numeric(row[i]) for row in rows)]
    if len(names) == 3:  # the numbers are badly written
        value = 2 if any(STARTS_WITH_DIGIT.match(row[2]) for row in rows) else None
    elif len(names) == 2:
        value = 3 - sum(names)
        value = value if value in (2, *measures) else None
    else:
        # Of several, such as distance_from and distance_to, none says where the values are.
        measures = [2] if len(measures) > 1 else measures
        value = next((i for i in measures if _are_numbered(rows, header, i)), None)
    if value is not None and header is not None and may_be_quantity(header[value]):
        return None
    return value


def may_be_quantity(cell):
    """Whether a cell may be a number that is badly written, and no name of what values are."""
    if is_numeric(cell) or _QUANTITY.fullmatch(cell):
        return True
    is_name = ONE_MINUS.match(cell) or as_words(cell) & (MEASURES | {"2d", "3d"})
    return bool(STARTS_WITH_DIGIT.match(cell)) and not is_name


def is_odd(cell):
    """Whether a word is rather a number with marks, or stands for a missing one, than a name."""
    is_marked = bool(_QUANTITY.fullmatch(cell)) and not cell.isalnum()
    return is_marked or bool(_MISSING.fullmatch(cell))


def _are_numbered(rows, header, value):
    """Whether the other two of three columns may hold names, some or all of which are numbers."""
    pairs = [[cell for i, cell in enumerate(row) if i != value] for row in rows]
    if not all(is_numeric(row[value]) for row in rows) or not _may_be_names(pairs, header):
        return False
    if header is None:  # as ratings are, or of three rows a square, unless every pair is there
        same = [row[2] for row in rows if row[0] == row[1]]
        return len(rows) > 3 and _has_all(pairs) and not any(cell.strip("+-0.,") for cell in same)
    if len(rows) != 3:
        return True
    if not any(rows[i][i].strip("0.,") for i in range(3)):  # the diagonal of a square
        return False
    if not all(is_numeric(cell) for row in rows for cell in row):
        return True
    # What speaks for pairs, and what for a square, if not both or neither: d may be a point.
    are_three = _has_all(pairs) and all(one != other for one, other in pairs)
    are_pairs = are_three or len(header[value]) > 1
    if are_pairs == is_symmetric(as_numbers(rows)):
        one = pairs[0][0]
        raise ValueError(f"three rows of numbers under {', '.join(map(printable, header))} may be "
                         f"pairs or a matrix: to pairs add that of one with itself and 0, as {one},"
                         f"{one},0; give the rows of a matrix the names of its columns")
    return are_pairs


def _may_be_names(pairs, header):
    """Whether the cells of pairs are whole numbers, or words and numbers in the same column."""
    columns = list(zip(*pairs, strict=True))
    cells = [cell for column in columns for cell in column]
    if all(map(WHOLE.fullmatch, cells)):
        return True
    # Names of columns that are those of rows, too, are of a square with a corner.
    is_square = bool(set(header or ()) & set(cells))
    is_mixed = any(len(set(map(is_word, column))) == 2 for column in columns)
    return is_mixed and not is_square and not any(map(is_missing, cells))


def _has_all(pairs):
    """Whether every pair of different names is there, in one direction or both."""
    found = collections.Counter(frozenset(pair) for pair in pairs if pair[0] != pair[1])
    n = len(set().union(*found))
    return len(found) == n * (n - 1) / 2 > 0 and max(found.values()) <= 2


def _is_measure(name, column):
    """Whether a column is called as values are. A letter may be that of a point."""
    if len(name) == 1:
        return name.lower() == "d" and column == 2
    return bool(as_words(name) & MEASURES)


def check_columns(lines):
    """ValueError for lists of pairs that have more columns."""
    rows = [line.cells for line in lines[1:] or lines]
    width = len(rows[0])
    if width < 4 or any(len(row) != width for row in rows):
        return
    columns = list(zip(*(row[:4] for row in rows), strict=True))
    names = sum(all(map(is_word, column)) and any(cell[:1].isalpha() for cell in column)
                for column in columns)
    if names < 2:
        return
    if (expected := len(lines[0].cells)) < width:
        raise ValueError(f"line {lines[1].number}: {width} cells, expected {expected} as in the "
                         "header; where commas part the cells write 1.5, not 1,5")
    raise ValueError(f"rows of {('two', 'three', 'four')[names - 2]} names and {width - names} "
                     f"number{'s' * (width > names + 1)}, expected one number for each pair and "
                     "its two names: delete the other columns, and give each subject a file")


def parse_pairs(measure, lines, delimiter, directed):
    """Names of the points, (n, n) values, NaN where missing, and `measure` if it says something.

    Args:
      measure, lines: from `find_pairs`.
      delimiter: of the cells.
      directed: whether the two directions of a pair may differ.
    """
    _check_same_things(lines)
    check_marks([line._replace(cells=line.cells[2:]) for line in lines], delimiter)
    labels: dict[str, int] = {}
    found: dict[tuple[int, int], tuple[float, int]] = {}
    for line in lines:
        names = [from_cell(cell) for cell in line.cells[:2]]
        i, j = (labels.setdefault(name, len(labels)) for name in names)
        value = as_number(line.cells[2], f"line {line.number}")
        for pair in ((i, j),) if directed else ((i, j), (j, i)):
            before, where = found.get(pair, (value, 0))
            if before != value and not np.isnan([before, value]).all():
                way_out = "" if pair == (i, j) else "; --mean takes the mean of both"
                raise ValueError(f"line {line.number}: {printable(names[0])} and "
                                 f"{printable(names[1])} have {value:g}, but {before:g} in line "
                                 f"{where}{way_out}")
        found.setdefault((i, j), (value, line.number))
    values = np.full((len(labels), len(labels)), np.nan)
    np.fill_diagonal(values, 0)
    for (i, j), (value, _) in found.items():
        values[i, j] = value
        if (j, i) not in found:
            values[j, i] = value
    # R calls the values Freq whatever they are; those of a whole matrix of distances, too.
    is_whole = len(found) == values.size and not np.diag(values).any()
    if is_whole and measure is not None and measure.lower() == "freq":
        measure = None
    return list(labels), values, measure


def _check_same_things(lines):
    """ValueError for pairs of different things, such as judges and what they rate.

    Pairs that all have one point in common share no name either, nor do pairs without any.
    """
    one, other = (list(dict.fromkeys(as_names([line.cells[i] for line in lines]))) for i in (0, 1))
    are_apart = len(one) == len(other) == len(lines)
    if min(len(one), len(other)) > 1 and not are_apart and not set(one) & set(other):
        raise ValueError(f"the two columns of names share none ('{printable(one[0])}', ... and "
                         f"'{printable(other[0])}', ...), as of rows and columns of different "
                         "things, which dm.mds.unfold places; expected pairs of the same things: "
                         "if these are, add that of one with itself and 0, as "
                         f"{printable(one[0])},{printable(one[0])},0")
