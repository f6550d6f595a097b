"""Reads MATLAB files before version 7.3, by SciPy in a process of its own."""

import pathlib
from collections.abc import Sequence

import numpy as np

from deepmds_jax.data.formats import child
from deepmds_jax.extras import require


def load_mat(path: pathlib.Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The variables of a file, or those of them that are asked for and there.

    Returns:
      By name, arrays of numbers or text; a cell is an array of its items as text, and in the place
      of a struct or a sparse matrix are empty texts.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, or of another format; does not name the file.
    """
    require("scipy", extra="files")
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
    return child.read("deepmds_jax.data.formats.matlab_child", path, names and [*names])


def read_mat(path: pathlib.Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads variables by name.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, or a variable is missing or holds no numbers.
    """
    try:
        arrays = load_mat(path, names)
        arrays = {name: arrays[name] for name in names}
        if not all(array.size and array.dtype.kind in "uif" for array in arrays.values()):
            raise ValueError("one of them holds no numbers")
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected a MATLAB file with {list(names)}: {error}") from error
    return arrays
