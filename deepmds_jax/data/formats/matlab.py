"""Reads arrays of numbers from MATLAB files."""

import pathlib
from collections.abc import Sequence

import numpy as np

from deepmds_jax.extras import require


def read_mat(path: pathlib.Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads variables by name.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, or a variable is missing or holds no numbers.
    """
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
    try:
        content = require("scipy.io", extra="files").loadmat(path, variable_names=names)
        arrays = {name: content[name] for name in names}
        if not all(array.size and array.dtype.kind in "uif" for array in arrays.values()):
            raise ValueError("one of them holds no numbers")
    except ImportError:
        raise
    except Exception as error:  # scipy raises many kinds on a damaged file
        raise ValueError(f"{path}: expected a MATLAB file with {list(names)}: {error}") from error
    return arrays
