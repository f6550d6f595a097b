"""The closing page: the paper's numbers and ours, the order of the methods, and why it differs."""

import itertools
from collections.abc import Mapping, Sequence

from deepmds_jax.evaluation.tables import Row
from deepmds_jax.paper.page import Page

_PAPER, _OURS = "MSE, paper", "MSE"


def glance_page(pages: Mapping[str, Page], left_out: Sequence[str]) -> Page:
    """Sums up pages for a reader who looks at nothing else.

    Args:
      pages: name of the item -> page, of those that could be made.
      left_out: what could not be made or run, a line each.

    Returns:
      A page with, for the tables that compare methods, the numbers and whether their order is the
      paper's; for all pages, whose faces they show; and the reasons why numbers differ.
    """
    compared = {item: page for item, page in pages.items() if _both(page)}
    numbers, orders, notes = [], [], []
    for item, page in compared.items():
        rows = _both(page)
        paper, ours = (_ranks([row[key] for row in rows]) for key in (_PAPER, _OURS))
        pairs = list(itertools.combinations(range(len(rows)), 2))
        same = sum((paper[a] - paper[b]) * (ours[a] - ours[b]) > 0 for a, b in pairs)
        numbers += [{
            "item": item, "method": row["method"], "unit of MSE": page.unit, _PAPER: row[_PAPER],
            "MSE, ours": row[_OURS], "rank, paper": paper[i], "rank, ours": ours[i],
        } for i, row in enumerate(rows)]
        orders.append({
            "item": item, "methods with both numbers": len(rows),
            "pairs of methods": len(pairs), "pairs in the paper's order": same,
            "same order": "yes" if same == len(pairs) else "no",
        })
        if same < len(pairs) or page.stands_in:
            notes.append(f"{item}: {'in' if same == len(pairs) else 'not in'} the paper's order. "
                         + " ".join(_reasons(page)))
    faces = [{"item": item, "title": page.title, "faces": page.faces or "none",
              "the paper's data": ("no" if page.stands_in else "yes") if page.faces else "-"}
             for item, page in pages.items()]
    own = [row["item"] for row in faces if row["the paper's data"] == "yes"]
    notes.insert(0, f"On the paper's data: {', '.join(own) or 'nothing'}. Elsewhere other faces "
                 "stand in, and numbers can be compared for the order of the methods alone.")
    tables: dict[str, Sequence[Row]] = {"Whose faces": faces}
    if numbers:
        tables = {"Numbers": numbers, "Order of the methods": orders, **tables}
    return Page("At a glance", notes, tables, left_out=left_out)


def _both(page: Page) -> list[Row]:
    """The rows of a page for which the paper and we have an MSE."""
    rows = page.tables.get("Scores", ())
    return [row for row in rows if row[_PAPER] is not None and row[_OURS] is not None]


def _reasons(page: Page) -> list[str]:
    missing = [row["method"] for row in page.tables["Scores"]
               if row[_PAPER] is not None and row[_OURS] is None]
    reasons = [f"The faces are those of {page.faces}." if page.stands_in
               else "The faces are the paper's."]
    reasons += page.reasons
    if missing:
        reasons.append(f"Not run: {', '.join(missing)}.")
    return reasons


def _ranks(values: Sequence[float]) -> list[int]:
    """From 1, the least first; equal values share the better rank."""
    return [1 + sum(other < value for other in values) for value in values]
