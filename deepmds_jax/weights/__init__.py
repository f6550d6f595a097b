"""Weights as files: safetensors with the configuration and the credits in their metadata.

The shipped weights lie beside this module, one file per topology.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from deepmds_jax.files import replacing
from deepmds_jax.reconstruct import Config, Params, init_params

_FOLDER = pathlib.Path(__file__).parent
_FORMAT = "deepmds_jax"


def pretrained_names() -> list[str]:
    """Topologies that weights are shipped for."""
    return sorted(path.stem for path in _FOLDER.glob("*.safetensors"))


def load_pretrained(topology: str) -> Params:
    """Loads the shipped weights of a topology.

    Raises:
      ValueError: no weights are shipped for it.
    """
    if topology not in pretrained_names():
        raise ValueError(f"topology: weights are shipped for {pretrained_names()}, "
                         f"got {topology!r}")
    return load_params(_FOLDER / f"{topology}.safetensors")


def save_params(path: str | os.PathLike, params: Params, metadata: Mapping[str, str]) -> None:
    """Writes weights to a .safetensors file, whole or not at all.

    Args:
      path: the file.
      params: the weights; their `config` is stored with them.
      metadata: what else a reader should know: data, licence, command, figures.
    """
    tensors = {
        key: np.ascontiguousarray(value)
        for key, value in traverse_util.flatten_dict(_tree(params), sep="/").items()
    }
    config = json.dumps(dataclasses.asdict(params.config))
    content = safetensors.numpy.save(
        tensors, {**metadata, "format": _FORMAT, "config": config}
    )
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def load_params(path: str | os.PathLike) -> Params:
    """Reads weights that `save_params` wrote.

    Raises:
      ValueError: no such file, not a whole safetensors file, not of this package, or tensors that
        do not fit the topology in its metadata.
    """
    path = pathlib.Path(path)
    metadata, tensors = _read(path)
    try:
        config = Config(**json.loads(metadata["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its metadata hold no valid Deep-MDS configuration: "
                         f"{error}") from error
    expected = jax.eval_shape(lambda: _tree(init_params(config, jax.random.key(0))))
    expected = {k: v.shape for k, v in traverse_util.flatten_dict(expected, sep="/").items()}
    found = {k: v.shape for k, v in tensors.items()}
    if found != expected:
        wrong = sorted(dict(found.items() ^ expected.items()))[0]
        raise ValueError(f"{path}: {wrong} of topology {config.topology} is expected as "
                         f"{expected.get(wrong)}, found as {found.get(wrong)}")
    broken = [k for k, v in tensors.items() if v.dtype != np.float32 or not np.isfinite(v).all()]
    if broken:
        raise ValueError(f"{path}: {broken[0]} is expected as finite float32 numbers")
    tree = traverse_util.unflatten_dict(
        {k: jnp.asarray(v) for k, v in tensors.items()}, sep="/"
    )
    return Params(**tree, config=config)


def pretrained_metadata(topology: str) -> dict[str, str]:
    """The metadata of the shipped weights of a topology; see `read_metadata`."""
    return read_metadata(_FOLDER / f"{topology}.safetensors")


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """The metadata of a weights file: configuration, data, licence, command."""
    return _read(pathlib.Path(path))[0]


def _tree(params: Params) -> dict:
    fields = dataclasses.fields(params)
    return {f.name: getattr(params, f.name) for f in fields if f.name != "config"}


def _read(path: pathlib.Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
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
