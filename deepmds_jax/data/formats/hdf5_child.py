"""Reads HDF5 files by h5py, in the process that `child` starts."""

from collections.abc import Sequence

import numpy as np

from deepmds_jax.data.formats.archives import open_hdf5


def load(path: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The datasets at some paths; see `hdf5.load_hdf5`."""
    with open_hdf5(path) as file:
        return {name: plain(name, file.read(name)) for name in names}


def plain(name: str, array: np.ndarray) -> np.ndarray:
    """A dataset as numbers or bytes; ValueError if it holds anything else."""
    if array.dtype.kind == "O" and all(isinstance(item, bytes | str) for item in array.flat):
        texts = [item.encode() if isinstance(item, str) else item for item in array.flat]
        return np.array(texts, bytes).reshape(array.shape)
    if array.dtype.kind not in "biufcS":
        raise ValueError(f"{name} holds neither numbers nor text")
    return array
