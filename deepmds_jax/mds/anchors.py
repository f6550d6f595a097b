"""Scaling with anchors: from distances, and from coordinates known up to some error."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from deepmds_jax import loops
from deepmds_jax.mds.guttman import disparity_ratios, laplacian_product
from deepmds_jax.mds.inputs import (
    as_computed,
    check_labels,
    check_limits,
    check_shapes,
    float_dtype,
    is_valid,
    symmetrize,
)
from deepmds_jax.mds.krylov import conjugate_gradients, solve_in_unit
from deepmds_jax.mds.measures import (
    power_of_two,
    stress,
    symmetric_product,
    unscaled_distances,
)
from deepmds_jax.mds.solver import MDSResult, narrow, status_of

# Of a Guttman transform, and of the change before it (Polyak's heavy ball): with both, about half
# of the transforms come as near to the solution. Where the anchors alone decide, as for the
# centroid, the majorizer is the loss itself: points swing about the solution, by sqrt(_MOMENTUM) of
# the error each time. A change may be nothing in passing, so half of the transform's square counts
# beside its own.
_RELAXATION, _MOMENTUM = 1.8, 0.4
# Of conjugate gradients per Guttman transform; each one lowers the majorizer. Its minimum need not
# be exact: the next transform starts anew. Where all pairs are known, two reach the tolerance.
_INNER_ITERS, _INNER_TOLERANCE = 8, 0.1


def smacof_anchored(
    dissimilarities: ArrayLike,
    anchors: ArrayLike,
    anchor_weights: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    init: ArrayLike | None = None,
    max_iters: int = 100,
    tolerance: float = 1e-4,
) -> MDSResult:
    """Finds points that lie near anchors and whose distances fit the dissimilarities.

    Minimises sum_{i<j} w_ij (dissimilarity_ij - distance_ij)^2 + sum_ia v_ia (x_ia - anchor_ia)^2
    by stress majorization: Guttman transforms with a quadratic of its own for each coordinate, and
    with momentum. If the weights are inverse variances, this is the maximum-likelihood
    configuration for independent normal errors of distances and coordinates. Anchors of three
    points that are not on a line fix rotation, reflection and scale.

    Each problem of a batch runs and stops on its own. Pure; jit and vmap work. Forward and
    reverse derivatives with respect to all arguments but the start are those of the solution, not
    of the iterations.

    Args:
      dissimilarities: (..., n, n) float, symmetric and not negative, in the unit of the anchors;
        the diagonal is ignored, NaN on either side of it marks a missing value.
      anchors: (..., n, k) expected coordinates of the points.
      anchor_weights: (..., n, k) not negative; a coordinate of weight 0 has no anchor.
      weights: (..., n, n) or (n, n), symmetric and not negative; 0 marks a missing pair. All 1 by
        default.
      init: (..., n, k) configuration to start from; the anchors by default.
      max_iters: maximum number of Guttman transforms.
      tolerance: a problem has converged when a transform moves the points by less than this
        fraction of their spread about the centroid (root mean squares), and would have moved them
        by less than 1.4 times as much without momentum.

    Returns:
      An `MDSResult` in the frame of the anchors and the dtype of the dissimilarities (float16 and
      bfloat16 are computed in float32). The embedding is not centred, the disparities are
      the dissimilarities, and the stress is that of the distances alone. A problem that is
      negative, asymmetric or all zero ends as `INVALID`, one with values that are not finite as
      `NON_FINITE`; both have NaN for the embedding.

    Raises:
      ValueError: wrong shapes.

    Source: de Leeuw & Heiser (1980), "Multidimensional scaling with restrictions on the
    configuration"; Borg & Groenen (2005), Modern Multidimensional Scaling, chapters 8 and 10. The
    anchors are a restriction that can be violated at a quadratic cost. Momentum: Polyak (1964),
    "Some methods of speeding up the convergence of iteration methods".
    """
    given = dissimilarities
    named = {"anchors": anchors, "anchor_weights": anchor_weights, "init": init}
    for name, table in named.items():
        check_labels(name, table, given)
    tolerance = check_limits(max_iters, tolerance)
    dissimilarities, weights = check_shapes(given, weights, 1)
    *batch, n, _ = dissimilarities.shape
    dtype = dissimilarities.dtype
    anchors = as_computed("anchors", anchors)
    if anchors.shape[:-1] != (*batch, n) or not 1 <= anchors.shape[-1] < n:
        expected = ", ".join(map(str, (*batch, n, "k")))
        raise ValueError(f"anchors: expected shape ({expected}), k from 1 to {n - 1}, got "
                         f"{anchors.shape}")
    anchor_weights = as_computed("anchor_weights", anchor_weights)
    init = anchors if init is None else as_computed("init", init)
    for name, array in (("anchor_weights", anchor_weights), ("init", init)):
        if array.shape != (*batch, n, anchors.shape[-1]):
            raise ValueError(f"{name}: expected shape {(*batch, n, anchors.shape[-1])}, "
                             f"got {array.shape}")
    if weights is None:
        weights = jnp.ones_like(dissimilarities)
    solve = partial(_solve, max_iters=max_iters, tolerance=tolerance)
    for _ in batch:
        solve = jax.vmap(solve)
    result = solve(dissimilarities, weights, anchors.astype(dtype), anchor_weights.astype(dtype),
                   init.astype(dtype))
    return narrow(result, float_dtype(given))


@jax.jit
def _solve(dissimilarities, weights, anchors, anchor_weights, init, max_iters, tolerance):
    missing = jnp.isnan(dissimilarities)
    observed = ~(missing | missing.T) & ~jnp.eye(dissimilarities.shape[0], dtype=bool)
    valid = is_valid(dissimilarities) & is_valid(weights) & ~jnp.any(anchor_weights < 0)
    weights = symmetrize(jnp.where(observed, weights, 0))
    disparities = symmetrize(jnp.where(observed, dissimilarities, 0))
    return majorize(disparities, weights, anchors, anchor_weights, init, max_iters, tolerance,
                    valid)


def majorize(
    disparities: jax.Array, weights: jax.Array, anchors: jax.Array, anchor_weights: jax.Array,
    init: jax.Array, max_iters: int | jax.Array, tolerance: float | jax.Array,
    valid: jax.Array | bool = True,
) -> MDSResult:
    """`smacof_anchored` of one problem, whose matrices are known to be what they should be.

    Args:
      disparities: (n, n) symmetric and not negative, 0 on the diagonal and for missing pairs.
      weights: (n, n) the same.
      anchors, anchor_weights, init: (n, k).
      max_iters, tolerance: ().
      valid: () whether to solve it, or to end as `INVALID`.
    """
    n = disparities.shape[0]
    unit = power_of_two(jnp.maximum(jnp.max(disparities), jnp.max(jnp.abs(anchors))))
    disparities, anchors, init = disparities / unit, anchors / unit, init / unit
    heaviest = power_of_two(jnp.maximum(jnp.max(weights), jnp.max(anchor_weights)))
    weights, anchor_weights = weights / heaviest, anchor_weights / heaviest

    def gradient(points):
        """Half the gradient of the loss."""
        ratios = disparity_ratios(disparities, unscaled_distances(points))
        pull = anchor_weights * (points - anchors)
        return laplacian_product(weights * (1 - ratios), points) + pull

    degrees = jnp.sum(weights, axis=1, keepdims=True) + anchor_weights
    known = degrees > 0  # of the other coordinates nothing is said: they stay where they start
    diagonal = jnp.where(known, degrees, 1)

    def majorizer_product(points):
        """(V + diag(v)) x, where each coordinate has its own v."""
        return degrees * points - symmetric_product(weights, points)

    def minimize(_, start):
        def keeps_going(state):
            *_, step, num_iters = state
            return (step > tolerance) & (num_iters < max_iters)

        def transform(state):
            points, change, _, num_iters = state
            # As one row: a CPU sums it several times as fast as rows of few columns.
            step = conjugate_gradients(
                lambda row: majorizer_product(row.reshape(points.shape)).ravel(),
                -gradient(points).ravel(), diagonal.ravel(),
                max_iters=_INNER_ITERS, tolerance=_INNER_TOLERANCE,
            ).reshape(points.shape)
            change = _MOMENTUM * change + _RELAXATION * step
            points = points + change
            middle = jnp.mean(points, axis=0, keepdims=True, where=known)
            spread = jnp.sum((points - middle) ** 2, where=known)
            moved = jnp.maximum(jnp.sum(change**2), jnp.sum(step**2) / 2)
            return points, change, jnp.sqrt(moved / spread), num_iters + 1

        state = start, jnp.zeros_like(start), jnp.asarray(jnp.inf, start.dtype), jnp.int32(0)
        points, _, step, num_iters = loops.while_loop(keeps_going, transform, state)
        # Aux of custom_root must be floats.
        return points, (lax.stop_gradient(step), num_iters.astype(step.dtype))

    def tangent_solve(hessian, change):
        return lax.custom_linear_solve(
            lambda x: hessian(x) + jnp.where(known, 0, x), change, symmetric=True,
            solve=partial(solve_in_unit, diagonal=diagonal, max_iters=20 * n),
        )

    points, (step, num_iters) = lax.custom_root(
        gradient, init, minimize, tangent_solve, has_aux=True
    )
    # An infinite gradient gives no step and leaves the points finite, as may an infinite loss.
    fit = stress(disparities, unscaled_distances(points), weights)
    finite = jnp.all(jnp.isfinite(points) & jnp.isfinite(gradient(points))) & ~jnp.isinf(fit)
    status = status_of(step <= tolerance, finite, True, valid)
    points, fit = (jnp.where(finite & valid, x, jnp.nan) for x in (unit * points, fit))
    return MDSResult(points, fit, unit * disparities, num_iters.astype(jnp.int32), status)
