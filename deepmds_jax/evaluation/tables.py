"""Results as tables: text for people, JSON and CSV for programs."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from deepmds_jax.files import replacing

Row = Mapping[str, Any]


def to_text(rows: Sequence[Row]) -> str:
    """Aligned columns under the keys of the first row; numbers to the right."""
    cells = [list(rows[0])] + [[_format(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [isinstance(value, (int, float)) or value is None for value in rows[0].values()]

    def line(row):
        pairs = zip(row, widths, numeric, strict=True)
        return "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in pairs).rstrip()

    return "\n".join([line(cells[0]), line(["-" * w for w in widths]), *map(line, cells[1:])])


def write(folder: str | os.PathLike, name: str, rows: Sequence[Row], about: Row) -> list[str]:
    """Writes name.json (with `about`) and name.csv into a folder; returns their paths."""
    folder = pathlib.Path(folder)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    contents = {
        f"{name}.json": json.dumps({**about, "rows": list(rows)}, indent=1) + "\n",
        f"{name}.csv": table.getvalue(),
    }
    for filename, content in contents.items():
        with replacing(folder / filename) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return [str(folder / filename) for filename in contents]


def _format(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
