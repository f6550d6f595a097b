"""Arrays in safetensors files of this package, with their description as metadata."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from deepmds_jax.files import replacing

_FORMAT = "deepmds_jax"


def write_tensors(path: str | os.PathLike, tree: Any, metadata: Mapping[str, str]) -> None:
    """Writes nested dicts of arrays to a .safetensors file of this package, whole or not at all.

    The same arrays and metadata, in any order, give the same bytes.
    """
    tensors = {
        key: np.ascontiguousarray(value)
        for key, value in traverse_util.flatten_dict(tree, sep="/").items()
    }
    content = _in_order(safetensors.numpy.save(tensors, {**metadata, "format": _FORMAT}))
    with replacing(pathlib.Path(path)) as temporary:
        temporary.write_bytes(content)


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its metadata by name: safetensors has them in an order by chance.

    Source: the format, huggingface.co/docs/safetensors: the length of the header in 8 bytes, little
    end first; the header, JSON padded with spaces to a multiple of 8 bytes; the numbers, whose
    places are counted from the end of the header.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def read_tensors(path: pathlib.Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Reads the metadata and the tensors, by path in the tree, that `write_tensors` wrote.

    Raises:
      ValueError: no such file, not a whole safetensors file, or not of this package.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a whole safetensors file: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"{path}: a safetensors file of another program; expected weights that "
                         "deepmds_jax wrote")
    return metadata, tensors


def as_tree(
    path: pathlib.Path, tensors: Mapping[str, np.ndarray], expected: Any, of: str
) -> dict[str, Any]:
    """Nests tensors of `read_tensors` again, once they are known to fit.

    Args:
      path: of the file, for messages.
      tensors: by path in the tree.
      expected: the tree that a network has, of anything with a shape.
      of: whose tree that is, for messages.

    Raises:
      ValueError: a tensor is missing, too much, or of another shape, or not of finite float32
        numbers; names it.
    """
    leaves: dict[str, Any] = dict(traverse_util.flatten_dict(expected, sep="/"))
    shapes = {k: v.shape for k, v in leaves.items()}
    found = {k: v.shape for k, v in tensors.items()}
    if found != shapes:
        wrong = sorted(dict(found.items() ^ shapes.items()))[0]
        raise ValueError(f"{path}: {wrong} of {of} is expected as "
                         f"{shapes.get(wrong)}, found as {found.get(wrong)}; is it of another "
                         "version of this package?")
    broken = [k for k, v in tensors.items() if v.dtype != np.float32 or not np.isfinite(v).all()]
    if broken:
        raise ValueError(f"{path}: {broken[0]} is expected as finite float32 numbers")
    return traverse_util.unflatten_dict(jax.device_put(dict(tensors)), sep="/")
