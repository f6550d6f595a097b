"""Reads the Keras weights that the authors of Deep-MDS published (s2kamyab/DeepMDS)."""

import os
import pathlib
from typing import Any

import jax.numpy as jnp

from deepmds_jax import topologies
from deepmds_jax.data import synthetic
from deepmds_jax.extras import require
from deepmds_jax.geometry import standardize
from deepmds_jax.reconstruct import Config, Params

# Topology -> autoencoder, dissimilarity network, Zhao's network.
_FILES = {
    "bfm72": ("AE_occ2orth_BFM.h5", "deep_dissim_ours.h5", "deep_PAMI_occ1.h5"),
    "flame51": (
        "AE_occ2orth_FLAME.h5",
        "deep_dissim_from_2D_dist_pers_rem_proj.h5",
        "deep_PAMI_depth_FLAME.h5",
    ),
}


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
        autoencoder=_read(autoencoder, 2 * num_landmarks, 2 * num_landmarks),
        dissimilarity=_read(dissimilarity, 5, 1),
        reference=standardize(reference),
        config=Config(topology, features="release", y_up=True),
    )


def load_released_zhao(folder: str | os.PathLike, topology: str) -> dict[str, Any]:
    """Flax variables for `models.ZhaoNetwork` from the authors' weights; see `load_released`."""
    num_landmarks = topologies.get(topology).num_landmarks
    return _read(_files(folder, topology)[2], 2 * num_landmarks, num_landmarks)


def _files(folder: str | os.PathLike, topology: str) -> list[pathlib.Path]:
    if topology not in _FILES:
        raise ValueError(f"topology: the authors released weights for {list(_FILES)}, "
                         f"got {topology!r}")
    return [pathlib.Path(folder) / name for name in _FILES[topology]]


def _read(path: pathlib.Path, num_inputs: int, num_outputs: int) -> dict[str, Any]:
    """Flax variables dense1, norm1, ... in the order of the layers of a Keras 2 weights file."""
    h5py = require("h5py", extra="files")
    params, batch_stats, num_dense = {}, {}, 0
    try:
        with h5py.File(path, "r") as file:
            names = [n.decode() if isinstance(n, bytes) else n for n in file.attrs["layer_names"]]
            for layer in (file[n][n] for n in names if n in file[n]):
                arrays = {key.split(":")[0]: jnp.asarray(value[:]) for key, value in layer.items()}
                if "kernel" in arrays:
                    num_dense += 1
                    params[f"dense{num_dense}"] = {k: arrays[k] for k in ("kernel", "bias")}
                elif "gamma" in arrays:
                    name = f"norm{num_dense}"
                    params[name] = {"scale": arrays["gamma"], "bias": arrays["beta"]}
                    batch_stats[name] = {
                        "mean": arrays["moving_mean"], "var": arrays["moving_variance"]
                    }
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; it is one of the authors' released weights "
                         "(github.com/s2kamyab/DeepMDS)") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a whole Keras HDF5 weights file: {error}") from error
    kernels = [layer["kernel"].shape for layer in params.values() if "kernel" in layer]
    if not kernels or (kernels[0][0], kernels[-1][1]) != (num_inputs, num_outputs):
        found = f"{kernels[0][0]} to {kernels[-1][1]}" if kernels else "none"
        raise ValueError(f"{path}: expected dense layers from {num_inputs} to {num_outputs} "
                         f"numbers, found {found}")
    return {"params": params, "batch_stats": batch_stats} if batch_stats else {"params": params}
