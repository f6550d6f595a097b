"""Tables of results: text, Markdown and LaTeX for people, JSON and CSV for programs."""

import csv
import io
import json
import math
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from deepmds_jax.data.formats.plain_names import printable, to_cell
from deepmds_jax.files import all_or_none, replacing

Row = Mapping[str, Any]

_MARKDOWN_SPECIAL = re.compile(r"([\\`*_|<>\[\]])")
_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    # At the start of a row, these would be arguments of the `\\` that ends the row above.
    "[": "{[}", "*": "{*}",
    **{c: rf"\{c}" for c in "&%$#_{}"},
}  # fmt: skip


def to_text(rows: Sequence[Row]) -> str:
    """A table in plain text: the keys as headings, numbers aligned to the right, None as "-"."""
    header, numeric, cells = format_cells(rows)
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]

    def line(row):
        pairs = zip(row, widths, numeric, strict=True)
        return "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in pairs).rstrip()

    return "\n".join([line(header), line(["-" * w for w in widths]), *map(line, cells)])


def to_markdown(rows: Sequence[Row]) -> str:
    """A table in GitHub Flavored Markdown. Text is escaped, so that it is shown as it is."""
    header, numeric, cells = format_cells(rows)
    lines = [list(map(_markdown, row)) for row in (header, *cells)]
    lines.insert(1, ["---:" if n else "---" for n in numeric])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def to_latex(rows: Sequence[Row], caption: str) -> str:
    r"""A LaTeX table float; the document needs \usepackage{booktabs}. All text is escaped."""
    header, numeric, cells = format_cells(rows)

    def line(row):
        return f"    {' & '.join(map(_latex, row))} \\\\"

    return "\n".join([
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{_latex(caption)}}}",
        f"  \\begin{{tabular}}{{{''.join('r' if n else 'l' for n in numeric)}}}",
        r"    \toprule",
        line(header),
        r"    \midrule",
        *map(line, cells),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]) + "\n"


def write(
    folder: str | os.PathLike, name: str, rows: Sequence[Row], about: Row, caption: str = ""
) -> list[str]:
    """Writes a table to a folder in all formats: name.json, name.csv, name.md and name.tex.

    JSON and CSV hold numbers in full precision, Markdown and LaTeX in four digits. A number that is
    not finite becomes null in JSON.

    Args:
      folder: where to write; created if it is missing.
      name: name of the files, without extension.
      rows: at least one row, all with the same keys.
      about: JSON values that describe the rows; they go into the JSON file.
      caption: caption of the Markdown and LaTeX tables; `name` if empty.

    Returns:
      The paths, in the order above.

    Raises:
      ValueError: there are no rows, or their keys differ; nothing is written.
    """
    folder = pathlib.Path(folder)
    caption = caption or name
    header, _, _ = format_cells(rows)
    table = io.StringIO()
    writer = csv.DictWriter(table, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: to_cell(value) if isinstance(value, str) else value
                      for key, value in row.items()} for row in rows)
    content = _jsonable({**about, "rows": list(rows)})
    contents = {
        "json": json.dumps(content, indent=1, allow_nan=False) + "\n",
        "csv": table.getvalue(),
        "md": f"{_markdown(caption)}\n\n{to_markdown(rows)}",
        "tex": to_latex(rows, caption),
    }
    paths = [folder / f"{name}.{suffix}" for suffix in contents]
    with all_or_none():
        for path, content in zip(paths, contents.values(), strict=True):
            with replacing(path) as temporary:
                temporary.write_text(content, encoding="utf-8", errors="backslashreplace")
    return [str(path) for path in paths]


def format_cells(rows: Sequence[Row]) -> tuple[list[str], list[bool], list[list[str]]]:
    """The header, whether each column holds numbers, and the cells as text, row by row.

    Raises:
      ValueError: there are no rows, or their keys differ.
    """
    if not rows:
        raise ValueError("rows: expected at least one, got none")
    header = list(rows[0])
    for i, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            raise ValueError(f"rows: expected the keys {header} in each, got {list(row)} "
                             f"in row {i}")
    columns = [[_plain(row[key]) for row in rows] for key in header]
    numeric = [all(isinstance(v, (int, float)) or v is None for v in column) for column in columns]
    cells = [list(map(_format, values)) for values in zip(*columns, strict=True)]
    return header, numeric, cells


def _plain(value: Any) -> Any:
    """Converts NumPy's numbers to Python's."""
    return value.item() if hasattr(value, "item") else value


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    value = _plain(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _format(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if not abs(value) >= 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else printable(" ".join(str(value).split()))


def _markdown(text: str) -> str:
    return _MARKDOWN_SPECIAL.sub(r"\\\1", text)


def _latex(text: str) -> str:
    escaped = "".join(_LATEX_SPECIAL.get(character, character) for character in text)
    return re.sub(r"^-(?=\d)", "$-$", escaped)  # a minus sign, not a hyphen
