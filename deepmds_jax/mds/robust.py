"""Scaling that a few wrong dissimilarities cannot spoil."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from deepmds_jax.mds.cores import solve_all
from deepmds_jax.mds.descent import Move, descend, one_by_one
from deepmds_jax.mds.guttman import Laplacian, disparity_ratios, guttman_step, laplacian_product
from deepmds_jax.mds.implicit import implicit_change
from deepmds_jax.mds.inputs import (
    check_labels,
    check_limits,
    check_number,
    check_shapes,
    check_start,
    check_values,
    fill_with_shortest_paths,
    float_dtype,
    is_connected,
    is_on_cpu,
    is_traced,
    is_valid,
    start_of,
    symmetrize,
)
from deepmds_jax.mds.measures import (
    in_units,
    scale_weights,
    square_root,
    unit_of,
    unscaled_distances,
)
from deepmds_jax.mds.solver import Status, narrow, status_of
from deepmds_jax.mds.torgerson import torgerson_of_any_unit

# In standard deviations of normal errors: there 98 % as efficient as least squares.
_THRESHOLD = 1.7
_WITHIN = math.erf(_THRESHOLD / math.sqrt(2))  # the share of normal errors that is
_CLIPPED_VARIANCE = (  # of a standard normal variable, clipped there
    _WITHIN - _THRESHOLD * math.sqrt(2 / math.pi) * math.exp(-_THRESHOLD**2 / 2)
    + _THRESHOLD**2 * (1 - _WITHIN)
)
_MIN_DEVIATION = 1e-4  # of the errors, in mean dissimilarities; errors below it are none
_LARGEST = 1e3  # of the dissimilarities, in their mean: their pull does not grow with them anyway
_MARGIN = 1.25  # beyond what triangles allow
_NUM_REFERENCES = 11  # third points of the triangles that a dissimilarity is compared with


class RobustResult(NamedTuple):
    """The result of `smacof_robust`; (...) are the leading axes of the dissimilarities.

    Attributes:
      embedding: (..., n, k) centred points, in the unit of the dissimilarities.
      stress: (...) stress-1, with the weights of the pairs.
      pair_weights: (..., n, n) how much each pair counts, from 1 (its error is within the
        threshold) to nearly 0 (it is an outlier): threshold / |error| beyond the threshold. 0 on
        the diagonal and for missing pairs.
      threshold: (...) of the errors, in the unit of the dissimilarities.
      num_iters: (...) int32 number of configurations tried after the start.
      status: (...) int32 `Status`.
    """

    embedding: jax.Array
    stress: jax.Array
    pair_weights: jax.Array
    threshold: jax.Array
    num_iters: jax.Array
    status: jax.Array

    @property
    def converged(self) -> jax.Array:
        """(...) bool, whether the tolerance was met."""
        return self.status == Status.CONVERGED


def smacof_robust(
    dissimilarities: ArrayLike,
    num_dims: int = 3,
    *,
    threshold: float | None = None,
    weights: ArrayLike | None = None,
    init: ArrayLike | None = None,
    max_iters: int = 3000,
    tolerance: float = 2e-4,
) -> RobustResult:
    """Finds points whose distances are the dissimilarities, apart from some that are wrong.

    Ratio scaling with Huber's loss of the errors: their squares up to a threshold, and from there
    on a straight line. However wrong a dissimilarity is, it pulls no harder than one whose error is
    the threshold. The threshold is 1.7 standard deviations of the other errors, which are found
    together with the points ("proposal 2").

    Each problem of a batch runs and stops on its own; jit and vmap work. Forward and reverse
    derivatives of embedding, stress and pair weights with respect to dissimilarities and weights
    are those of the solution, at a fixed threshold; that of the threshold itself is zero.

    Args:
      dissimilarities: (..., n, n) float, as for `smacof`; NaN marks a missing value. Those above
        1,000 times the mean of the credible ones count as that much.
      num_dims: k, from 1 to n - 1.
      threshold: in the unit of the dissimilarities, positive; by default found from the errors.
      weights: (..., n, n) or (n, n), as for `smacof`.
      init: (..., n, k) configuration to start from, of any size; by default classical scaling. For
        that, and for the size of the start, dissimilarities that most of their triangles with
        eleven other points rule out count as missing.
      max_iters: maximum number of iterations.
      tolerance: a problem has converged when a step moves the points by less than this times
        stress, relative to their size, and has lowered the loss by a smaller fraction than this.

    Returns:
      A `RobustResult` in the dtype of the dissimilarities (float16 and bfloat16 are computed in
      float32). Statuses and NaN as for `smacof`.

    Raises:
      ValueError: as for `smacof`, and a threshold that is not positive.

    Source: Huber (1964), "Robust estimation of a location parameter", Annals of Mathematical
    Statistics 35; Huber & Ronchetti (2009), Robust Statistics, section 7.8 (the threshold); Heiser
    (1988), "Multidimensional scaling with least absolute residuals", in Classification and Related
    Methods of Data Analysis; Mandanas & Kotropoulos (2017), "Robust multidimensional scaling using
    a maximum correntropy criterion", IEEE Trans. Signal Processing 65 (outliers as part of a
    half-quadratic loss).
    """
    given = dissimilarities
    dissimilarities, weights = check_shapes(given, weights, num_dims)
    *batch, n, _ = dissimilarities.shape
    if threshold is not None:
        threshold = check_number("threshold", threshold, may_be_zero=False)
    tolerance = check_limits(max_iters, tolerance)
    check_labels("init", init, given)
    if init is not None:
        init = start_of(init, (*batch, n, num_dims), dissimilarities.dtype)

    limits = threshold, max_iters, tolerance
    options = _Options(num_dims, is_on_cpu((dissimilarities, weights, init, limits)))

    def solve(*problem):
        return _solve_batch(options, *problem, *limits)

    result = solve_all(solve, tuple(batch), dissimilarities, weights, init,
                       shared=limits)
    if not batch and not is_traced(result.status):
        if result.status == Status.NON_FINITE and init is not None and not is_traced(init):
            check_start(init, dissimilarities)
        if result.status >= Status.DISCONNECTED:
            check_values(dissimilarities, weights)
    return narrow(result, float_dtype(given))


class _Options(NamedTuple):
    num_dims: int
    on_cpu: bool | None


@partial(jax.jit, static_argnames="options")
def _solve_batch(options, dissimilarities, weights, init, threshold, max_iters, tolerance):
    solve = partial(_solve, options)
    if dissimilarities.ndim == 3:
        solve = jax.vmap(solve, in_axes=(0, 0, 0, None, None, None))
    result = solve(dissimilarities, weights, init, threshold, max_iters, tolerance)
    return result._replace(num_iters=result.num_iters.astype(jnp.int32),
                           status=result.status.astype(jnp.int32))


class _Problem(NamedTuple):
    """One problem; its dissimilarities are in units of their mean, 0 for missing pairs."""

    dissimilarities: jax.Array
    laplacian: Laplacian
    unit: jax.Array
    is_valid: jax.Array
    is_finite: jax.Array


def _prepare(dissimilarities, weights):
    """The `_Problem`, and (n, n) dissimilarities that outliers do not spoil, for the start."""
    valid = is_valid(dissimilarities)
    dissimilarities = symmetrize(dissimilarities)
    if weights is None:
        weights = jnp.ones_like(dissimilarities)
    else:
        valid &= is_valid(weights) & jnp.all(jnp.isfinite(weights))
    weights = symmetrize(weights)
    missing = jnp.isnan(dissimilarities) | (weights == 0)
    weights = scale_weights(jnp.where(missing, 0, weights))
    dissimilarities = jnp.where(missing, 0, dissimilarities)
    finite = jnp.all(jnp.isfinite(dissimilarities))
    known = lax.stop_gradient(dissimilarities)
    credible = jnp.where(_is_credible(fill_with_shortest_paths(known, weights)), weights, 0)
    # Nor are all that are above 0 wrong.
    says_enough = is_connected(credible) & jnp.any((credible > 0) & (known > 0))
    credible = jnp.where(says_enough, credible, weights)
    filled = fill_with_shortest_paths(known, credible)
    known = jnp.where((credible > 0) & jnp.isfinite(known), known, 0)
    peak = jnp.max(known)
    peak = jnp.where(peak > 0, peak, 1)
    mean = lax.stop_gradient(jnp.sum(credible * in_units(known, peak)) / jnp.sum(credible))
    unit = jnp.where(mean > 0, mean, 1) * peak
    dissimilarities = jnp.minimum(in_units(dissimilarities, unit), _LARGEST)
    valid &= (mean > 0) | ~finite
    problem = _Problem(dissimilarities, Laplacian.of(weights), unit, valid, finite)
    return problem, in_units(filled, unit)


def _is_credible(dissimilarities):
    """(n, n) bool, whether |d_ik - d_jk| <= d_ij <= d_ik + d_jk, nearly, for most of some k."""
    n = dissimilarities.shape[0]
    num_references = min(n, _NUM_REFERENCES)
    rows = dissimilarities[np.linspace(0, n - 1, num_references).astype(int)]
    one, other = rows[:, :, None], rows[:, None, :]
    middle = (num_references - 1) // 2
    least = jnp.sort(jnp.abs(one - other), axis=0)[middle]
    most = jnp.sort(one + other, axis=0)[middle]
    return (dissimilarities <= _MARGIN * most) & (least <= _MARGIN * dissimilarities)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solve(options, dissimilarities, weights, init, threshold, max_iters, tolerance):
    """The result, with floats for integers, which have tangents."""
    return one_by_one(_minimize, options)(
        dissimilarities, weights, init, threshold, max_iters, tolerance)


def _minimize(options, dissimilarities, weights, init, threshold, max_iters, tolerance):
    problem, filled = _prepare(dissimilarities, weights)
    num_dims = options.num_dims
    weights = problem.laplacian.weights
    # Of the errors, as many are free as there are pairs beyond the coordinates.
    n = weights.shape[0]
    num_pairs = jnp.sum(weights > 0, dtype=weights.dtype) / 2
    num_free = num_pairs - (n * num_dims - num_dims * (num_dims + 1) / 2)
    num_free = jnp.maximum(num_free, num_pairs / 4)
    expected = _CLIPPED_VARIANCE * jnp.sum(weights) * num_free / num_pairs

    def majorize(points, deviation):
        distances = unscaled_distances(points)
        errors = problem.dissimilarities - distances
        if threshold is None:
            clipped = jnp.clip(errors, -_THRESHOLD * deviation, _THRESHOLD * deviation)
            deviation = jnp.sqrt(jnp.sum(weights * clipped**2) / expected)
            deviation = jnp.maximum(deviation, _MIN_DEVIATION)
        limit = _THRESHOLD * deviation
        clipped = jnp.clip(errors, -limit, limit)
        # With what is beyond the threshold taken off as an outlier, this is a plain problem.
        step = guttman_step(points, distances, distances + clipped, problem.laplacian)
        excess = jnp.abs(errors) - jnp.abs(clipped)
        huber = jnp.sum(weights * (clipped**2 / 2 + limit * excess))
        loss = huber / deviation + deviation * expected / 2
        _, stress, _ = _describe(problem, points, limit)
        return Move(step, loss, stress, deviation)

    start = torgerson_of_any_unit(filled, num_dims) if init is None else _fit_size(init, filled)
    if threshold is None:
        deviation = jnp.ones((), start.dtype)
    else:
        deviation = (threshold / _THRESHOLD / problem.unit).astype(start.dtype)
    end = descend(majorize, start, deviation, max_iters=max_iters, tolerance=tolerance)
    limit = _THRESHOLD * end.move.kept
    fit = _describe(problem, end.point, limit)
    embedding, stress, _ = fit
    finite = problem.is_finite & jnp.all(jnp.isfinite(embedding))
    finite &= jnp.isfinite(end.move.loss) & jnp.isfinite(stress)
    status = status_of(end.has_converged(tolerance), finite, is_connected(weights),
                       problem.is_valid)
    solved = status <= Status.STEP_LIMIT
    fit = (jnp.where(solved, x, jnp.nan) for x in (*fit, limit * problem.unit))
    return RobustResult(*fit, *(x.astype(start.dtype) for x in (end.num_iters, status)))


def _fit_size(points, dissimilarities):
    """(n, k) points, centred and of the size that suits (n, n) dissimilarities best.

    NaN where that is 0: nothing can start from there.
    """
    points = points / unit_of(points)
    points = points - jnp.mean(points, axis=0, keepdims=True)
    distances = unscaled_distances(points)
    size = jnp.sum(dissimilarities * distances) / jnp.sum(distances**2)
    return points * jnp.where(size > 0, size, jnp.nan)


def _describe(problem, points, limit):
    """Embedding, stress and pair weights, in this order and in the given unit; differentiable."""
    weights = problem.laplacian.weights
    distances = unscaled_distances(points)
    errors = jnp.abs(problem.dissimilarities - distances)
    pair_weights = jnp.where(errors > limit, limit / jnp.where(errors > limit, errors, 1), 1)
    weighted = weights * pair_weights
    square = jnp.sum(weighted * errors**2) / jnp.sum(weighted * distances**2)
    pair_weights = jnp.where(weights > 0, pair_weights, 0)
    return problem.unit * points, square_root(square), pair_weights


@_solve.defjvp
def _solve_jvp(options, primals, tangents):
    """By the implicit function theorem: the gradient of the loss stays zero."""
    inputs, changes = primals[:2], tangents[:2]
    result = _solve(options, *primals)
    problem, _ = _prepare(*inputs)
    points, limit = result.embedding / problem.unit, result.threshold / problem.unit

    def gradient(points, *inputs):
        problem, _ = _prepare(*inputs)
        distances = unscaled_distances(points)
        errors = jnp.clip(problem.dissimilarities - distances, -limit, limit)
        ratios = disparity_ratios(distances + errors, distances)
        return laplacian_product(problem.laplacian.weights * (1 - ratios), points)

    def describe(points, *inputs):
        return _describe(_prepare(*inputs)[0], points, limit)

    _, change = jax.jvp(partial(gradient, points), inputs, changes)
    moved = implicit_change(lambda x: gradient(x, *inputs), points, change, ignores_size=False)
    _, changes = jax.jvp(describe, (points, *inputs), (moved, *changes))
    rest = map(jnp.zeros_like, (result.threshold, result.num_iters, result.status))
    return result, RobustResult(*changes, *rest)
