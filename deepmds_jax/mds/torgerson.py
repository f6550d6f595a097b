"""Classical scaling: eigenvectors of the doubly centred squared dissimilarities."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from deepmds_jax.mds.eigenpairs import leading_eigenpairs
from deepmds_jax.mds.inputs import (
    as_computed,
    check_if_single,
    check_shapes,
    float_dtype,
    is_valid,
    symmetrize,
)
from deepmds_jax.mds.measures import power_of_two, safe_factor


def classical(dissimilarities: ArrayLike, num_dims: int = 3) -> jax.Array:
    """Classical (Torgerson-Gower) scaling.

    Reproduces Euclidean distances in `num_dims` dimensions exactly. Has forward derivatives only.

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
    return points.astype(float_dtype(dissimilarities))


class ClassicalResult(NamedTuple):
    """The result of `classical_detailed`; (...) are the leading axes of the dissimilarities.

    Negative eigenvalues mean that the dissimilarities are no Euclidean distances: no number of
    dimensions reproduces them. The two shares differ in how these count. 0 is the share of an axis
    whose own eigenvalue is not positive.

    Attributes:
      embedding: (..., n, k) as from `classical`.
      eigenvalues: (..., n) all, descending, in the squared unit of the dissimilarities; the first k
        are the sums of squares along the axes. One is always zero, up to rounding.
      share: (..., k) each axis' eigenvalue, divided by the sum of the absolute values of all: what
        is not Euclidean counts as not explained. Adds up to less than 1 where there is any.
      share_of_positive: (..., k) each axis' eigenvalue, divided by the sum of the positive ones:
        what is not Euclidean does not count. The n - 1 largest add up to 1.
    """

    embedding: jax.Array
    eigenvalues: jax.Array
    share: jax.Array
    share_of_positive: jax.Array


def classical_detailed(dissimilarities: ArrayLike, num_dims: int = 3) -> ClassicalResult:
    """`classical`, with all eigenvalues and the share that each axis explains.

    Args:
      dissimilarities: (..., n, n) float, as for `classical`.
      num_dims: k, from 1 to n - 1.

    Returns:
      A `ClassicalResult` in the dtype of the dissimilarities; NaN for a problem for which
      `classical` gives NaN.

    Raises:
      ValueError: as `classical` does.

    Source: Mardia, Kent & Bibby (1979), Multivariate Analysis, section 14.4; the sums of the two
    shares are the two numbers of `GOF` that R's `cmdscale` returns.
    """
    embedding = classical(dissimilarities, num_dims)
    found = _spectrum(as_computed("dissimilarities", dissimilarities), num_dims)
    return ClassicalResult(embedding, *(x.astype(embedding.dtype) for x in found))


@partial(jax.jit, static_argnames="num_dims")
def _spectrum(dissimilarities, num_dims):
    @partial(jnp.vectorize, signature="(n,n)->(n),(k),(k)")
    def solve(dissimilarities):
        scalar_products, scale = _scalar_products(symmetrize(dissimilarities))
        values = jnp.linalg.eigvalsh(scalar_products)[::-1]
        leading = jnp.maximum(values[:num_dims], 0)
        found = (values * scale * scale, leading / jnp.sum(jnp.abs(values)),
                 leading / jnp.sum(jnp.maximum(values, 0)))
        valid = is_valid(dissimilarities)
        return tuple(jnp.where(valid, x, jnp.nan) for x in found)

    return solve(dissimilarities)


@partial(jax.jit, static_argnames="num_dims")
def _classical(dissimilarities, num_dims):
    @partial(jnp.vectorize, signature="(n,n)->(n,k),()")
    def solve(dissimilarities):
        points = torgerson_of_any_unit(symmetrize(dissimilarities), num_dims)
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
    scalar_products, scale = _scalar_products(dissimilarities)
    values, vectors = leading_eigenpairs(scalar_products, num_dims, tolerance)
    return vectors * (scale * jnp.sqrt(jnp.maximum(values, 0)))[None, :]


def torgerson_of_any_unit(dissimilarities: jax.Array, num_dims: int) -> jax.Array:
    """`torgerson`, also near the ends of the range of the dtype."""
    # XLA divides by this unit and the one of `torgerson` at once, by the reciprocal of the product.
    largest = jnp.max(dissimilarities)
    unit, factor = power_of_two(largest), safe_factor(largest)
    return torgerson(factor * dissimilarities / unit, num_dims) * unit / factor


def _scalar_products(dissimilarities):
    """(n, n) of the centred points in units of a scale, and the () scale."""
    largest = jnp.max(dissimilarities)
    scale = jnp.where(largest == 0, 1, largest)  # keeps the fourth powers in range
    return double_centre((dissimilarities / scale) ** 2) / -2, scale


def double_centre(matrix: jax.Array) -> jax.Array:
    """J M J of a symmetric (n, n) matrix M, where J is the centring matrix: (n, n)."""
    means = jnp.mean(matrix, axis=1)
    return matrix - (means[:, None] + means[None, :]) + jnp.mean(means)
