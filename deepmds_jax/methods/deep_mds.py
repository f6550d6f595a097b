"""The method of this package."""

import functools
from collections.abc import Callable

import jax

from deepmds_jax.reconstruct import Params, reconstruct


def deep_mds(params: Params) -> Callable[[jax.Array], jax.Array]:
    """`reconstruct` with the given weights."""
    return functools.partial(reconstruct, params)
