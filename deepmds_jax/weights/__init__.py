"""Weights as files: safetensors with the configuration and the credits in their metadata.

The shipped weights lie beside this module: a file per topology, of the anchored variant, and one of
the published variant, by whose side the paper's numbers are put. The networks of the compared
methods are in `networks`.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from deepmds_jax.files import replacing
from deepmds_jax.lifting import Config, Params, init_params

_FOLDER = pathlib.Path(__file__).parent
_FORMAT = "deepmds_jax"
WEIGHTS_FILE = "weights.safetensors"  # in the folder of a training run


def pretrained_names() -> list[str]:
    """Of the shipped weights: topologies, and `published` of them."""
    return sorted(path.stem for path in _FOLDER.glob("*.safetensors"))


def published(topology: str) -> str:
    """Name of the weights of a topology as the paper has them, whether they are shipped or not."""
    return f"{topology}_published"


def load_pretrained(name: str) -> Params:
    """Loads shipped weights.

    Args:
      name: "ibug68", "flame51": the anchored variant, trained for any face and view, see
        docs/model_card.md; "ibug68_published", "flame51_published": the paper's variant and views.

    Raises:
      ValueError: no weights are shipped of that name.
    """
    if name not in pretrained_names():
        raise ValueError(f"name: weights are shipped for {pretrained_names()}, got {name!r}")
    return load_params(_FOLDER / f"{name}.safetensors")


def save_params(path: str | os.PathLike, params: Params, metadata: Mapping[str, str]) -> None:
    """Writes weights to a .safetensors file, whole or not at all.

    Args:
      path: the file.
      params: the weights; their `config` is stored with them.
      metadata: what else a reader should know: data, licence, command, figures.
    """
    config = json.dumps(dataclasses.asdict(params.config))
    write_tensors(path, _tree(params), {**metadata, "config": config})


def load_params(path: str | os.PathLike) -> Params:
    """Reads weights that `save_params` wrote.

    Raises:
      ValueError: no such file, not a whole safetensors file, not of this package, or tensors that
        do not fit the topology in its metadata.
    """
    path = pathlib.Path(path)
    metadata, tensors = read_tensors(path)
    if metadata.get("method", "deep_mds") != "deep_mds":
        raise ValueError(f"{path}: the network of method {metadata['method']}; expected the "
                         "weights of Deep-MDS")
    try:
        config = Config(**json.loads(metadata["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its metadata hold no valid Deep-MDS configuration: "
                         f"{error}") from error
    expected = jax.eval_shape(lambda: _tree(init_params(config, jax.random.key(0))))
    tree = as_tree(path, tensors, expected, f"topology {config.topology}")
    return Params(**tree, config=config)


def pretrained_metadata(name: str) -> dict[str, str]:
    """The metadata of shipped weights; see `read_metadata`."""
    return read_metadata(_FOLDER / f"{name}.safetensors")


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """The metadata of a weights file: configuration, data, licence, command."""
    return read_tensors(pathlib.Path(path))[0]


def _tree(params: Params) -> dict:
    fields = dataclasses.fields(params)
    return {f.name: getattr(params, f.name) for f in fields if f.name != "config"}


def write_tensors(path: str | os.PathLike, tree: Any, metadata: Mapping[str, str]) -> None:
    """Writes nested dicts of arrays to a .safetensors file of this package, whole or not at all."""
    tensors = {
        key: np.ascontiguousarray(value)
        for key, value in traverse_util.flatten_dict(tree, sep="/").items()
    }
    content = safetensors.numpy.save(tensors, {**metadata, "format": _FORMAT})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


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
    expected = {k: v.shape for k, v in traverse_util.flatten_dict(expected, sep="/").items()}
    found = {k: v.shape for k, v in tensors.items()}
    if found != expected:
        wrong = sorted(dict(found.items() ^ expected.items()))[0]
        raise ValueError(f"{path}: {wrong} of {of} is expected as "
                         f"{expected.get(wrong)}, found as {found.get(wrong)}")
    broken = [k for k, v in tensors.items() if v.dtype != np.float32 or not np.isfinite(v).all()]
    if broken:
        raise ValueError(f"{path}: {broken[0]} is expected as finite float32 numbers")
    arrays = {k: jnp.asarray(v) for k, v in tensors.items()}
    return traverse_util.unflatten_dict(arrays, sep="/")
