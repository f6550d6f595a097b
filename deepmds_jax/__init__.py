"""Deep-MDS in JAX: 3D shape from the 2D landmarks of one photo, and batched MDS.

    import deepmds_jax as dm

    params = dm.load_pretrained("ibug68")
    x3d = dm.reconstruct(params, x2d)  # (..., 68, 2) -> (..., 68, 3)
"""

from deepmds_jax import geometry, mds, topologies
from deepmds_jax.data.released import load_released, load_released_zhao
from deepmds_jax.geometry import Placement, place_in_image
from deepmds_jax.reconstruct import (
    Config,
    Params,
    Reconstruction,
    reconstruct,
    reconstruct_detailed,
)
from deepmds_jax.sequence import (
    OneEuro,
    SequenceReconstruction,
    Smoothing,
    reconstruct_sequence,
)
from deepmds_jax.weights import load_params, load_pretrained, save_params

__version__ = "0.1.0"

__all__ = [
    "Config",
    "OneEuro",
    "Params",
    "Placement",
    "Reconstruction",
    "SequenceReconstruction",
    "Smoothing",
    "geometry",
    "load_params",
    "load_pretrained",
    "load_released",
    "load_released_zhao",
    "mds",
    "place_in_image",
    "reconstruct",
    "reconstruct_detailed",
    "reconstruct_sequence",
    "save_params",
    "topologies",
]
