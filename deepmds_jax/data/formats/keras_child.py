"""Reads Keras 2 weights files by h5py, in the process that `child` starts."""

import numpy as np

from deepmds_jax.data.formats.archives import open_hdf5
from deepmds_jax.data.formats.hdf5_child import plain


def load(path: str) -> dict[str, np.ndarray]:
    """By layer/weight, the arrays; see `hdf5.load_keras_layers`."""
    with open_hdf5(path) as file:
        names = file.attributes["layer_names"]
        names = [name.decode() if isinstance(name, bytes) else name for name in names]
        outer = {name: file.group(name) for name in names if name in file}
        layers = {name: group.group(name) for name, group in outer.items() if name in group}
        return {f"{name}/{key.split(':')[0]}": plain(key, layer.read(key))
                for name, layer in layers.items() for key in layer}
