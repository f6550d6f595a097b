"""Files that are written whole or not at all, several of them together."""

import contextlib
import contextvars
import os
from collections.abc import Iterator
from pathlib import Path

# Files written whole that wait for the others: by where they belong, where they are.
_waiting: contextvars.ContextVar[dict[Path, Path] | None] = contextvars.ContextVar(
    "waiting", default=None)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a path to write to; if the block succeeds, the file there replaces the one at `path`.

    If the block raises, or the process dies, a file that was at `path` before is still there,
    untouched. A missing folder is made. Within `all_or_none` it is replaced at the end of that.

    Args:
      path: The file to replace or create.

    Yields:
      A path in the same folder, with the same extension.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    waiting = _waiting.get()
    try:
        yield temporary
        if waiting is None:
            os.replace(temporary, path)
        else:
            waiting[path] = temporary
    finally:
        if waiting is None or path not in waiting:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """What `replacing` writes in the block takes its places at the end, if nothing raises.

    Raises:
      IsADirectoryError: A folder is where one of the files belongs.
    """
    if _waiting.get() is not None:  # the outer block decides
        yield
        return
    files: dict[Path, Path] = {}
    token = _waiting.set(files)
    try:
        yield
        for path in files:
            if path.is_dir():
                raise IsADirectoryError(f"{path}: expected a file, a folder is there")
        for path, temporary in files.items():
            os.replace(temporary, path)
    finally:
        _waiting.reset(token)
        for temporary in files.values():
            temporary.unlink(missing_ok=True)
