"""Makes tables 1 to 4 and figures 2 to 6 of the paper, and pages of our own, by name."""

import pathlib
from collections.abc import Callable, Sequence

from deepmds_jax.evaluation import tables
from deepmds_jax.evaluation.setting import Setting
from deepmds_jax.paper import figure_pages, own_pages, score_pages
from deepmds_jax.paper.experiments import Experiments
from deepmds_jax.paper.glance import glance_page
from deepmds_jax.paper.page import Page, write, write_text

ITEMS: dict[str, Callable[[Experiments], Page]] = {
    **score_pages.PAGES, **figure_pages.PAGES, **own_pages.PAGES,
}


def reproduce(
    items: Sequence[str], setting: Setting, out: pathlib.Path, tell: Callable[[str], None] = print
) -> list[str]:
    """Makes tables and figures; one that cannot be made does not stop the others.

    Writes for each the page NAME.md; for a table also NAME.json, NAME.csv and NAME.tex, and its
    significance tests as NAME_significance in the same formats; for a figure also NAME.png and
    NAME.svg. With several items, all.md holds all pages.

    Args:
      items: names in `ITEMS`.
      setting: data, weights and sizes.
      out: folder for the files.
      tell: called with each page as text.

    Returns:
      What was left out and why, one line each.

    Raises:
      ValueError: none of the items could be made.
    """
    experiments = Experiments(setting)
    pages, texts, left_out = {}, [], []
    for item in items:
        try:
            page = ITEMS[item](experiments)
            texts.append(write(out, item, page))
        except (ValueError, ImportError, OSError) as error:
            left_out.append(f"{item}: {error}")
            tell(f"{item} is left out: {error}\n")
            continue
        pages[item] = page
        left_out += [f"{item}: {line}" for line in page.left_out]
        tell(_as_text(page))
    if not pages:
        raise ValueError("; ".join(left_out))
    left_out += [f"data: {error}" for error in experiments.missing.values()]
    if len(items) > 1:
        page = glance_page(pages, left_out)
        texts.append(write(out, "glance", page))
        write_text(out / "all.md", "\n".join(texts))
        tell(_as_text(page))
    return left_out


def _as_text(page: Page) -> str:
    found = (f"{heading}\n{tables.to_text(rows)}" for heading, rows in page.tables.items())
    return "\n\n".join([page.title, *page.notes, *found]) + "\n"
