"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a path to write to; if the block succeeds, the file there replaces the one at `path`.

    If the block raises, or the process dies, a file that was at `path` before is still there,
    untouched. A missing folder is made.

    Args:
      path: The file to replace or create.

    Yields:
      A path in the same folder, with the same extension.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
