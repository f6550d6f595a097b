"""Square matrices under the number of their rows, as PHYLIP and Mothur write them."""

import numpy as np

from deepmds_jax.data.formats.faces import only_count
from deepmds_jax.data.formats.table_cells import (
    WHOLE,
    Line,
    as_names,
    as_numbers,
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


def parse_counted(text, lines):
    """Labels and (n, n) values of a matrix under the number of its rows; None for other tables.

    Args:
      text: the table.
      lines: its lines, parted into cells.

    Raises:
      ValueError: the number does not fit, or may as well be a part of a triangle.
    """
    at, (told, *others) = lines[0]
    if not WHOLE.fullmatch(told) or int(told) < 2 or any(others) or len(lines) < 2:
        return None
    lines, delimiter = split_cells(text.replace(told, "", 1))
    if delimiter == " ":
        lines = _phylip_lines(lines, text, int(told))
    n = len(lines)
    begun, whole, upper = [*range(2, n + 2)], [*range(1, n + 1)], [*range(n, 0, -1)]
    for some in (without_padding(lines), lines):
        lengths = [len(line.cells) for line in some]
        if lengths in (begun, whole, upper, begun[::-1]):
            lines = some
            break
    first, last = ([line.cells[i] for line in lines] for i in (0, -1))
    has_words, are_numbered = any(map(is_word, first)), only_count(first)
    may_be_names = len(set(first)) == n and all(map(WHOLE.fullmatch, first))
    diagonal = set(np.nan_to_num(as_numbers([last])[0])) if all(map(is_numeric, last)) else set()
    if int(told) != n:
        is_cut = diagonal == {0} and n > 1 and (has_words or are_numbered)
        if (lengths == begun or others) and not is_cut:
            return None
        raise ValueError(f"line {at}: '{told}' alone over {n} rows, expected the number of these "
                         "as PHYLIP writes it, or no such line")
    # The first line may as well begin a triangle without its diagonal.
    if lengths == begun and not has_words and not (
        may_be_names and (diagonal == {0} or (are_numbered and len(diagonal) == 1))
    ):
        return None
    is_doubtful = diagonal not in (set(), {0}) and (
        lengths == begun or (lengths == whole and may_be_names and len(diagonal) == 1))
    if is_doubtful or (lengths == begun and not has_words and n < 3):
        raise ValueError(f"line {at}: '{told}' may be the number of the rows below, or a part of "
                         "the triangle: delete it if it is their number, else give the whole "
                         "matrix")
    labels, rows = [str(i + 1) for i in range(n)], None
    if has_words or max(lengths) > n or (
        lengths in (whole, upper) and may_be_names and diagonal != {0}
    ):
        labels = rows = as_names(first)
        lines = [line._replace(cells=line.cells[1:]) for line in lines]
    check_different(labels)
    values, labels = to_square(read_grid(lines, delimiter, rows, None), labels, None)
    if rows is None and not is_symmetric(values):  # three rows may be pairs
        raise ValueError(f"line {at}: '{told}' over rows without names, expected a symmetric "
                         "matrix under the number of its rows")
    return labels, values


def _phylip_lines(lines, text, count):
    """The lines of so many points where long ones go on in indented ones, or names have spaces.

    Ten characters are a name for PHYLIP.
    """
    texts = text.splitlines()
    rows: list[tuple[Line, str]] = []
    for line in lines:
        row = texts[line.number - 1]
        if rows and len(lines) > count and row[:1].isspace():
            before, start = rows[-1]
            rows[-1] = before._replace(cells=before.cells + line.cells), f"{start} {row}"
        else:
            rows.append((line, row))
    if len(rows) != count:
        return lines
    lines = [line for line, _ in rows]
    fixed = [line._replace(cells=[row[:10].strip(), *row[10:].split()]) for line, row in rows]
    steps = set(np.diff([len(line.cells) for line in fixed]))
    are_words = [any(is_word(cell) for line in some for cell in line.cells[1:])
                 for some in (lines, fixed)]
    is_fixed = len(fixed[-1].cells) == count + 1 or steps == {1}
    return fixed if are_words == [True, False] and is_fixed and len(steps) == 1 else lines
