"""Tables of 3D points, a row for each, by the face that they are of."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from deepmds_jax.data.formats.faces import plain_float
from deepmds_jax.data.formats.plain_names import from_cell


class PointRow(NamedTuple):
    """A row: its number in the file, its face, x, y and z, and all its cells by column."""

    number: int
    face: str
    point: list[float]
    cells: dict[str, str]


def read_rows(path: Path, columns: Sequence[str] = ("face", "x", "y", "z")) -> Iterator[PointRow]:
    """The rows of a .csv file that has these columns, and perhaps others.

    Raises:
      ValueError: a column is missing, or x, y and z of a row are no numbers.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True, skipinitialspace=True)
        lacking = [name for name in columns if name not in (rows.fieldnames or ())]
        if lacking:
            raise ValueError(f"no column {', '.join(lacking)}; expected "
                             f"{', '.join(columns[:-1])} and {columns[-1]}")
        for number, cells in enumerate(rows, start=2):
            try:
                point = [plain_float(cells[axis]) for axis in "xyz"]
            except (TypeError, ValueError) as error:
                raise ValueError(f"line {number}: x, y, z are no three numbers") from error
            yield PointRow(number, from_cell(cells.get("face") or ""), point, cells)
