"""Ratio scaling of one problem: one pass over its matrices per iteration, and few iterations.

Whole matrices of distances, errors and ratios of a large problem would go through the memory of a
CPU ten times in every iteration. Those of a block of rows stay in its caches. And each point is
moved as its own curvature asks, which halves the number of iterations.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from deepmds_jax import loops
from deepmds_jax.geometry import linalg
from deepmds_jax.mds.guttman import Laplacian, disparity_ratios, pseudoinverse_product
from deepmds_jax.mds.measures import (
    square_root,
    squared_distances,
    symmetric_product,
    total,
    unscaled_distances,
)
from deepmds_jax.mds.transforms import Proportion

_BLOCK_SIZE = 2**20  # numbers of each matrix
_MIN_CURVATURE = 0.1  # relative to that which the Guttman transform assumes
_MIN_DISTANCE = 0.03  # relative to the root mean square of the coordinates, as curvatures count it
_MAX_CONTRAST = 100  # of the weights, up to which curvatures count
_SWEEPS = 3  # of rotations: nearly the axes of the curvatures are as good as the axes

_matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)


class Known(NamedTuple):
    """What one configuration takes over from those before it.

    Attributes:
      factor: () of the disparities.
      inverse: (n, k, k) of the curvature by each point, see `inverse_curvatures`.
    """

    factor: jax.Array
    inverse: jax.Array


def nothing_known(problem: Proportion, laplacian: Laplacian, points: jax.Array) -> Known:
    """For the first configuration, (n, k): the factor of a perfect fit, and unit matrices."""
    n, k = points.shape
    square = total(laplacian.weights * squared_distances(points))
    factor = jnp.sqrt(square / problem.square)
    return Known(factor, jnp.broadcast_to(jnp.eye(k, dtype=points.dtype), (n, k, k)))


def fit_ratio(
    problem: Proportion, laplacian: Laplacian, points: jax.Array, factor: jax.Array,
    in_blocks: bool | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Stress-1 of a configuration with its best disparities, and its Guttman transform.

    A single pass over the matrices has to know the factor of the disparities beforehand: it takes
    that of the last configuration. The error of the best one follows, as error is a parabola in
    the factor; and the transform only changes in size.

    Args:
      problem: the dissimilarities.
      laplacian: of the weights.
      points: (n, k), centred, of norm 1.
      factor: () near the best one.
      in_blocks: whether to take one block of rows after the other.

    Returns:
      () stress-1, (n, k) the transform, of any size, and () the best factor.
    """
    columns = jnp.concatenate([points, jnp.ones_like(points[:, :1])], axis=1)
    product = _matmul if in_blocks else symmetric_product

    def sums(weights, dissimilarities, distances):
        disparities = factor * dissimilarities
        error = weights * (disparities - distances) ** 2
        pull = weights * (1 - disparity_ratios(disparities, distances))
        return jnp.concatenate([product(error, columns[:, -1:]), product(pull, columns)], axis=1)

    found = _over_rows(sums, points, laplacian.weights, problem.dissimilarities, in_blocks)
    error, push = jnp.sum(found[:, 0]), found[:, 1:-1] - found[:, -1:] * points
    slope = (error + 2 * jnp.sum(push * points)) / factor
    square, slope = _size_and_slope(problem, laplacian, points, factor, slope)
    change = slope / problem.square
    image = points + pseudoinverse_product(laplacian, push)
    error = jnp.maximum(error - slope * change, 0)  # rounding
    return square_root(error / square), image, factor - change


