"""Checks of what a program is to write, before the work, which may take hours."""

import os
import pathlib
import tempfile
from collections.abc import Sequence


def check_distinct(
    outputs: Sequence[tuple[str, str | os.PathLike]], inputs: Sequence[str | os.PathLike]
) -> None:
    """Raises ValueError where an output would replace an input, or another output.

    Args:
      outputs: the flag and the file of each.
      inputs: files.
    """
    read = {os.path.realpath(path): str(path) for path in inputs}
    for flag, path in outputs:
        real = os.path.realpath(path)
        if real in read:
            raise ValueError(f"{flag}: {path} would replace {read[real]}, expected another file")
        read[real] = f"--{flag}={path}"


def check_folder(flag: str, folder: str | os.PathLike) -> None:
    """Raises ValueError where a folder neither can be written to nor be made."""
    folder = pathlib.Path(folder)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"{flag}: cannot write to {folder}: {there} is no folder")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        reason = " is read-only" if isinstance(error, PermissionError) else f": {error.strerror}"
        raise ValueError(f"{flag}: cannot write to {folder}: {there}{reason}") from None


def check_file(flag: str, file: str | os.PathLike) -> None:
    """Raises ValueError where a file cannot be written."""
    file = pathlib.Path(file)
    if file.is_dir():
        raise ValueError(f"{flag}: expected a file, {file} is a folder")
    check_folder(flag, file.parent)
