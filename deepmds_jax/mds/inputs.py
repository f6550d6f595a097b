"""Dissimilarities as they come in: refused or brought to one form."""

import jax
import jax.numpy as jnp
import numpy as np

_ASYMMETRY = 1e-4  # of the largest dissimilarity; less than this is rounding, and is averaged out


def as_float(array: jax.Array) -> jax.Array:
    """Array of the same floating dtype, or of the default one for integers."""
    array = jnp.asarray(array)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def check_dissimilarities(dissimilarities: jax.Array, num_dims: int) -> jax.Array:
    """Dissimilarities as floats, or a ValueError that says what is wrong with them.

    Shapes are checked always, values outside jit only. NaN passes: the status reports it.
    """
    dissimilarities = as_float(dissimilarities)
    shape = dissimilarities.shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"dissimilarities: expected shape (..., n, n), got {shape}")
    if not 1 <= num_dims < shape[-1]:
        raise ValueError(
            f"num_dims: expected 1 to {shape[-1] - 1} for {shape[-1]} points, got {num_dims}"
        )
    if not isinstance(dissimilarities, jax.core.Tracer):
        _check_values(np.asarray(dissimilarities).reshape(-1, *shape[-2:]))
    return dissimilarities


def _check_values(problems: np.ndarray) -> None:
    off_diagonal = np.where(np.eye(problems.shape[-1], dtype=bool), 0, problems)
    if np.any(off_diagonal < 0):
        raise ValueError(f"dissimilarities: expected none < 0, got {np.nanmin(off_diagonal):g}")
    with np.errstate(invalid="ignore"):
        asymmetry = np.abs(off_diagonal - off_diagonal.swapaxes(1, 2)).max(axis=(1, 2))
    largest = off_diagonal.max(axis=(1, 2))
    if np.any(asymmetry > _ASYMMETRY * largest):
        raise ValueError(
            f"dissimilarities: expected symmetric, got differences up to {np.nanmax(asymmetry):g}"
        )
    if np.any(largest == 0):
        raise ValueError("dissimilarities: expected some > 0, got a problem with only zeros")


def symmetrize(dissimilarities: jax.Array) -> jax.Array:
    """Exactly symmetric (n, n) with a zero diagonal."""
    mean = (dissimilarities + dissimilarities.T) / 2
    return jnp.where(jnp.eye(*mean.shape, dtype=bool), 0, mean)
