"""Deep-MDS in JAX: 3D shape from the 2D landmarks of one photo, and batched MDS.

    import deepmds_jax as dm

    params = dm.load_pretrained("ibug68")
    x3d = dm.reconstruct(params, x2d)  # (..., 68, 2) -> (..., 68, 3)

Names load on first use: `import deepmds_jax.mds` brings nothing but JAX and NumPy with it.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from deepmds_jax import geometry, mds, topologies
    from deepmds_jax.geometry import Placement, place_in_image
    from deepmds_jax.lifting import (
        Config,
        Params,
        Reconstruction,
        reconstruct,
        reconstruct_detailed,
    )
    from deepmds_jax.video import (
        OneEuro,
        SequenceReconstruction,
        Smoothing,
        reconstruct_sequence,
    )
    from deepmds_jax.weights import load_params, load_pretrained, save_params
    from deepmds_jax.weights.keras import load_released, load_released_zhao

# Public name -> the module that has it; None: the name is a module of its own.
_HOMES = {
    "Config": "lifting",
    "OneEuro": "video",
    "Params": "lifting",
    "Placement": "geometry",
    "Reconstruction": "lifting",
    "SequenceReconstruction": "video",
    "Smoothing": "video",
    "geometry": None,
    "load_params": "weights",
    "load_pretrained": "weights",
    "load_released": "weights.keras",
    "load_released_zhao": "weights.keras",
    "mds": None,
    "place_in_image": "geometry",
    "reconstruct": "lifting",
    "reconstruct_detailed": "lifting",
    "reconstruct_sequence": "video",
    "save_params": "weights",
    "topologies": None,
}

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


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    if home is None:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
