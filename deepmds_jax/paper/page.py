"""A page of results: notes, tables, a figure, and what was left out; and its files."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepmds_jax.evaluation import tables
from deepmds_jax.evaluation.figures import save_figure
from deepmds_jax.evaluation.tables import Row
from deepmds_jax.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass
class Page:
    """A table or a figure as we make it.

    Attributes:
      title: with the paper's number, where it is of the paper.
      notes: on which data it was made, and what differs from the paper.
      tables: heading -> rows. The first is written under the page's name, others under that name
        and the first word of their heading.
      figure: the picture; None for a table.
      left_out: a line per method that has no result here.
      faces: whose faces were looked at, in words; empty if none.
      stands_in: whether they stand in for the paper's data.
      unit: that MSEs are multiples of, in words; of a table of scores.
      reasons: why the numbers differ from the paper's, sentences; of a table of scores.
    """

    title: str
    notes: Sequence[str]
    tables: dict[str, Sequence[Row]] = dataclasses.field(default_factory=dict)
    figure: "Figure | None" = None
    left_out: Sequence[str] = ()
    faces: str = ""
    stands_in: bool = True
    unit: str = ""
    reasons: Sequence[str] = ()


def write(out: pathlib.Path, item: str, page: Page) -> str:
    """Writes the files of a page and returns it as Markdown."""
    parts = [f"# {page.title}", *page.notes]
    for i, (heading, rows) in enumerate(page.tables.items()):
        name = item if i == 0 else f"{item}_{re.split(r'[^a-z]', heading.lower())[0]}"
        about = {"title": page.title, "notes": list(page.notes), "left_out": list(page.left_out)}
        tables.write(out, name, rows, about, page.title if i == 0 else f"{page.title}. {heading}")
        parts.append(f"## {heading}\n\n{tables.to_markdown(rows).rstrip()}")
    if page.figure is not None:
        for suffix in ("png", "svg"):
            save_figure(page.figure, out / f"{item}.{suffix}")
        parts.append(f"![{page.title}]({item}.png)")
    if page.left_out:
        parts.append("Left out:\n\n" + "\n".join(f"- {line}" for line in page.left_out))
    text = "\n\n".join(parts) + "\n"
    write_text(out / f"{item}.md", text)
    return text


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
