"""Centring and scaling, of each (N, d) configuration of a batch separately."""

import jax
import jax.numpy as jnp

from deepmds_jax.programs import one_program


@one_program
def centre(points: jax.Array) -> jax.Array:
    """Moves the centroid of each (..., N, d) configuration to the origin."""
    return points - jnp.mean(points, axis=-2, keepdims=True)


@one_program
def size(points: jax.Array) -> jax.Array:
    """Root-mean-square distance (...) of (..., N, d) points to their centroid."""
    return jnp.sqrt(jnp.mean(jnp.sum(centre(points) ** 2, axis=-1), axis=-1))


@one_program
def min_max(points: jax.Array) -> jax.Array:
    """Scales each (..., N, d) configuration to [0, 1], jointly over all its coordinates.

    Keeps proportions. Which axes reach 0 and 1 depends on the origin, as in the authors' release.
    If all coordinates are equal, the result is NaN.
    """
    low = jnp.min(points, axis=(-2, -1), keepdims=True)
    high = jnp.max(points, axis=(-2, -1), keepdims=True)
    return (points - low) / (high - low)


@one_program
def standardize(points: jax.Array) -> jax.Array:
    """Centres each (..., N, d) configuration and scales it to root-mean-square distance 1.

    The distance is that to the centroid. If all points are equal, the result is NaN.
    """
    centred = centre(points)
    peak = jnp.max(jnp.abs(centred), axis=(-2, -1), keepdims=True)
    scaled = centred / peak  # keeps the squares within float32, whatever the unit
    mean_square = jnp.mean(jnp.sum(scaled**2, axis=-1, keepdims=True), axis=-2, keepdims=True)
    return scaled / jnp.sqrt(mean_square)
