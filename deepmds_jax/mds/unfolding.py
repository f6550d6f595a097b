"""Unfolding: rows and columns of a rectangular matrix as points of one space."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from deepmds_jax import loops
from deepmds_jax.mds import solver
from deepmds_jax.mds.cores import solve_all
from deepmds_jax.mds.descent import Move, best_of, descend, one_by_one
from deepmds_jax.mds.eigenpairs import leading_eigenpairs
from deepmds_jax.mds.guttman import Laplacian, guttman_step
from deepmds_jax.mds.inputs import (
    ROUNDING,
    as_computed,
    broadcast_weights,
    check_choice,
    check_limits,
    check_num_dims,
    check_values,
    float_dtype,
    is_connected,
    is_on_cpu,
    is_traced,
)
from deepmds_jax.mds.isotonic import pool_adjacent_violators
from deepmds_jax.mds.measures import (
    in_units_above_0,
    scale_weights,
    square_root,
    unscaled_distances,
)
from deepmds_jax.mds.solver import Options, Status, narrow, status_of

UNFOLDINGS = ("ratio", "interval", "ordinal")
# Of the penalty: stress^_POWER (1 + _STRENGTH / variation^2), as Busing, Groenen & Heiser advise.
_POWER, _STRENGTH = 0.5, 1.0
_TINY = 1e-30  # for sums that are zero if a row has no known value
_LARGEST_VARIATION = 10.0
_NUM_STARTS = 16  # of problems of up to so many points in all
# With a transform for each row, points of a plane that fit better are no truer.
_FEW, _FEW_BY_ROWS = 20, 6
_NUM_VARIATIONS, _NUM_ZOOMS = 16, 6  # tried per row, each time in a narrower range


class Unfolding(NamedTuple):
    """The result of `unfold`; (...) are the leading axes of the preferences.

    Attributes:
      rows: (..., N, k) points of the rows; together with the columns they are centred.
      columns: (..., M, k) points of the columns.
      stress: (...) stress-1.
      disparities: (..., N, M) transformed preferences, 0 where missing.
      num_iters: (...) int32 number of configurations tried after the start.
      status: (...) int32 `Status`.
    """

    rows: jax.Array
    columns: jax.Array
    stress: jax.Array
    disparities: jax.Array
    num_iters: jax.Array
    status: jax.Array

    @property
    def converged(self) -> jax.Array:
        """(...) bool, whether the tolerance was met."""
        return self.status == Status.CONVERGED


def unfold(
    preferences: ArrayLike,
    num_dims: int = 2,
    *,
    transform: str = "ratio",
    weights: ArrayLike | None = None,
    max_iters: int = 3000,
    tolerance: float = 2e-4,
) -> Unfolding:
    """Places judges and objects so that each judge is near the objects that it prefers.

    "ratio" minimises stress-1 of the distances between rows and columns; everything within is a
    missing pair of `smacof`. "interval" and "ordinal" have a transform for each row, and would be
    solved perfectly by points that are all equally far from each other. A penalty forbids that: the
    loss is sqrt(mean stress) * mean(1 + 1 / variation^2) over the rows, each with the squared
    stress and the coefficient of variation of its disparities.

    Each problem of a batch runs and stops on its own; jit and vmap work. With "ratio", forward and
    reverse derivatives as for `smacof`; with "ordinal" they are zero, and "interval" has none.

    Args:
      preferences: (..., N, M) float, not negative: how far column j is from row i, so *small* is
        preferred (ranks, for example). NaN marks a missing value.
      num_dims: k, from 1 to min(N, M) - 1.
      transform: "ratio", "interval" or "ordinal". Ties of "ordinal" may have different disparities.
      weights: (..., N, M) or (N, M), not negative; all 1 by default.
      max_iters: maximum number of iterations.
      tolerance: as for `smacof`.

    Returns:
      An `Unfolding` in the dtype of the preferences (float16 and bfloat16 are computed in float32).
      With "ratio" it has the unit of the preferences; otherwise the root mean square distance
      between rows and columns is 1. Statuses and NaN as for `smacof`. The start is that of
      Schoenemann, from singular vectors; up to 20 points in all have 15 further ones around it, of
      which the best is kept; up to 6, if the transform is not "ratio" and k not 1. There are local
      minima.

    Raises:
      ValueError: wrong shapes or options; outside jit also a single problem that is negative or all
        zero, or not connected by its known values.

    Source: Heiser (1981), Unfolding Analysis of Proximity Data; Borg & Groenen (2005), Modern
    Multidimensional Scaling, chapters 14 and 15; Busing, Groenen & Heiser (2005), "Avoiding
    degeneracy in multidimensional unfolding by penalizing on the coefficient of variation",
    Psychometrika 70; Schoenemann (1970), "On metric multidimensional unfolding", Psychometrika 35.
    """
    given, preferences = preferences, as_computed("preferences", preferences)
    shape = preferences.shape
    if len(shape) < 2 or min(shape[-2:]) < 2:
        raise ValueError(f"preferences: expected shape (..., N, M), both 2 or more, got {shape}")
    check_num_dims(num_dims, min(shape[-2:]), of=f"{shape[-2]} rows and {shape[-1]} columns")
    check_choice("transform", transform, UNFOLDINGS)
    tolerance = check_limits(max_iters, tolerance)
    weights = jnp.ones_like(preferences) if weights is None else as_computed("weights", weights)
    weights = broadcast_weights(weights, preferences)

    options = Options(num_dims, transform, "primary", "anderson",
                      is_on_cpu((preferences, weights, max_iters, tolerance)))

    def solve(*problem):
        return _solve_batch(options, *problem, max_iters, tolerance)

    result = solve_all(solve, shape[:-2], preferences, weights, shared=(max_iters, tolerance))
    if len(shape) == 2 and not is_traced(result.status) and result.status >= Status.DISCONNECTED:
        known = jnp.where(weights > 0, preferences, jnp.nan)
        check_values(_as_square(known, jnp.nan), _as_square(weights, 0), "preferences")
    return narrow(result, float_dtype(given))


@partial(jax.jit, static_argnames="options")
def _solve_batch(options, preferences, weights, max_iters, tolerance):
    solve = partial(_solve_ratio, options)
    if options.transform != "ratio":
        if options.transform == "ordinal":
            preferences = lax.stop_gradient(preferences)
        solve = one_by_one(_solve_by_rows, options)
    if preferences.ndim == 3:
        solve = jax.vmap(solve, in_axes=(0, 0, None, None))
    return solve(preferences, weights, max_iters, tolerance)


def _solve_ratio(options, preferences, weights, max_iters, tolerance):
    known = jnp.where(weights > 0, preferences, jnp.nan)
    scaled, counted, _ = _scale(lax.stop_gradient(preferences), weights)
    starts = _starts(options, scaled, counted)
    square, counted = _as_square(known, jnp.nan), _as_square(weights, 0)
    result = solver.solve(options, square, counted, starts, max_iters, tolerance)
    n = preferences.shape[0]
    return Unfolding(result.embedding[:n], result.embedding[n:], result.stress,
                     result.disparities[:n, n:], result.num_iters, result.status)


def _as_square(block, fill):
    """(N + M, N + M) with (N, M) and its transpose off the diagonal."""
    n, m = block.shape
    corner = partial(jnp.full, fill_value=fill, dtype=block.dtype)
    return jnp.block([[corner((n, n)), block], [block.T, corner((m, m))]])


def _scale(preferences, weights):
    """Preferences of at most 1 and scaled weights, both 0 where missing; and () their unit."""
    missing = jnp.isnan(preferences) | (weights <= 0)
    known = jnp.where(missing, 0, jnp.maximum(preferences, 0))  # below 0 by rounding, or invalid
    unit = jnp.max(known)
    scaled = in_units_above_0(known, unit)
    return scaled, scale_weights(jnp.where(missing, 0, weights)), unit


def _is_valid(preferences, weights):
    """() whether, up to rounding, none are negative, and all weights are finite."""
    known = jnp.where((weights > 0) & ~jnp.isnan(preferences), preferences, 0)
    lowest = [jnp.min(x) >= -ROUNDING * jnp.max(x) for x in (known, weights)]
    return lowest[0] & lowest[1] & jnp.all(jnp.isfinite(weights))


def _starts(options, preferences, weights):
    """(S, N + M, k): singular vectors of the doubly centred squares, which are 0 where missing.

    From few points they often lead astray, on a line above all; of two rows and two columns, they
    even put each row upon a column. Such problems, which cost little, have further starts.
    """
    squares = preferences**2
    known = weights > 0
    rows, columns = (jnp.sum(squares, axis=axis, keepdims=True)
                     / jnp.maximum(jnp.sum(known, axis=axis, keepdims=True), 1) for axis in (1, 0))
    squares = jnp.where(known, squares, rows + columns - jnp.mean(rows))
    rows, columns = (jnp.mean(squares, axis=axis, keepdims=True) for axis in (1, 0))
    products = (squares - rows - columns + jnp.mean(squares)) / -2
    is_tall = products.shape[0] > products.shape[1]
    products = products.T if is_tall else products
    gram = jnp.matmul(products, products.T, precision=lax.Precision.HIGHEST)
    values, left = leading_eigenpairs(gram, options.num_dims)
    # Both sides share the singular values, of which `values` are the squares.
    root = jnp.maximum(values, _TINY) ** 0.25
    right = jnp.matmul(products.T, left, precision=lax.Precision.HIGHEST) / root
    left = left * root
    start = jnp.concatenate([right, left] if is_tall else [left, right])
    few = _FEW if options.transform == "ratio" or options.num_dims == 1 else _FEW_BY_ROWS
    num_starts = _NUM_STARTS if len(start) <= few else 1
    anywhere = np.random.default_rng(0).standard_normal((num_starts, *start.shape))
    anywhere = jnp.asarray(anywhere, start.dtype)
    disturbed = start + jnp.sqrt(jnp.mean(start**2)) * anywhere[1:]
    starts = jnp.concatenate([start[None], disturbed])
    # Preferences that are all equal say nothing: any points but coincident ones will do.
    return jnp.where(jnp.sum(start**2) > _TINY, starts, anywhere)


def _solve_by_rows(options, preferences, weights, max_iters, tolerance):
    valid = _is_valid(preferences, weights)
    preferences, weights, unit = _scale(preferences, weights)
    n = preferences.shape[0]
    fit = partial(_fit_rows, options, preferences, weights)

    def majorize(points, disparities):
        distances = unscaled_distances(points)[:n, n:]
        disparities = fit(distances, disparities)
        squares = jnp.sum(weights * disparities**2, axis=1, keepdims=True)
        # Each row counts alike, as stress relative to its disparities.
        counted = weights / jnp.where(squares > 0, squares, 1)
        step = guttman_step(points, unscaled_distances(points), _as_square(disparities, 0),
                            Laplacian.of(_as_square(counted, 0)))
        loss, error = _penalized(weights, disparities, distances)
        return Move(step, loss, error, disparities)

    def descend_from(start):
        start = start - jnp.mean(start, axis=0, keepdims=True)
        return descend(majorize, start, jnp.where(weights > 0, preferences, 0),
                       max_iters=max_iters, tolerance=tolerance)

    starts = _starts(options, preferences, weights)
    end = best_of(descend_from, starts, lambda end: end.move.loss)
    distances = unscaled_distances(end.point)[:n, n:]
    disparities = end.move.kept
    size = jnp.sqrt(jnp.sum(weights * distances**2) / jnp.sum(weights))
    points = end.point / size
    points, disparities = points - jnp.mean(points, axis=0, keepdims=True), disparities / size
    error = weights * (disparities - distances / size) ** 2
    stress = square_root(jnp.sum(error) / jnp.sum(weights))
    finite = jnp.isfinite(unit + end.move.loss) & jnp.all(jnp.isfinite(points))
    status = status_of(end.has_converged(tolerance), finite,
                       is_connected(_as_square(weights, 0)), (unit > 0) & valid)
    solved = status <= Status.STEP_LIMIT
    rows, columns, stress, disparities = (
        jnp.where(solved, x, jnp.nan) for x in (points[:n], points[n:], stress, disparities))
    return Unfolding(rows, columns, stress, disparities, end.num_iters, status)


def _moments(weights, values):
    """(N, 1) weighted mean and variance of each row."""
    total = jnp.sum(weights, axis=1, keepdims=True)
    total = jnp.maximum(total, _TINY)
    mean = jnp.sum(weights * values, axis=1, keepdims=True) / total
    return mean, jnp.sum(weights * (values - mean) ** 2, axis=1, keepdims=True) / total


def _row_terms(weights, disparities, distances):
    """(N, 1) squared stress, relative to the disparities, and penalty of each row."""
    squares = jnp.sum(weights * disparities**2, axis=1, keepdims=True)
    errors = jnp.sum(weights * (disparities - distances) ** 2, axis=1, keepdims=True)
    mean, variance = _moments(weights, disparities)
    return (errors / jnp.maximum(squares, _TINY),
            1 + _STRENGTH * mean**2 / jnp.maximum(variance, _TINY))


def _penalized(weights, disparities, distances):
    """() the loss, and () stress as the root of its mean square over the rows."""
    stress, penalty = (jnp.mean(x) for x in _row_terms(weights, disparities, distances))
    return stress**_POWER * penalty, jnp.sqrt(stress)


def _fit_rows(options, preferences, weights, distances, disparities):
    """(N, M) disparities that lower the loss for these distances, or those there are.

    Of stress and penalty, which are means over the rows, the tangents of their logarithms are
    minimised for each row. Whatever the coefficient of variation, the best row of disparities is an
    affine image of the least-squares fit, with 0 for what would be negative. So only one number
    is looked for, in ever narrower ranges; the best size follows from it.
    """
    stress, penalty = _row_terms(weights, disparities, distances)
    stress_slope = _POWER / jnp.maximum(jnp.mean(stress), jnp.finfo(stress.dtype).eps ** 2)
    penalty_slope = 1 / jnp.mean(penalty)
    if options.transform == "ordinal":
        fit = _fit_monotone(preferences, weights, distances, options.on_cpu)
    else:
        fit = _fit_line(preferences, weights, distances)
    is_flat = _moments(weights, fit)[1] <= _TINY  # it says nothing about the shape of a row
    fit = jnp.where(is_flat, disparities, fit)
    mean, variance = _moments(weights, fit)
    shape = jnp.where(weights > 0, fit - mean, 0) / jnp.sqrt(jnp.maximum(variance, _TINY))
    square, _ = _moments(weights, distances**2)

    def stretch(variation):
        """Disparities of the best size; variation (N, 1)."""
        base = jnp.where(weights > 0, jnp.maximum(1 + variation * shape, 0), 0)
        product, _ = _moments(weights, base * distances)
        # Stress relative to the disparities is least where these are too large, not too small.
        return square / jnp.maximum(product, _TINY) * base

    def loss(disparities):
        stress, penalty = _row_terms(weights, disparities, distances)
        return stress_slope * stress + penalty_slope * penalty

    high = jnp.full_like(mean, _LARGEST_VARIATION)
    if options.transform == "interval":  # a line must not go below 0
        high = -1 / jnp.minimum(jnp.min(shape, axis=1, keepdims=True), -1 / high)

    def zoom(_, limits):
        low, high, _ = limits
        factor = (high / low) ** (1 / (_NUM_VARIATIONS - 1))
        tried = low * factor ** jnp.arange(_NUM_VARIATIONS, dtype=low.dtype)
        losses = jax.vmap(lambda x: loss(stretch(x[:, None])), 1, 1)(tried)[..., 0]
        best = jnp.take_along_axis(tried, jnp.argmin(losses, axis=1, keepdims=True), axis=1)
        return jnp.maximum(best / factor, low), jnp.minimum(best * factor, high), best

    *_, best = lax.fori_loop(0, _NUM_ZOOMS, zoom, loops.alike((high / 1000, high, mean)))
    new = stretch(best)
    return jnp.where(loss(new) < loss(disparities), new, disparities)


def _fit_line(preferences, weights, distances):
    """(N, M) regression of each row of distances on its preferences, with a slope >= 0."""
    mean, variance = _moments(weights, preferences)
    mean_distance, _ = _moments(weights, distances)
    total = jnp.maximum(jnp.sum(weights, axis=1, keepdims=True), _TINY)
    products = weights * (preferences - mean) * (distances - mean_distance)
    slope = jnp.sum(products, axis=1, keepdims=True) / total / jnp.where(variance > 0, variance, 1)
    fit = mean_distance + jnp.maximum(slope, 0) * (preferences - mean)
    return jnp.where(weights > 0, fit, 0)


def _fit_monotone(preferences, weights, distances, on_cpu):
    """(N, M) isotonic regression of each row of distances in the order of its preferences."""
    def fit(preferences, weights, distances):
        known = weights > 0
        order = jnp.lexsort((distances, jnp.where(known, preferences, jnp.inf)))
        y = jnp.where(known, distances, jnp.inf)[order]  # missing ones come last
        fitted = pool_adjacent_violators(y, jnp.where(known, weights, 1)[order], on_cpu)
        return jnp.where(known, jnp.zeros_like(y).at[order].set(fitted), 0)

    return jax.vmap(fit)(preferences, weights, distances)
