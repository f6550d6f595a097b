"""The scalings of the paper. All of them act on each (N, d) configuration of a batch by itself."""

import jax
import jax.numpy as jnp


def centre(points: jax.Array) -> jax.Array:
    """Moves the centroid of each (..., N, d) configuration to the origin."""
    return points - jnp.mean(points, axis=-2, keepdims=True)


def size(points: jax.Array) -> jax.Array:
    """Root mean square distance (...) of (..., N, 3) points to their centroid."""
    return jnp.sqrt(jnp.mean(jnp.sum(centre(points) ** 2, axis=-1), axis=-1))


def min_max(points: jax.Array) -> jax.Array:
    """Scales each (..., N, d) configuration to [0, 1] jointly over all its N d numbers.

    The proportions are kept; where the numbers end within [0, 1] depends on the origin, as in the
    authors' release. All numbers equal gives NaN.
    """
    low = jnp.min(points, axis=(-2, -1), keepdims=True)
    high = jnp.max(points, axis=(-2, -1), keepdims=True)
    return (points - low) / (high - low)


def standardize(points: jax.Array) -> jax.Array:
    """Centres each (..., N, d) configuration and gives it root-mean-square distance 1 to there.

    All points equal gives NaN.
    """
    centred = centre(points)
    peak = jnp.max(jnp.abs(centred), axis=(-2, -1), keepdims=True)
    scaled = centred / peak  # squares of pixels or metres stay within float32
    mean_square = jnp.mean(jnp.sum(scaled**2, axis=-1, keepdims=True), axis=-2, keepdims=True)
    return scaled / jnp.sqrt(mean_square)
