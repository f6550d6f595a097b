"""Weights of the compared methods' networks as files, beside Deep-MDS' own in `weights`."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deepmds_jax import topologies, weights
from deepmds_jax.models import ZhaoNetwork
from deepmds_jax.models.mobileface import IMAGE_SIZE, MobileFace

METHODS = ("zhao", "mobileface")


def save_network(
    path: str | os.PathLike,
    method: str,
    topology: str,
    variables: Any,
    metadata: Mapping[str, str],
) -> None:
    """Writes the network of a compared method to a .safetensors file, whole or not at all.

    Args:
      path: the file.
      method: "zhao" or "mobileface".
      topology: of the landmarks it was trained on.
      variables: of the Flax module.
      metadata: what else a reader should know: data, licence, command, figures.

    Raises:
      ValueError: another method or topology.
    """
    _check(f"{path}", method, topology)
    weights.write_tensors(path, variables, {**metadata, "method": method, "topology": topology})


def load_network(path: str | os.PathLike) -> tuple[str, str, dict[str, Any], dict[str, str]]:
    """Reads a network that `save_network` wrote.

    Args:
      path: the file, or the folder of a training run, which holds it as `weights.safetensors`.

    Returns:
      The method, the topology, the variables of its Flax module, and the metadata.

    Raises:
      ValueError: no such file, not a whole safetensors file, not of this package or not of such a
        method, or tensors that do not fit the method and the topology in its metadata.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        path = path / weights.WEIGHTS_FILE
    metadata, tensors = weights.read_tensors(path)
    if "config" in metadata:
        raise ValueError(f"{path}: the networks of Deep-MDS; expected one of {list(METHODS)}")
    method, topology = metadata.get("method"), metadata.get("topology")
    _check(path, method, topology)
    if method == "zhao":
        network, example = zhao_network(topology)
    else:
        # The number of coefficients is the model's that it was trained on: any will do.
        coefficients = tensors.get("params/dense/bias")
        network, example = mobileface_network(1 if coefficients is None else coefficients.size)
    expected = jax.eval_shape(lambda: network.init(jax.random.key(0), example))
    tree = weights.as_tree(path, tensors, expected, f"{method} with topology {topology}")
    return method, topology, tree, metadata


def zhao_network(topology: str) -> tuple[nn.Module, jax.Array]:
    """Zhao's network for a topology, and an input of it."""
    num_landmarks = topologies.get(topology).num_landmarks
    return ZhaoNetwork(num_landmarks), jnp.zeros((1, num_landmarks, 2))


def mobileface_network(num_coefficients: int) -> tuple[nn.Module, jax.Array]:
    """MobileFace for a number of coefficients, and an input of it."""
    return MobileFace(num_coefficients), jnp.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3))


def _check(path: str | os.PathLike, method: str | None, topology: str | None) -> None:
    if method not in METHODS:
        raise ValueError(f"{path}: method: expected one of {list(METHODS)}, got {method!r}")
    try:
        topologies.get(topology)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