def inverse_curvatures(
    problem: Proportion, laplacian: Laplacian, points: jax.Array, factor: jax.Array,
    in_blocks: bool | None,
) -> jax.Array:
    """How much further than its Guttman transform each point can go, in every direction.

    The transform takes raw stress to curve alike everywhere. But a point far out meets little
    resistance sideways, and takes many iterations to get there.

    Args:
      As for `fit_ratio`.

    Returns:
      (n, k, k) inverse second derivatives of raw stress by each point alone, relative to what the
      transform takes them for. Those of negative or little curvature are bounded. Unit matrices
      where weights differ by more than a factor of 100.
    """
    n, k = points.shape
    min_distance = _MIN_DISTANCE / n**0.5
    products = (points[:, :, None] * points[:, None, :]).reshape(n, k * k)
    columns = jnp.concatenate([jnp.ones_like(points[:, :1]), points, products], axis=1)
    product = _matmul if in_blocks else symmetric_product

    def sums(weights, dissimilarities, distances):
        distances = jnp.maximum(distances, min_distance)
        return product(weights * dissimilarities / distances**3, columns)

    found = _over_rows(sums, points, laplacian.weights, problem.dissimilarities, in_blocks)
    found = found / laplacian.degrees[:, None] * factor
    # Weighted by w dhat / d^3, the sum of products of the differences from all other points.
    total, mixed = found[:, 0, None], points[:, :, None] * found[:, None, 1:k + 1]
    spread = (total * products + found[:, k + 1:]).reshape(n, k, k) - mixed - mixed.mT
    across = 1 - jnp.trace(spread, axis1=1, axis2=2)
    unit = jnp.eye(k, dtype=points.dtype)[None]
    # Rotated so, the columns of a symmetric matrix are as long as its eigenvalues are large.
    columns, axes = linalg.orthogonalize(spread + across[:, None, None] * unit, _SWEEPS)
    curvatures = jnp.maximum(jnp.sqrt(jnp.sum(columns**2, axis=1)), _MIN_CURVATURE)
    # Points that a heavy weight ties together must not go differently far.
    weights = laplacian.weights
    lightest = jnp.min(jnp.where(weights > 0, weights, jnp.inf))
    curvatures = jnp.where(jnp.max(weights) > _MAX_CONTRAST * lightest, 1, curvatures)
    return _matmul(axes / curvatures[:, None, :], axes.mT)


def _size_and_slope(problem, laplacian, points, factor, slope):
    """() weighted sums over all pairs: of squared distances, and of errors times dissimilarities.

    The latter are half the derivative of the squared error by the factor. Equal weights give the
    first for points of norm 1, and the slope that follows from the pulls. Others can be so large
    between points so close that of both no digit would be left.
    """
    weights, dissimilarities = laplacian.weights, problem.dissimilarities

    def known():
        square = 2 * weights.shape[0] * weights[0, -1]
        return loops.alike((square, slope, points))[:2]

    def over_pairs():
        distances = unscaled_distances(points)
        errors = weights * (factor * dissimilarities - distances)
        return total(weights * distances**2), total(errors * dissimilarities)

    return lax.cond(laplacian.is_constant, known, over_pairs)


def _over_rows(
    sums: Callable[..., jax.Array], points: jax.Array, weights: jax.Array,
    dissimilarities: jax.Array, in_blocks: bool | None,
) -> jax.Array:
    """(n, c) `sums(weights, dissimilarities, distances)`, of blocks of their rows or of all."""
    n = points.shape[0]
    size = min(n, max(1, _BLOCK_SIZE // n)) if in_blocks else n

    def of_these(weights, dissimilarities, these):
        pairs = zip(these.T, points.T, strict=True)
        distances = square_root(sum((x[:, None] - y[None, :]) ** 2 for x, y in pairs))
        return sums(weights, dissimilarities, distances)

    if size == n:
        return of_these(weights, dissimilarities, points)

    def of_rows(start):
        rows = partial(lax.dynamic_slice_in_dim, start_index=start, slice_size=size)
        return of_these(rows(weights), rows(dissimilarities), rows(points))

    # The last block overlaps the one before it, so that all have one shape.
    blocks = lax.map(of_rows, jnp.minimum(jnp.arange(0, n, size), n - size))
    num_left = n - size * (len(blocks) - 1)
    first = blocks[:-1].reshape(n - num_left, blocks.shape[2])
    return jnp.concatenate([first, blocks[-1, size - num_left:]])
