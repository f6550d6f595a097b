"""Files of dissimilarities of named points, and of the coordinates that are found for these."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepmds_jax.data.formats.archives import Npz, unpack_numpy
from deepmds_jax.data.formats.faces import read_text
from deepmds_jax.data.formats.measure_words import says_similarity
from deepmds_jax.data.formats.plain_names import printable, to_cell
from deepmds_jax.data.formats.square_tables import LabelledMatrix, from_pairs, parse_square
from deepmds_jax.files import replacing
from deepmds_jax.mds.inputs import ROUNDING

_TEXTS = (".csv", ".tsv", ".txt", ".dat", ".dist", ".phy")
_LABELS = ("labels", "names")  # what an .npz file calls them


def read_matrix(path: str | Path, directed: bool = False) -> LabelledMatrix:
    """Reads a square matrix of dissimilarities or similarities, as it is.

    * `.csv`, `.tsv`, `.txt`, `.dat`, `.dist`, `.phy`: cells parted by commas, semicolons, tabs or
      spaces. The whole matrix, or its lower or upper triangle with or without the diagonal, with
      names in the first row, the first column, both or neither, or under the number of its rows, as
      PHYLIP and Mothur write it; or a row `name,name,number` for each pair, with a header or
      without; or one row or column of numbers, the vector of its pairs as SciPy's `pdist` and R's
      `dist` give it; the column may be counted, and have a header. Empty cells, NA and NaN are
      missing values.
    * `.npy`: the matrix, or the vector.
    * `.npz`: the same, the only array of numbers, and `labels` if it likes.

    Args:
      path: the file; its extension decides the format.
      directed: whether the values of `a,b` and `b,a` in a list of pairs may differ, as those of the
        triangles of a matrix.

    Returns:
      A `LabelledMatrix`; points without names are called 1, 2, ....

    Raises:
      ValueError: the file cannot be read as any of these, or holds infinity, with the file, row and
        column.
      OSError: there is no such file.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*_TEXTS, ".npy", ".npz"):
        raise ValueError(f"{path}: unknown format, expected {', '.join(_TEXTS)}, .npy or .npz")
    try:
        if suffix in _TEXTS:
            return parse_square(read_text(path), directed)
        return _read_numpy(path)
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # every parser fails on damaged files in ways of its own
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: {printable(reason)}") from None


def _read_numpy(path):
    with path.open("rb") as file:
        content = unpack_numpy(file)
        labels = measure = None
        if isinstance(content, Npz):
            name = next((name for name in _LABELS if name in content), None)
            labels = None if name is None else _read_labels(content, name)
            others = [other for other in content if other != name]
            if len(others) != 1:
                raise ValueError(f"{len(others)} arrays ({', '.join(map(printable, others))}), "
                                 f"expected one, and labels")
            measure = others[0]
            content = content[measure]
    if content.dtype.kind not in "fiu":
        raise ValueError(f"an array of {content.dtype}, expected real numbers")
    values = from_pairs(content) if content.ndim == 1 else content.astype(np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"an array of shape {content.shape}, expected (n, n), or the pairs of n "
                         f"points")
    if labels is None:
        labels = [str(i + 1) for i in range(len(values))]
    if len(labels) != len(values) or len(set(labels)) < len(labels):
        raise ValueError(f"{len(set(labels))} different labels, expected {len(values)}")
    matrix = LabelledMatrix(labels, values, measure)
    _check_finite(matrix)
    return matrix


def _read_labels(content, name):
    try:
        return [str(label) for label in content[name]]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ValueError(f"{name}: Python objects, such as those of a data frame, are not read; "
                         "expected an array of texts: np.array(labels, dtype=str)") from None


def check_triangles(matrix: LabelledMatrix) -> None:
    """Raises ValueError where one triangle is all 0, as NumPy's `tril` and `triu` leave it."""
    values = np.nan_to_num(matrix.values, nan=1.0)
    zero = [not triangle.any() for triangle in (np.triu(values, 1), np.tril(values, -1))]
    if zero[0] != zero[1]:
        raise ValueError(f"all numbers {'above' if zero[0] else 'below'} the diagonal are 0: for a "
                         "triangle leave these cells empty, or give the whole matrix")


