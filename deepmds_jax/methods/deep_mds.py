"""The method of this package."""

from deepmds_jax.methods.method import Method
from deepmds_jax.reconstruct import Params, reconstruct


def deep_mds(params: Params) -> Method:
    """`reconstruct` with the given weights."""
    return Method("Deep-MDS", lambda faces: reconstruct(params, faces.x2d), None)
