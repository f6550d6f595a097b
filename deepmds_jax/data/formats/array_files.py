"""The content of .npy, .npz and .json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepmds_jax.data.formats.archives import unpack_numpy
from deepmds_jax.data.formats.array_names import FIELDS, KNOWN, SIZE
from deepmds_jax.data.formats.faces import MAY_BE_OTHERS, read_text

_UNREAD = np.empty(0)  # in the place of an array that is not needed


def load_numpy(path: Path) -> Any:
    """The array of a .npy, or those of a .npz that matter; never unpickled."""
    with path.open("rb") as file:  # np.load leaves a broken .npz open if it opens it itself
        content = unpack_numpy(file)
        if isinstance(content, np.ndarray):
            return content
        field = next((field for field in FIELDS if field in content), None)
        if field is not None:  # the other arrays may be anything, photographs for one
            read = {field, "names", *SIZE, *(name for names in KNOWN.values() for name in names)}
            return {key: _unpacked(content, key) if key in read else _UNREAD for key in content}
        faces = {key: content[key] for key in content}
    return next(iter(faces.values())) if len(faces) == 1 else faces


def _unpacked(content: Mapping[str, Any], key: str) -> np.ndarray:
    """An array; of a name that may be something else's, not one that would have to be unpickled."""
    try:
        return content[key]
    except ValueError:
        if key not in MAY_BE_OTHERS:
            raise
        return _UNREAD


def load_json(path: Path) -> Any:
    """The content of a JSON file; of an object with a name twice, a `Pairs`."""
    return json.loads(read_text(path), object_pairs_hook=_object)


class Pairs(list):
    """Names and values of an object that has a name more than once."""


def _object(pairs: list[tuple[str, Any]]) -> Any:
    content = dict(pairs)
    return content if len(content) == len(pairs) else Pairs(pairs)
