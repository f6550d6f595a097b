"""Distances of a configuration, and measures of how badly they fit the disparities.

Matrices are symmetric with a zero diagonal, and sums run over the pairs i < j. The measures take
`weights`, (..., n, n) and not negative, all 1 by default: a pair of weight 0 is missing, and its
disparity may be NaN. All measures have finite derivatives, even at a perfect fit.
"""

from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deepmds_jax.mds.inputs import (
    as_computed,
    as_float,
    check_leading_axes,
    check_points,
    check_square,
    float_dtype,
    program_of_arrays,
)
from deepmds_jax.programs import one_program


def distances(points: jax.Array) -> jax.Array:
    """Euclidean distances between all pairs of points.

    Args:
      points: (..., n, k) float; integers become floats of the default dtype.

    Returns:
      (..., n, n) in the dtype of the points, symmetric with a zero diagonal, without overflow or
      underflow on the way. The gradient of a zero distance is zero.

    Raises:
      ValueError: wrong shape.
    """
    computed = as_computed("points", points)
    check_points("points", computed)
    return _distances(computed).astype(float_dtype(points))


@one_program
def _distances(points):
    differences = _differences(points)
    scale = _safe_scale(lax.stop_gradient(reduce(jnp.maximum, map(jnp.abs, differences))))
    square = sum((x * scale) ** 2 for x in differences)
    return square_root(square) / scale


def unscaled_distances(points: jax.Array) -> jax.Array:
    """`distances` where their squares are known to be in the range of the dtype: the same bits."""
    return square_root(squared_distances(points))


def squared_distances(points: jax.Array) -> jax.Array:
    """Those of (..., n, k) points, (..., n, n); where the squares are in the range of the dtype."""
    return sum((x**2 for x in _differences(points)), jnp.zeros((), points.dtype))


def _differences(points):
    # One matrix per coordinate, not a sum over the last axis: 10 times as fast on CPU.
    return [x[..., :, None] - x[..., None, :] for x in jnp.unstack(points, axis=-1)]


