"""Reads HDF5 files, by h5py in a process of its own."""

import pathlib
from collections.abc import Sequence

import numpy as np

from deepmds_jax.data.formats import child
from deepmds_jax.extras import require


def load_hdf5(path: pathlib.Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The datasets at some paths in a file, by these; text as bytes.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged; one of them is not there, or of neither numbers nor text; or they
        are not all in this file, or too large; does not name the file.
    """
    _check(path)
    return child.read("deepmds_jax.data.formats.hdf5_child", path, [*names])


def load_keras_layers(path: pathlib.Path) -> dict[str, dict[str, np.ndarray]]:
    """Layer -> weight -> array of a Keras 2 weights file, in the order of the layers.

    Those without weights are left out. Raises as `load_hdf5`.
    """
    _check(path)
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in child.read("deepmds_jax.data.formats.keras_child", path).items():
        layer, _, weight = name.rpartition("/")
        layers.setdefault(layer, {})[weight] = array
    return layers


def _check(path: pathlib.Path) -> None:
    require("h5py", extra="files")
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
