"""Reads MATLAB files by SciPy, in the process that `child` starts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.io


def load(path: str, names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """The variables of a file, or those of them that are asked for; see `matlab.load_mat`."""
    try:
        found = scipy.io.loadmat(path, variable_names=names)
    except NotImplementedError:
        raise ValueError("it is in MATLAB's 7.3 format, expected save(..., '-v7')") from None
    return {name: _plain(array) for name, array in found.items() if not name.startswith("__")}


def _plain(array: Any) -> np.ndarray:
    if isinstance(array, np.ndarray) and array.dtype.kind == "O":
        texts = [str(np.squeeze(item)) for item in array.ravel()]
        return np.array(texts, str).reshape(array.shape)
    if isinstance(array, np.ndarray) and array.dtype.kind in "biufcU":
        return array
    return np.full(np.shape(array), "", str)
