"""Square matrices in tables of text: whole, triangles, or a row for each pair; with names or none.

Or the vector of all pairs. Cells are parted by commas, semicolons, tabs or spaces; a comma may be
the decimal point, beside commas in quotes. Empty cells, NA and NaN are missing values.
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
    lines_to_part,
    number,
    only_count,
    without_separator,
)
from deepmds_jax.data.formats.plain_names import from_cell, printable

# Words in what values are called that say, or may say, that these are similarities.
_SIMILAR = {
    "similarity", "similarities", "similar", "sim", "freq", "freqs", "frequency", "frequencies",
    "count", "counts", "n", "r", "rho", "cor", "corr", "correlation", "correlations", "covariance",
    "covariances", "cosine", "kernel", "occurrence", "occurrences", "cooccurrence", "cooccurrences",
    "confusion", "confusions", "proximity", "proximities", "affinity", "affinities", "closeness",
    "overlap", "shared", "common", "agreement", "weight", "weights", "strength", "strengths",
    "likeness", "kappa", "association", "associations", "concordance", "pearson", "spearman",
    "kendall", "tau", "jaccard", "tanimoto", "dice", "r2", "kinship", "identity", "score", "scores",
    "bitscore", "rating", "ratings", "relatedness", "mutual", "pmi", "coherence", "connectivity",
    "cocitation", "cocitations", "match", "matches", "resemblance", "alignment", "icc", "phi", "ld",
    "lod", "links", "votes", "trade", "flow",
    "häufigkeit", "anzahl", "fréquence", "frecuencia", "semejanza", "ähnlichkeit", "ähnlichkeiten",
    "korrelation", "korrelationen", "similarité", "similarités", "corrélation", "corrélations",
    "similitud", "correlación", "somiglianza", "correlazione",
}  # fmt: skip
_DISSIMILAR = {
    "d", "delta", "dist", "distance", "distances", "dissimilarity", "dissimilarities", "difference",
    "differences", "dissimilar", "dissim", "dissims", "diss", "abstand", "distanz", "distancia",
    "distanza",
}  # fmt: skip
# Those of `_SIMILAR` that say nothing else, even where a corner may as well name the rows.
_ONLY_SIMILAR = {
    "similarity", "similarities", "correlation", "correlations", "cooccurrence", "cooccurrences",
    "confusion", "confusions", "proximity", "proximities", "affinity", "affinities",
}
_MEASURES = _SIMILAR | _DISSIMILAR | {"value"}
_WHOLE = re.compile(r"\d+")
_THOUSANDS = {mark: re.compile(rf"[+-]?[1-9]\d{{0,2}}({re.escape(mark)}\d{{3}})+") for mark in ",."}
_GROUPED = re.compile(r"[+-]?\d{1,3}([ .,'\u2019\xa0\u202f]\d{3})+([.,]\d+)?")
# A number, however it is written, and at most a unit.
_QUANTITY = re.compile(r"\W*\d[\d.,' \u2019\xa0\u202f]*[^\W\d_]*\W*")
_ONE_MINUS = re.compile(r"[\s(]*1\s*[-\u2212\u2013]\s*(?![\s\d])")  # a similarity
_STARTS_WITH_DIGIT = re.compile(r"\W*\d")  # behind signs, of a currency too


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


class _Line(NamedTuple):
    number: int
    cells: list[str]


def says_similarity(name: str, surely: bool = False) -> bool:
    """Whether what values are called says that these are similarities, or if not surely, may."""
    words = _words(re.sub(r"\bco[\W_]+(?=occurrence|citation)", "co", name.lower()))
    similar = words & (_ONLY_SIMILAR if surely else _SIMILAR)
    return bool(similar) and not words & _DISSIMILAR and not _ONE_MINUS.match(name)


def _words(name):
    return set(re.split(r"[\W_]+", name.lower()))


def parse_square(text: str, directed: bool = False) -> LabelledMatrix:
    """The matrix of a text; both triangles are the same where it has only one.

    Args:
      text: the table.
      directed: whether `a,b,1` and `b,a,2` are entries of their own, instead of an error.

    Raises:
      ValueError: it is no such text; says in which row and column.
    """
    lines, delimiter = _split(text)
    # Commas may be decimal points, unless names in quotes come before them.
    may_be_decimals = delimiter == "," and not _begins_with_quotes(text)
    vector = _parse_vector(lines, delimiter, may_be_decimals)
    if vector is not None:
        return vector
    if may_be_decimals:
        _check_decimals(lines)
    is_numbered = _lacks_corner(lines, may_be_decimals) or _has_numbered_columns(lines)
    pairs = None if is_numbered else _find_pairs(lines)
    if pairs is not None:
        return _parse_pairs(*pairs, delimiter, directed)
    _check_columns(lines)
    if not is_numbered:
        _check_diagonal(lines)
    # Names stand in the first line, and in the first cells of others.
    words = [[_is_word(cell) for cell in line.cells[:None if i == 0 else 1]]
             for i, line in enumerate(lines)]
    if _has_names_like_numbers(lines):
        words = [[not _is_number(cell) for cell in line.cells[:len(row)]]
                 for line, row in zip(lines, words, strict=True)]
    header = lines[0].cells if is_numbered or _is_header(lines, words) else None
    if header is not None:
        lines, words = lines[1:], words[1:]
        if not lines:
            raise ValueError("no rows under the header, expected numbers")
    rows = _row_names(lines, words, header)
    columns, measure = None if header is None else _names(header), None
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


def _split(text):
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
    return lines, delimiter


def _begins_with_quotes(text):
    """Whether each line does, as where R writes names."""
    return all(line.lstrip().startswith('"') for line in text.splitlines() if line.strip())


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
    elif len(header) == 1 and not _may_be_quantity(header[0]):
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
    if len(cells) < 3 or not all(map(_is_number, cells)):
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


def _is_number(cell):
    return is_number(cell, ",")


def _is_missing(cell):
    return _is_number(cell) and np.isnan(number(cell, "", ","))


def _is_word(cell):
    """Whether a cell is no number, nor one with marks of thousands."""
    return not _is_number(cell) and not _GROUPED.fullmatch(cell)


def _check_decimals(lines):
    """ValueError for three or more numbers in one column with commas, which may be of decimals."""
    rows = lines[len(lines[0].cells) == 1 and not _is_number(lines[0].cells[0]):]
    if len(rows) < 3 or any(len(line.cells) > 2 for line in rows) or not all(
        _WHOLE.fullmatch(cell.lstrip("+-")) for line in rows for cell in line.cells
    ):
        return
    for line in rows:
        if len(line.cells) == 2:
            one, other = line.cells
            raise ValueError(f"line {line.number}: '{one},{other}' is two numbers, expected a "
                             "matrix, or a column of all pairs; if the comma is a decimal point "
                             f"write {one}.{other}, or sep=; in a line before all others")


def _check_marks(lines, delimiter, first=None):
    """ValueError where commas or points may part thousands; cells begin at the column `first`."""
    comma, point = (next(_with(mark, lines), None) for mark in ",.")
    if comma and (point or _may_be_thousands(",", lines)):
        (line, i), way_out = comma, "write it without a comma"
    # Where all numbers have a point, or are 0, its meaning is only a unit.
    elif point and delimiter in ";\t" and _may_be_thousands(".", lines) and any(
        _WHOLE.fullmatch(cell.lstrip("+-")) and int(cell) for line in lines for cell in line.cells
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
            if mark in cell and _is_number(cell))


def _may_be_thousands(mark, lines):
    return all(_THOUSANDS[mark].fullmatch(line.cells[i]) for line, i in _with(mark, lines))


def _find_pairs(lines):
    """What the values of a list of pairs are called, and its lines as name, name and number.

    None for other tables.
    """
    header, rows = lines[0].cells, lines[1:]
    tables = [(header, rows), (None, lines)]
    if _has_row_numbers(header, rows):
        tables.insert(0, (header[-3:], [line._replace(cells=line.cells[1:]) for line in rows]))
    for header, rows in tables:
        value = _value_column(header, rows)
        if value is not None:
            order = [*(i for i in range(3) if i != value), value]
            return header and from_cell(header[value]), [
                line._replace(cells=[line.cells[i] for i in order]) for line in rows]
    return None


def _has_row_numbers(header, rows):
    """Whether the lines of pairs may have numbers before them, as R and pandas write them."""
    if len(header) != 3 and (len(header) != 4 or header[0]):
        return False
    if not all(len(line.cells) == 4 and _WHOLE.fullmatch(line.cells[0]) for line in rows):
        return False
    # Numbers for names: three rows of them could be a square, and commas be those of decimals.
    are_words = any(_is_word(cell) for line in rows for cell in line.cells)
    return are_words or (len(header) == 4 and (len(rows) != 3 or _is_measure(header[-1], 2)))


def _value_column(header, lines):
    """Which of the three columns of pairs has the values; None where these are no pairs."""
    rows = [line.cells for line in lines]
    if not rows or any(len(row) != 3 for row in rows):
        return None
    if header is not None and (len(header) != 3 or not all(header)):
        return None
    measures = [2] if header is None else [i for i in (2, 0, 1) if _is_measure(header[i], i)]
    names = [i for i in range(3) if not any(_is_number(row[i]) for row in rows)]
    if len(names) == 3:  # the numbers are badly written
        value = 2 if any(_STARTS_WITH_DIGIT.match(row[2]) for row in rows) else None
    elif len(names) == 2:
        value = 3 - sum(names)
        value = value if value in (2, *measures) else None
    else:
        # Of several, such as distance_from and distance_to, none says where the values are.
        measures = [2] if len(measures) > 1 else measures
        value = next((i for i in measures if _are_numbered(rows, header, i)), None)
    if value is not None and header is not None and _may_be_quantity(header[value]):
        return None
    return value


def _may_be_quantity(cell):
    """Whether a cell may be a number that is badly written, and no name of what values are."""
    if _is_number(cell) or _QUANTITY.fullmatch(cell):
        return True
    is_name = _ONE_MINUS.match(cell) or _words(cell) & (_MEASURES | {"2d", "3d"})
    return bool(_STARTS_WITH_DIGIT.match(cell)) and not is_name


def _are_numbered(rows, header, value):
    """Whether the other two of three columns may hold names, some or all of which are numbers."""
    pairs = [[cell for i, cell in enumerate(row) if i != value] for row in rows]
    if not all(_is_number(row[value]) for row in rows) or not _may_be_names(pairs, header):
        return False
    has_all = _has_all(pairs)
    if header is None:  # as ratings are, or of three rows a square, unless every pair is there
        same = [row[2] for row in rows if row[0] == row[1]]
        return len(rows) > 3 and has_all and not any(cell.strip("+-0.,") for cell in same)
    if len(rows) != 3:
        return True
    if not any(rows[i][i].strip("0.,") for i in range(3)):  # the diagonal of a square
        return False
    if not all(_is_number(cell) for row in rows for cell in row):
        return True
    # What speaks for pairs, and what for a square, if not both or neither: d may be a point.
    are_three = has_all and all(one != other for one, other in pairs)
    are_pairs = are_three or len(header[value]) > 1
    if are_pairs == _is_symmetric(_values(rows)):
        one = pairs[0][0]
        raise ValueError(f"three rows of numbers under {', '.join(map(printable, header))} may be "
                         f"pairs or a matrix: to pairs add that of one with itself and 0, as {one},"
                         f"{one},0; give the rows of a matrix the names of its columns")
    return are_pairs


def _may_be_names(pairs, header):
    """Whether the cells of pairs are whole numbers, or words and numbers in the same column."""
    columns = list(zip(*pairs, strict=True))
    cells = [cell for column in columns for cell in column]
    if all(map(_WHOLE.fullmatch, cells)):
        return True
    # Names of columns that are those of rows, too, are of a square with a corner.
    is_square = bool(set(header or ()) & set(cells))
    is_mixed = any(len(set(map(_is_word, column))) == 2 for column in columns)
    return is_mixed and not is_square and not any(map(_is_missing, cells))


def _has_all(pairs):
    """Whether every pair of different names is there, in one direction or both."""
    found = collections.Counter(frozenset(pair) for pair in pairs if pair[0] != pair[1])
    n = len(set().union(*found))
    return len(found) == n * (n - 1) / 2 > 0 and max(found.values()) <= 2


def _is_measure(name, column):
    """Whether a column is called as values are. A letter may be that of a point."""
    if len(name) == 1:
        return name.lower() == "d" and column == 2
    return bool(_words(name) & _MEASURES)


def _check_columns(lines):
    """ValueError for lists of pairs that have more columns."""
    rows = [line.cells for line in lines[1:] or lines]
    width = len(rows[0])
    if width < 4 or any(len(row) != width for row in rows):
        return
    columns = list(zip(*(row[:4] for row in rows), strict=True))
    names = sum(all(map(_is_word, column)) and any(cell[:1].isalpha() for cell in column)
                for column in columns)
    if names < 2:
        return
    if (expected := len(lines[0].cells)) < width:
        raise ValueError(f"line {lines[1].number}: {width} cells, expected {expected} as in the "
                         "header; where commas part the cells write 1.5, not 1,5")
    raise ValueError(f"rows of {('two', 'three', 'four')[names - 2]} names and {width - names} "
                     f"number{'s' * (width > names + 1)}, expected one number for each pair and "
                     "its two names: delete the other columns, and give each subject a file")


def _check_diagonal(lines):
    """ValueError for both triangles without what lies between, as R prints them."""
    header, *rows = [line.cells for line in lines]
    n = len(header)
    if n > 2 and [row[0] for row in rows] == header and all(
        len(row) == n and not any(map(_is_missing, row)) for row in rows
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
    if not all(_WHOLE.fullmatch(cell) for cell in header) or not all(
        _is_number(cell) for row in rows for cell in row
    ):
        return False
    values = _values(rows)
    return not np.diag(values).any() and _is_symmetric(values)


def _values(rows):
    return np.array([[number(cell, "", ",") for cell in row] for row in rows])


def _is_symmetric(values):
    return np.array_equal(values, values.T, equal_nan=True)


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
        if n > 1 and all(len(row) == n and all(map(_is_number, row)) for row in square) and all(
            len(set(some)) == n and not any(map(_is_number, some)) for some in names
        ):
            return True
    return False


def _parse_pairs(measure, lines, delimiter, directed):
    _check_same_things(lines)
    _check_marks([line._replace(cells=line.cells[2:]) for line in lines], delimiter)
    labels: dict[str, int] = {}
    found: dict[tuple[int, int], tuple[float, int]] = {}
    for line in lines:
        names = [from_cell(cell) for cell in line.cells[:2]]
        i, j = (labels.setdefault(name, len(labels)) for name in names)
        value = _number(line.cells[2], f"line {line.number}")
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
    return LabelledMatrix(list(labels), values, measure)


def _check_same_things(lines):
    """ValueError for pairs of different things, such as judges and what they rate.

    Pairs that all have one point in common share no name either, nor do pairs without any.
    """
    one, other = (list(dict.fromkeys(_names([line.cells[i] for line in lines]))) for i in (0, 1))
    are_apart = len(one) == len(other) == len(lines)
    if min(len(one), len(other)) > 1 and not are_apart and not set(one) & set(other):
        raise ValueError(f"the two columns of names share none ('{printable(one[0])}', ... and "
                         f"'{printable(other[0])}', ...), as of rows and columns of different "
                         "things, which dm.mds.unfold places; expected pairs of the same things: "
                         "if these are, add that of one with itself and 0, as "
                         f"{printable(one[0])},{printable(one[0])},0")


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


def _names(cells: Sequence[str]) -> list[str]:
    return [from_cell(cell) for cell in cells]


def _number(cell, where):
    try:
        value = number(cell, where, ",")
    except ValueError as error:
        way_out = ""
        if _STARTS_WITH_DIGIT.match(cell):
            way_out = ": write it without a unit and marks of thousands, as 1597.8"
        raise ValueError(f"{error}{way_out}") from None
    if np.isinf(value):
        raise ValueError(f"{where}: '{cell}', expected a finite number")
    return value


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
    _check_marks(lines, delimiter, first)
    shifted = np.any(steps < 0)  # an upper triangle, moved to the left
    grid = np.full((len(lines), width), np.nan)
    for i, line in enumerate(lines):
        offset = width - len(line.cells) if shifted else 0
        for j, cell in enumerate(line.cells):
            try:
                grid[i, j + offset] = _number(cell, "")
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
