"""Deep-MDS in JAX: 3D shape from the 2D landmarks of one photo, and batched MDS.

The shape of a face::

    import deepmds_jax as dm

    params = dm.load_pretrained("ibug68")
    x3d = dm.reconstruct(params, x2d)  # (..., 68, 2) -> (..., 68, 3)

Names load on first use: `import deepmds_jax.mds` brings neither Flax nor anything of training.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from deepmds_jax import geometry, mds, methods, topologies
    from deepmds_jax.adaptation import adapt, adapt_template
    from deepmds_jax.exports import export
    from deepmds_jax.geometry import Placement, place_in_image
    from deepmds_jax.lifting import reconstruct, reconstruct_detailed
    from deepmds_jax.methods.contract import Params, Reconstruction
    from deepmds_jax.methods.deep_mds import load_released
    from deepmds_jax.methods.saved import (
        load_params,
        load_pretrained,
        load_weights,
        save_params,
    )
    from deepmds_jax.video import (
        OneEuro,
        SequenceReconstruction,
        Smoothing,
        reconstruct_sequence,
    )

# Public name -> the module that has it; None: the name is a module of its own.
_HOMES = {
    "OneEuro": "video",
    "Params": "methods.contract",
    "Placement": "geometry",
    "Reconstruction": "methods.contract",
    "SequenceReconstruction": "video",
    "Smoothing": "video",
    "adapt": "adaptation",
    "adapt_template": "adaptation",
    "export": "exports",
    "geometry": None,
    "load_params": "methods.saved",
    "load_pretrained": "methods.saved",
    "load_released": "methods.deep_mds",
    "load_weights": "methods.saved",
    "methods": None,
    "mds": None,
    "place_in_image": "geometry",
    "reconstruct": "lifting",
    "reconstruct_detailed": "lifting",
    "reconstruct_sequence": "video",
    "save_params": "methods.saved",
    "topologies": None,
}

__all__ = [
    "OneEuro",
    "Params",
    "Placement",
    "Reconstruction",
    "SequenceReconstruction",
    "Smoothing",
    "adapt",
    "adapt_template",
    "export",
    "geometry",
    "load_params",
    "load_pretrained",
    "load_released",
    "load_weights",
    "mds",
    "methods",
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
