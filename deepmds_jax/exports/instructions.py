"""The README.md beside exported files: what they are, and code that runs them."""

import pathlib


def text(folder: pathlib.Path) -> str:
    """The page for the files in a folder."""
    return "\n".join(sorted(path.name for path in folder.iterdir()))