def check_symmetric(matrix: LabelledMatrix) -> None:
    """Raises ValueError where the two triangles differ by more than rounding, with the place.

    Also for infinity, from which nothing differs by a known amount.
    """
    _check_finite(matrix)
    skew = np.abs(matrix.values / 2 - matrix.values.T / 2)  # of the largest numbers no infinity
    skew[np.isnan(skew)] = 0
    if np.max(skew) > _limit(matrix) / 2:
        check_triangles(matrix)
        i, j = np.unravel_index(np.argmax(skew), skew.shape)
        (one, a), (other, b) = _at(matrix, i, j), _at(matrix, j, i)
        raise ValueError(f"{one} is {a:g}, but {other} is {b:g}, expected the same; --mean takes "
                         "the mean of both")


def check_dissimilarities(matrix: LabelledMatrix) -> None:
    """Raises ValueError for what can be no dissimilarities, with the place.

    That is what the file calls similarities, infinity, and but for rounding a negative value and a
    diagonal that is not 0. Where the diagonal has the largest values of all, these are
    similarities.
    """
    # Over distances, whose diagonal is 0, a corner mostly names the rows: Count, No., Common name.
    surely = matrix.in_corner and not np.nan_to_num(np.diag(matrix.values)).any()
    if matrix.measure is not None and says_similarity(matrix.measure, surely):
        raise ValueError(f"the values are called '{printable(matrix.measure)}', which may mean "
                         "similarities: for these give --similarities=WAY, else name them distance")
    _check_finite(matrix)
    values = matrix.values
    diagonal, others = np.diag(values), values[~np.eye(len(values), dtype=bool)]
    limit = _limit(matrix)
    if np.any(np.abs(diagonal) > limit):
        if np.nanmin(diagonal) >= np.max(others, initial=-np.inf, where=~np.isnan(others)):
            raise ValueError("the largest values are on the diagonal: for similarities give "
                             "--similarities=WAY")
        i = int(np.nanargmax(np.abs(diagonal)))
        place, value = _at(matrix, i, i)
        raise ValueError(f"{place} is {value:g}, expected 0 on the diagonal")
    if np.any(values < -limit):
        place, value = _at(matrix, *np.unravel_index(np.nanargmin(values), values.shape))
        raise ValueError(f"{place} is {value:g}, expected none < 0")


def _check_finite(matrix):
    if np.isinf(matrix.values).any():
        place, value = _at(matrix, *np.argwhere(np.isinf(matrix.values))[0])
        raise ValueError(f"{place} is {value:g}, expected finite numbers")


def _limit(matrix):
    """What is rounding."""
    return ROUNDING * np.max(np.abs(matrix.values), initial=0, where=~np.isnan(matrix.values))


def _at(matrix, i, j):
    """Where an entry is, and the entry."""
    row, column = (printable(matrix.labels[k]) for k in (i, j))
    return f"row '{row}', column '{column}'", matrix.values[i, j]


def check_format(path: str | Path) -> Path:
    """The path, if `write_coordinates` can write its format; else ValueError."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise ValueError(f"{path}: unknown format, expected .csv or .tsv")
    return path


def write_coordinates(
    path: str | Path, labels: Sequence[str], points: np.ndarray, stress_shares: np.ndarray
) -> None:
    """Writes a row `name,x1,x2,...,stress_share` for each point, the file whole or not at all.

    Args:
      path: a .csv or .tsv file. A missing folder is made.
      labels: n names. Those that a spreadsheet would compute (= + - @) have ' before them.
      points: (n, k).
      stress_shares: (n,) of `stress_per_point`.

    Raises:
      ValueError: another extension.
    """
    path = check_format(path)
    buffer = io.StringIO(newline="")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["name", *(f"x{i + 1}" for i in range(points.shape[1])), "stress_share"])
    for label, point, share in zip(labels, points, stress_shares, strict=True):
        writer.writerow([to_cell(label), *(f"{x:.8g}" for x in (*point, share))])
    with replacing(path) as temporary:
        temporary.write_text(buffer.getvalue(), encoding="utf-8", errors="backslashreplace",
                             newline="")
