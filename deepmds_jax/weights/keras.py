"""Reads Keras weights files, such as those that the authors of Deep-MDS published."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from deepmds_jax.data.formats.hdf5 import load_keras_layers

# Layer -> weight -> array, in the order of the layers.
KerasLayers = Mapping[str, Mapping[str, np.ndarray]]


def read_keras_network(
    path: pathlib.Path, network: nn.Module, inputs: tuple[int, ...],
    rename: Callable[[KerasLayers], KerasLayers],
) -> dict[str, Any]:
    """Flax variables of a network from a Keras 2 weights file; every tensor must fit.

    Args:
      path: the file, one of those that the authors of Deep-MDS published (s2kamyab/DeepMDS).
      network: whose tensors are expected.
      inputs: shape of one of its inputs.
      rename: the file's layers in their order -> the same under the network's names.

    Raises:
      ValueError: the file is missing, damaged, or not of that network; names the tensor.
    """
    variables: dict[tuple[tuple[str, str], str], np.ndarray] = {}
    for layer, arrays in rename(_read_keras(path)).items():
        for weight, array in arrays.items():
            variables[_VARIABLES.get(weight, ("params", weight)), layer] = array
    found = {(kind, layer, weight): a for ((kind, weight), layer), a in variables.items()}
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *inputs)))
    expected: dict[Any, Any] = dict(traverse_util.flatten_dict(shapes))
    for key in (*expected, *found):
        here, there = (tree[key].shape if key in tree else None for tree in (found, expected))
        if here != there:
            raise ValueError(f"{path}: {'/'.join(key[1:])} of {type(network).__name__} is expected "
                             f"as {there}, found as {here}")
        if not np.isfinite(found[key]).all():
            raise ValueError(f"{path}: {'/'.join(key[1:])} is not finite")
    return traverse_util.unflatten_dict(
        {key: jnp.asarray(found[key], jnp.float32) for key in expected}
    )


# Keras' name of a weight -> collection and name in Flax, where they differ.
_VARIABLES = {
    "gamma": ("params", "scale"),
    "beta": ("params", "bias"),
    "moving_mean": ("batch_stats", "mean"),
    "moving_variance": ("batch_stats", "var"),
}


def _read_keras(path: pathlib.Path) -> KerasLayers:
    """The layers of a file."""
    try:
        return load_keras_layers(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; it is one of the authors' released weights "
                         "(github.com/s2kamyab/DeepMDS)") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a whole Keras HDF5 weights file: {error}") from error


def number_layers(layers: KerasLayers) -> KerasLayers:
    """dense1, norm1, dense2, ...: a normalisation has the number of the dense layer before it."""
    named, num_dense = {}, 0
    for arrays in layers.values():
        num_dense += "kernel" in arrays
        named[f"{'dense' if 'kernel' in arrays else 'norm'}{num_dense}"] = arrays
    return named
