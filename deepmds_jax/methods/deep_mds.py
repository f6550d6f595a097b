"""The method of this package."""

from deepmds_jax.lifting import Params, reconstruct
from deepmds_jax.methods.counts import count_deep_mds
from deepmds_jax.methods.method import Method


def deep_mds(params: Params) -> Method:
    """`reconstruct` with the given weights: ours, or the authors' from `load_released`."""
    num_params = count_deep_mds(params.autoencoder, params.dissimilarity)
    title = "Deep-MDS" if params.config.variant == "published" else "Deep-MDS, anchored"
    return Method(title, lambda faces: reconstruct(params, faces.x2d), num_params)
