"""Classical scaling: eigenvectors of the doubly centred squared dissimilarities."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from deepmds_jax.mds.eigenpairs import leading_eigenpairs
from deepmds_jax.mds.inputs import (
    as_float,
    check_if_single,
    check_shapes,
    is_valid,
    symmetrize,
)


def classical(dissimilarities: ArrayLike, num_dims: int = 3) -> jax.Array:
    """Classical (Torgerson-Gower) scaling.

    Reproduces Euclidean distances in `num_dims` dimensions exactly.

    Args:
      dissimilarities: (..., n, n) float, symmetric and not negative up to rounding, as for
        `smacof`; the diagonal is ignored, and integers become the default float.
      num_dims: k, from 1 to n - 1.

    Returns:
      (..., n, k) centred points in the unit and dtype of the dissimilarities. The axes are
      principal axes, longest first, of arbitrary sign; an axis whose eigenvalue is not positive is
      zero. A problem with a value that is not finite gives NaN, and in a batch or inside jit also
      one that is negative, asymmetric or all zero, without effect on the rest of the batch.

    Raises:
      ValueError: wrong shapes; outside jit also a single problem that is negative, asymmetric or
        all zero.

    Source: Torgerson (1952), "Multidimensional scaling: I. Theory and method", Psychometrika 17;
    Borg & Groenen (2005), Modern Multidimensional Scaling, section 12.1.
    """
    array, _ = check_shapes(dissimilarities, None, num_dims)
    points, valid = _classical(array, num_dims)
    check_if_single(valid, array)
    return points.astype(as_float(dissimilarities).dtype)


@partial(jax.jit, static_argnames="num_dims")
def _classical(dissimilarities, num_dims):
    @partial(jnp.vectorize, signature="(n,n)->(n,k),()")
    def solve(dissimilarities):
        points = torgerson(symmetrize(dissimilarities), num_dims)
        valid = is_valid(dissimilarities) | ~jnp.all(jnp.isfinite(points))
        return jnp.where(valid, points, jnp.nan), valid

    return solve(dissimilarities)


def torgerson(dissimilarities: jax.Array, num_dims: int, tolerance: float = 0.0) -> jax.Array:
    """`classical` for one problem.

    Args:
      dissimilarities: (n, n) symmetric, with a zero diagonal.
      num_dims: k.
      tolerance: of the eigenpairs.

    Returns:
      (n, k).
    """
    largest = jnp.max(dissimilarities)
    scale = jnp.where(largest == 0, 1, largest)  # keeps the fourth powers in range
    scalar_products = double_centre((dissimilarities / scale) ** 2) / -2
    values, vectors = leading_eigenpairs(scalar_products, num_dims, tolerance)
    return vectors * (scale * jnp.sqrt(jnp.maximum(values, 0)))[None, :]


def double_centre(matrix: jax.Array) -> jax.Array:
    """J M J of a symmetric (n, n) matrix M, where J is the centring matrix: (n, n)."""
    means = jnp.mean(matrix, axis=1)
    return matrix - (means[:, None] + means[None, :]) + jnp.mean(means)