def _safe_scale(size: jax.Array) -> jax.Array:
    """Powers of two; times one, a number of this size can be squared in the range of the dtype.

    Source: Blue (1978), "A portable Fortran program to find the Euclidean norm of a vector", ACM
    Transactions on Mathematical Software 4.
    """
    exponent = np.finfo(size.dtype).maxexp
    far, scale = 2.0 ** (exponent // 4), 2.0 ** (exponent // 2 + 6)
    near = jnp.where(size < 1 / far, scale, 1.0)
    return jnp.where(size > far, 1 / scale, near).astype(size.dtype)


def power_of_two(size: jax.Array) -> jax.Array:
    """One of seven, (...), that is the least far from each size: dividing by it rounds nothing.

    Divided, numbers of that size can be squared, multiplied and summed in the range of the dtype.
    Those that can be so anyway have the power 1.
    """
    step = np.finfo(size.dtype).maxexp // 4
    power = jnp.full_like(size, 2.0 ** (-3 * step))
    for exponent in range(-2 * step, 4 * step, step):
        power = jnp.where(size >= 2.0 ** (exponent - step // 2), 2.0**exponent, power)
    return power


def in_units(values: jax.Array, unit: jax.Array) -> jax.Array:
    """Values divided by any unit of the range of the dtype."""
    factor = safe_factor(unit)
    return factor * values / (factor * unit)


def in_units_above_0(values: jax.Array, unit: jax.Array) -> jax.Array:
    """`in_units`, but the values as they are where the unit is 0."""
    return in_units(values, jnp.where(unit > 0, unit, 1))


def safe_factor(unit: jax.Array) -> jax.Array:
    """1, or 1/4 near the top of the range of the dtype: times it, a unit has a reciprocal.

    XLA multiplies by reciprocals, and takes those below the least normal number for zero.
    """
    is_large = unit > 2.0 ** (np.finfo(unit.dtype).maxexp - 2)
    return jnp.where(is_large, 0.25, 1).astype(unit.dtype)


def unit_of(points: jax.Array) -> jax.Array:
    """(..., 1, 1) `power_of_two` of (..., n, k) points: the unit in which they can be squared."""
    size = jnp.max(jnp.abs(points), axis=(-2, -1), keepdims=True, initial=0)
    return power_of_two(lax.stop_gradient(size))


def scale_weights(weights: jax.Array) -> jax.Array:
    """(..., n, n) weights, divided by a power of two near the largest of each matrix.

    A common factor changes no solution. Weights that count do not become 0.
    """
    scaled = weights / power_of_two(jnp.max(weights, axis=(-2, -1), keepdims=True))
    return keep_counted(scaled, weights)


def keep_counted(scaled: jax.Array, weights: jax.Array) -> jax.Array:
    """Scaled weights, of which those that count have not become 0."""
    return jnp.where((scaled == 0) & (weights > 0), jnp.finfo(weights.dtype).tiny, scaled)


def total(matrix: jax.Array) -> jax.Array:
    """() sum over (n, n); on CPU as a matrix product, which is four times as fast."""
    def by_product(matrix):
        ones = jnp.ones((matrix.shape[1], 1), matrix.dtype)
        return jnp.sum(jnp.matmul(matrix, ones, precision=lax.Precision.HIGHEST))

    return lax.platform_dependent(matrix, cpu=by_product, default=jnp.sum)


def symmetric_product(matrix: jax.Array, columns: jax.Array) -> jax.Array:
    """(n, k) product of a symmetric (n, n) matrix and (n, k) columns, in full precision.

    A GPU reads such a matrix down its columns twice as fast as along its rows, a CPU a third.
    """
    along_rows = partial(jnp.matmul, precision=lax.Precision.HIGHEST)

    def down_columns(matrix, columns):
        return along_rows(matrix.T, columns)

    return lax.platform_dependent(matrix, columns, cpu=along_rows, default=down_columns)


@program_of_arrays
def raw_stress(
    disparities: jax.Array, distances: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
    """Weighted sum of (disparity - distance)^2 over all pairs.

    Args:
      disparities: (..., n, n), or a block (..., n, m) of such a matrix, as in unfolding.
      distances: of the same n and m, of the configuration.
      weights: the same, or 1 for n or m; 0 marks a missing pair; all 1 by default.

    Returns:
      (...), 0 for a perfect fit. As entries of matrices come twice, those of blocks count half.

    Raises:
      ValueError: wrong shapes, or leading axes that do not broadcast.

    Source: Borg & Groenen (2005), Modern Multidimensional Scaling, section 8.1.
    """
    _check_shapes(disparities, distances, weights, blocks=True)
    return _sum_of_squares(disparities - distances, weights)


@program_of_arrays
def normalized_stress(
    disparities: jax.Array, distances: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
    """Raw stress divided by the weighted sum of squared disparities.

    Arguments and result as for `raw_stress`.

    Source: Borg & Groenen (2005), section 11.1.
    """
    disparities, distances, weights = _scale(disparities, distances, weights, blocks=True)
    return raw_stress(disparities, distances, weights) / _sum_of_squares(disparities, weights)


@program_of_arrays
def stress(
    disparities: jax.Array, distances: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
    """Kruskal's stress-1, sqrt(raw stress / sum of w d^2).

    Arguments and result as for `raw_stress`. The gradient at a perfect fit is zero.

    Source: Kruskal (1964), "Multidimensional scaling by optimizing goodness of fit to a nonmetric
    hypothesis", Psychometrika 29.
    """
    disparities, distances, weights = _scale(disparities, distances, weights, blocks=True)
    square = _sum_of_squares(distances, weights)
    return square_root(raw_stress(disparities, distances, weights) / square)


@program_of_arrays
def stress_2(
    disparities: jax.Array, distances: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
    """Kruskal's stress-2, sqrt(raw stress / sum of w (d - mean d)^2), with the weighted mean of d.

    Arguments and result as for `raw_stress`, but of no blocks. The gradient at a perfect fit is
    zero. Stress-2 is undefined (NaN or infinite) if all distances are equal.

    Source: Kruskal & Carroll (1969), "Geometrical models and badness-of-fit functions", in
    Multivariate Analysis II; Borg & Groenen (2005), chapter 11.
    """
    disparities, distances, weights = _scale(disparities, distances, weights)
    pairs = ~jnp.eye(distances.shape[-1], dtype=bool)
    counted = jnp.where(pairs, 1.0 if weights is None else weights, 0.0)
    d = _known(distances, counted)
    mean = jnp.sum(counted * d, axis=(-2, -1)) / jnp.sum(counted, axis=(-2, -1))
    spread = _sum_of_squares(d - mean[..., None, None], counted)
    return square_root(raw_stress(disparities, distances, weights) / spread)


@program_of_arrays
def stress_per_point(
    disparities: jax.Array, distances: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
    """Each point's share of the weighted squared residuals.

    Arguments as for `raw_stress`, but no blocks.

    Returns:
      (..., n) fractions that add up to 1, all equal at a perfect fit. The R package smacof prints
      them as percentages (`spp`).

    Source: Mair, Groenen & de Leeuw (2022), "More on multidimensional scaling and unfolding in R:
    smacof version 2", J. Statistical Software 102(10).
    """
    disparities, distances, weights = _scale(disparities, distances, weights)
    per_point = jnp.sum(_weighted_squares(disparities - distances, weights), axis=-1)
    total = jnp.sum(per_point, axis=-1, keepdims=True)
    perfect = total == 0
    return jnp.where(perfect, 1 / per_point.shape[-1], per_point / jnp.where(perfect, 1, total))


def _check_shapes(disparities, distances, weights, *, blocks=False):
    """ValueError unless all are matrices of the same pairs, whose leading axes broadcast.

    They may be blocks of matrices, not square, if such are allowed. Weights may have 1 row or
    column for all.
    """
    named = {"disparities": disparities, "distances": distances, "weights": weights}
    shapes = {name: matrices.shape for name, matrices in named.items() if matrices is not None}
    block = disparities.shape[-2:]
    is_block = blocks and len(block) == 2 and block[0] != block[1]
    for name, shape in shapes.items():
        fits = len(shape) > 1 and len(block) == 2 and all(
            size == full or (size == 1 and name == "weights")
            for size, full in zip(shape[-2:], block, strict=True))
        if fits and (is_block or name == "weights"):
            continue
        if is_block and len(distances.shape) > 1 and distances.shape[-2] != distances.shape[-1]:
            raise ValueError(f"{name}: expected shape (..., {block[0]}, {block[1]}) as the "
                             f"disparities have, got {shape}")
        check_square(name, shape)
        if shape[-1] != disparities.shape[-1]:
            raise ValueError(f"{name}: expected as many points as the disparities have, "
                             f"{disparities.shape[-1]}, got shape {shape}")
    check_leading_axes(shapes)


def _scale(disparities, distances, weights, *, blocks=False):
    """The arguments of a ratio of sums, in units in which squares are safe: the same ratio."""
    _check_shapes(disparities, distances, weights, blocks=blocks)
    disparities, distances = as_float(disparities), as_float(distances)
    weights = None if weights is None else scale_weights(as_float(weights))

    def largest(values):
        counted = jnp.isfinite(values) & (weights is None or weights != 0)
        return jnp.max(jnp.where(counted, jnp.abs(values), 0), axis=(-2, -1), keepdims=True)

    unit = power_of_two(jnp.maximum(largest(disparities), largest(distances)))
    return disparities / unit, distances / unit, weights


def _sum_of_squares(values: jax.Array, weights: jax.Array | None) -> jax.Array:
    return jnp.sum(_weighted_squares(values, weights), axis=(-2, -1)) / 2


def _weighted_squares(values: jax.Array, weights: jax.Array | None) -> jax.Array:
    return values**2 if weights is None else weights * _known(values, weights) ** 2


def _known(values: jax.Array, weights: jax.Array) -> jax.Array:
    """The values, with 0 in place of missing ones that are not finite."""
    # A finite value of weight 0 stays: its square is the derivative with respect to its weight.
    return jnp.where((weights == 0) & ~jnp.isfinite(values), 0, values)


@jax.custom_jvp
def square_root(square: jax.Array) -> jax.Array:
    """The square root, with derivative zero at zero."""
    return jnp.sqrt(square)


@square_root.defjvp
def _square_root_jvp(primals, tangents):
    # Not two selects around the root: XLA may fuse them separately, and then they can disagree on
    # what is zero.
    root = square_root(*primals)
    return root, tangents[0] / (2 * jnp.where(root > 0, root, jnp.inf))
