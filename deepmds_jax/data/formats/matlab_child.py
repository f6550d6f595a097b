"""What runs in the process that `matlab` starts: reads MATLAB files, answers with plain arrays."""

import ast
import contextlib
import io
import sys
import warnings
from typing import Any

import numpy as np
import scipy.io

from deepmds_jax.data.formats.archives import MAX_BYTES
from deepmds_jax.data.formats.matlab import read_block, write_block


def serve() -> None:
    """Answers each (path, names) on stdin on stdout by an error, or none, and an .npz file."""
    warnings.simplefilter("ignore")
    _limit_memory()
    while True:
        try:
            path, names = ast.literal_eval(read_block(sys.stdin.buffer).decode())
        except EOFError:
            return
        try:
            error, content = "", _load(path, names)
        except NotImplementedError:
            error, content = "it is in MATLAB's 7.3 format, expected save(..., '-v7')", b""
        except Exception as reason:  # scipy raises many kinds on a damaged file
            text = " ".join(str(reason).split())
            error, content = text or f"damaged ({type(reason).__name__})", b""
        write_block(sys.stdout.buffer, error)
        write_block(sys.stdout.buffer, content)


def _limit_memory() -> None:
    """Little compressed zeros would take all there is, and other programs with it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    at_most = 4 * MAX_BYTES  # a variable, what it is unpacked from, and two copies to hand it over
    with contextlib.suppress(ValueError, OSError):  # the system has a lower limit
        resource.setrlimit(resource.RLIMIT_DATA, (at_most, hard))


def _load(path: str, names: list[str] | None) -> bytes:
    """An .npz file: the names of the variables, then each of them."""
    found = scipy.io.loadmat(path, variable_names=names)
    arrays = {name: _plain(array) for name, array in found.items() if not name.startswith("__")}
    content = io.BytesIO()
    np.savez(content, np.array([*arrays], str), *arrays.values())
    return content.getvalue()


def _plain(array: Any) -> np.ndarray:
    if isinstance(array, np.ndarray) and array.dtype.kind == "O":
        texts = [str(np.squeeze(item)) for item in array.ravel()]
        return np.array(texts, str).reshape(array.shape)
    if isinstance(array, np.ndarray) and array.dtype.kind in "biufcU":
        return array
    return np.full(np.shape(array), "", str)


