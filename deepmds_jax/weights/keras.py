"""Reads the Keras weights that the authors of Deep-MDS published (s2kamyab/DeepMDS)."""

import os
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from deepmds_jax import topologies
from deepmds_jax.data.sources import synthetic
from deepmds_jax.extras import require
from deepmds_jax.geometry import standardize
from deepmds_jax.lifting import Config, Params
from deepmds_jax.models import Autoencoder, DissimilarityNetwork, MobileFace, ZhaoNetwork
from deepmds_jax.models.mobileface import IMAGE_SIZE

# Topology -> autoencoder, dissimilarity network, Zhao's network.
_FILES = {
    "bfm72": ("AE_occ2orth_BFM.h5", "deep_dissim_ours.h5", "deep_PAMI_occ1.h5"),
    "flame51": (
        "AE_occ2orth_FLAME.h5",
        "deep_dissim_from_2D_dist_pers_rem_proj.h5",
        "deep_PAMI_depth_FLAME.h5",
    ),
}
_MOBILEFACE_FILE = "deep_mobileface_occ.h5"
_MOBILEFACE_MODES = 199  # of the Basel Face Model 2009


def load_released(folder: str | os.PathLike, topology: str) -> Params:
    """Loads the authors' published Deep-MDS networks.

    The files hold no mean shape: the reference that settles orientation and handedness is the
    `synthetic` source's mean face.

    Args:
      folder: where the authors' .h5 files lie.
      topology: "bfm72" (trained on the Basel Face Model) or "flame51" (on CoMA).

    Raises:
      ValueError: another topology, or a file that is missing, damaged or not of that network.
    """
    autoencoder, dissimilarity, _ = _files(folder, topology)
    reference = jnp.asarray(synthetic.load(topology).mean)
    num_landmarks = reference.shape[0]
    return Params(
        autoencoder=_read(
            autoencoder, Autoencoder(num_landmarks), (num_landmarks, 2), _count_layers
        ),
        dissimilarity=_read(dissimilarity, DissimilarityNetwork(), (5,), _count_layers),
        reference=standardize(reference),
        config=Config(topology, features="release", y_up=True),
    )


def load_released_zhao(folder: str | os.PathLike, topology: str) -> dict[str, Any]:
    """Flax variables for `models.ZhaoNetwork` from the authors' weights; see `load_released`."""
    num_landmarks = topologies.get(topology).num_landmarks
    path = _files(folder, topology)[2]
    return _read(path, ZhaoNetwork(num_landmarks), (num_landmarks, 2), _count_layers)


def load_released_mobileface(folder: str | os.PathLike) -> dict[str, Any]:
    """Flax variables for `models.MobileFace(199)`; see `load_released`.

    Its coefficients are those of the Basel Face Model 2009's 199 shape modes.
    """
    path = pathlib.Path(folder) / _MOBILEFACE_FILE
    network = MobileFace(_MOBILEFACE_MODES)
    return _read(path, network, (IMAGE_SIZE, IMAGE_SIZE, 3), _rename_mobilenet)


def _files(folder: str | os.PathLike, topology: str) -> list[pathlib.Path]:
    if topology not in _FILES:
        raise ValueError(f"topology: the authors released weights for {list(_FILES)}, "
                         f"got {topology!r}")
    return [pathlib.Path(folder) / name for name in _FILES[topology]]


_Layers = Mapping[str, Mapping[str, np.ndarray]]


def _read(
    path: pathlib.Path, network: nn.Module, inputs: tuple[int, ...],
    rename: Callable[[_Layers], _Layers],
) -> dict[str, Any]:
    """Flax variables of a network from a Keras 2 weights file; every tensor must fit.

    Args:
      path: the file.
      network: whose tensors are expected.
      inputs: shape of one of its inputs.
      rename: the file's layers in their order -> the same under the network's names.
    """
    variables: dict[tuple[str, ...], np.ndarray] = {}
    for layer, arrays in rename(_read_keras(path)).items():
        for weight, array in arrays.items():
            variables[_VARIABLES.get(weight, ("params", weight)), layer] = array
    found = {(kind, layer, weight): a for ((kind, weight), layer), a in variables.items()}
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *inputs)))
    expected = traverse_util.flatten_dict(shapes)
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


def _read_keras(path: pathlib.Path) -> dict[str, dict[str, np.ndarray]]:
    """Layer -> weight -> array, in the order of the layers, those without weights left out."""
    h5py = require("h5py", extra="files")
    try:
        with h5py.File(path, "r") as file:
            names = [n.decode() if isinstance(n, bytes) else n for n in file.attrs["layer_names"]]
            return {
                name: {key.split(":")[0]: value[:] for key, value in file[name][name].items()}
                for name in names if name in file and name in file[name]
            }
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; it is one of the authors' released weights "
                         "(github.com/s2kamyab/DeepMDS)") from error
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not a whole Keras HDF5 weights file: {error}") from error


def _count_layers(layers: _Layers) -> _Layers:
    """dense1, norm1, dense2, ...: a normalisation has the number of the dense layer before it."""
    named, num_dense = {}, 0
    for arrays in layers.values():
        num_dense += "kernel" in arrays
        named[f"{'dense' if 'kernel' in arrays else 'norm'}{num_dense}"] = arrays
    return named


def _rename_mobilenet(layers: _Layers) -> _Layers:
    named = {}
    for name, arrays in layers.items():
        if "depthwise_kernel" in arrays:  # Keras has the channels in the last axis but one
            arrays = {"kernel": arrays["depthwise_kernel"].swapaxes(-1, -2)}
        named[_mobilenet_name(name)] = arrays
    return named


def _mobilenet_name(name: str) -> str:
    """conv_dw_3_bn -> depthwise3_norm; Keras numbers the dense layers of a session."""
    for pattern, replacement in (
        (r"_bn$", "_norm"), (r"^conv1", "conv"), (r"^conv_dw_", "depthwise"),
        (r"^conv_pw_", "pointwise"), (r"^dense_\d+$", "dense"),
    ):
        name = re.sub(pattern, replacement, name)
    return name
