"""Places new points in a fixed configuration."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from deepmds_jax import loops
from deepmds_jax.mds.inputs import (
    as_computed,
    as_float,
    check_kind,
    check_limits,
    float_dtype,
    is_negative,
    is_traced,
)
from deepmds_jax.mds.measures import in_units

_BATCH_SIZE = 256  # new points at once: bounds memory, and the wait for the slowest point
_MIN_CURVATURE = 1e-4
_matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)


def place(
    points: ArrayLike,
    disparities: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    max_iters: int = 100,
    tolerance: float = 1e-5,
) -> jax.Array:
    """Places each new point x where sum_j w_j (disparity_j - |x - points_j|)^2 is least.

    New points do not affect each other. A point with a disparity of exactly 0 is placed on that
    fitted point (the first, if there are several), whatever its other disparities. Has forward
    derivatives only.

    Each point has three starts, of which the best result is kept. They differ only along the axis
    of least spread of the fitted points, where the squared disparities give one coordinate and,
    as a height above the fitted points, two more of either sign. For disparities without error,
    one of the three is the solution. With errors, the result is occasionally a local minimum a
    little above the lowest; in one dimension it can also be far above.

    Args:
      points: (n, k) float, the fixed configuration.
      disparities: (..., n) float, not negative, in the unit of the points; NaN marks a missing one.
        Negative values up to 1e-4 of the largest are rounding, and zero; inside jit all are.
      weights: broadcast against the disparities, not negative; 0 marks a missing disparity. All 1
        by default.
      max_iters: maximum number of steps per start; five are typical.
      tolerance: a point has converged when the Newton step is shorter than this times the largest
        disparity or coordinate relative to the centroid, or when it would gain less than the
        rounding of the sum of squares.

    Returns:
      (..., k) in the dtype and frame of the points. A new point without known disparities, or with
      a value that is not finite, gives NaN, without effect on the others.

    Raises:
      ValueError: wrong shapes; outside jit also negative disparities or weights.

    Source: Borg & Groenen (2005), Modern Multidimensional Scaling, section 8.6 (the majorization,
    here of one point); Gower (1968), "Adding a point to vector diagrams in multivariate
    analysis", Biometrika 55 (the linear equations of the start); Trosset & Priebe (2008), "The
    out-of-sample problem for classical multidimensional scaling", Computational Statistics & Data
    Analysis 52.
    """
    weights = 1.0 if weights is None else weights
    for name, array in (("disparities", disparities), ("weights", weights)):
        check_kind(name, array)
        # With NumPy, which checks constants inside jit, too.
        if is_traced(array):
            continue
        if np.any(is_negative(np.asarray(array))):
            raise ValueError(f"{name}: expected none < 0, got {np.nanmin(array):g}")
    given, points = points, as_computed("points", points)
    disparities = as_float(disparities).astype(points.dtype)
    weights = as_float(weights).astype(points.dtype)
    tolerance = check_limits(max_iters, tolerance)
    if points.ndim != 2:
        raise ValueError(f"points: expected shape (n, k), got {points.shape}")
    if disparities.shape[-1:] != points.shape[:1]:
        raise ValueError(
            f"disparities: expected shape (..., {len(points)}), got {disparities.shape}"
        )
    try:
        fits = np.broadcast_shapes(weights.shape, disparities.shape) == disparities.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"weights: expected to broadcast to {disparities.shape}, got {weights.shape}"
        )
    return _place(points, disparities, weights, max_iters, tolerance).astype(float_dtype(given))


@jax.jit
def _place(points, disparities, weights, max_iters, tolerance):
    disparities = jnp.where(disparities < 0, 0, disparities)  # rounding
    weights = jnp.broadcast_to(weights, disparities.shape)
    centroid = jnp.mean(points, axis=0)
    centered = points - centroid[None]

    def solve(problem):
        disparities, weights = problem
        known = (weights > 0) & ~jnp.isnan(disparities)
        disparities = jnp.where(known, disparities, 0)
        weights = jnp.where(known, weights, 0)
        on_point = known & (disparities == 0)

        # This unit keeps the squares in range and makes the tolerance relative.
        unit = jnp.maximum(jnp.max(jnp.abs(centered)), jnp.max(disparities))
        problem = in_units(centered, unit), in_units(disparities, unit), weights / jnp.sum(weights)
        minimize = partial(_minimize, *problem, max_iters=max_iters, tolerance=tolerance)
        ends, losses = jax.vmap(minimize)(_starts(*problem))
        best = centroid + unit * ends[jnp.argmin(losses)]
        return jnp.where(jnp.any(on_point), points[jnp.argmax(on_point)], best)

    problems = disparities.reshape(-1, len(points)), weights.reshape(-1, len(points))
    placed = lax.map(solve, problems, batch_size=_BATCH_SIZE)
    return placed.reshape(*disparities.shape[:-1], points.shape[1])


def _starts(points, disparities, weights):
    """(3, k) solutions of the linear equations from differences of squared disparities."""
    # (disparity^2 - distance^2)^2 / disparity^2 is 4 (disparity - distance)^2 to first order.
    weights = weights / jnp.maximum(disparities, 1e-3 * jnp.max(disparities)) ** 2
    weights = weights / jnp.sum(weights)
    center = jnp.sum(weights[:, None] * points, axis=0)
    points = points - center[None]
    variances, axes = jnp.linalg.eigh(_matmul(points.T, weights[:, None] * points))
    points = _matmul(points, axes)
    excess = jnp.sum(points**2, axis=1) - disparities**2
    excess = excess - jnp.sum(weights * excess)
    moments = jnp.sum((weights * excess)[:, None] * points, axis=0) / 2
    spread = variances > 16 * jnp.finfo(points.dtype).eps * variances[-1]
    solution = jnp.where(spread, moments / jnp.where(spread, variances, 1), 0)

    # The first axis has the least variance: its coordinate is the least certain.
    foot = solution.at[0].set(0)
    square = jnp.sum(weights * (disparities**2 - jnp.sum((points - foot[None]) ** 2, axis=1)))
    height = jnp.sqrt(jnp.maximum(square, 0))
    first = jnp.stack([solution[0], height, -height])
    starts = jnp.concatenate([first[:, None], jnp.tile(foot[1:], (3, 1))], axis=1)
    return center[None] + _matmul(starts, axes.T)


def _minimize(points, disparities, weights, start, *, max_iters, tolerance):
    """Descends from a (k,) start to the (k,) minimum and its () loss; the weights sum to 1.

    A paraboloid of curvature 1 majorizes the loss, whose own curvatures are never larger. Newton
    steps with the true curvatures are taken as long as they lower the loss. After one that does
    not, the curvatures get a growing lower bound, finally 1, that of the majorizer.
    """
    columns = points.T  # on CPU sums over a short last axis are slow
    mean = jnp.sum(weights[None] * columns, axis=1)
    rounding = 8 * jnp.finfo(points.dtype).eps

    def evaluate(x):
        offsets = x[:, None] - columns
        distances = jnp.sqrt(jnp.sum(offsets**2, axis=0))
        return jnp.sum(weights * (disparities - distances) ** 2), x, offsets, distances

    def step(state):
        current, floor, _, num_iters = state
        loss, x, offsets, distances = current
        apart = distances > 0
        safe = jnp.where(apart, distances, 1)
        ratios = jnp.where(apart, weights * disparities / safe, 0)
        directions = offsets / safe[None]
        values, axes = jnp.linalg.eigh(_matmul(ratios[None] * directions, directions.T))
        # Half the gradient and half the Hessian, along the Hessian's axes.
        slopes = _matmul(x - mean - jnp.sum(ratios[None] * offsets, axis=1), axes)
        curvatures = jnp.clip(jnp.abs(1 - jnp.sum(ratios) + values), _MIN_CURVATURE, 1)
        newton = slopes / curvatures
        converged = (jnp.max(jnp.abs(newton)) <= tolerance) | (
            jnp.sum(slopes * newton) <= rounding * loss
        )
        new = evaluate(x - _matmul(axes, slopes / jnp.maximum(curvatures, floor)))
        accept = (new[0] < loss) | converged
        current = jax.tree.map(partial(jnp.where, accept), new, current)
        floor = jnp.clip(jnp.where(accept, floor / 4, floor * 4), _MIN_CURVATURE, 1)
        return current, floor, converged, num_iters + 1

    def keeps_going(state):
        (loss, *_), _, converged, num_iters = state
        return jnp.isfinite(loss) & ~converged & (num_iters < max_iters)

    state = evaluate(start), jnp.asarray(0.1, points.dtype), jnp.asarray(False), jnp.int32(0)
    (loss, end, *_), *_ = loops.while_loop(keeps_going, step, state)
    return end, loss
