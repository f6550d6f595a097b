"""Scaling with anchors: distances, and coordinates that are known to some degree."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from deepmds_jax.mds.guttman import product, ratio
from deepmds_jax.mds.implicit import conjugate_gradients
from deepmds_jax.mds.inputs import as_float, check_shapes, is_valid, symmetrize
from deepmds_jax.mds.measures import distances, stress
from deepmds_jax.mds.solver import MDSResult, Status

# Of a Guttman transform; up to 2 it cannot raise the loss. Where anchors decide, as of the place of
# the whole, the quadratic is the loss itself and 1 is exact: there more overshoots.
_RELAXATION = 1.2
_INNER_ITERS = 8  # of conjugate gradients per Guttman transform, all of which lower the majorizer


def smacof_anchored(
    dissimilarities: jax.Array,
    anchors: jax.Array,
    anchor_weights: jax.Array,
    *,
    weights: jax.Array | None = None,
    init: jax.Array | None = None,
    max_iters: int = 100,
    tolerance: float = 1e-4,
) -> MDSResult:
    """Finds points whose distances fit dissimilarities, and that lie near anchors.

    Minimises sum_{i<j} w_ij (dissimilarity_ij - distance_ij)^2 + sum_ia v_ia (x_ia - anchor_ia)^2
    by stress majorization: the Guttman transform with a quadratic of its own for every coordinate.
    With weights that are inverse variances this is the most likely configuration under independent
    normal errors of distances and coordinates. Where the anchors hold three points off a line,
    nothing is left open: no rotation, no reflection, no scale.

    Every problem of a batch runs and stops on its own. Pure; jit and vmap work, and forward and
    reverse derivatives by all arguments but the start are those of the solution, not of the
    iterations.

    Args:
      dissimilarities: (..., n, n) float, symmetric and not negative, in the unit of the anchors;
        the diagonal is ignored, NaN is missing.
      anchors: (..., n, k) where the points are believed to be.
      anchor_weights: (..., n, k) not negative; a coordinate of weight 0 has no anchor.
      weights: (..., n, n) or (n, n), symmetric and not negative; 0 is missing. All 1 by default.
      init: (..., n, k) configuration to start from; the anchors by default.
      max_iters: most Guttman transforms.
      tolerance: a problem has converged when a transform moves the points by less than this share
        of their spread about the centroid (root mean squares).

    Returns:
      An `MDSResult` in the frame of the anchors: not centred, and the disparities are the
      dissimilarities. The stress is that of the distances alone. Inside jit, where nothing can be
      raised, a problem that is negative, asymmetric or all zero ends as `INVALID`, one with values
      that are not finite as `NON_FINITE`, both with NaN.

    Raises:
      ValueError: shapes that do not match.

    Source: de Leeuw & Heiser (1980), "Multidimensional scaling with restrictions on the
    configuration"; Borg & Groenen (2005), Modern Multidimensional Scaling, chapters 8 and 10. The
    quadratic of the anchors is a restriction that may be broken at a price.
    """
    anchors = as_float(anchors)
    dissimilarities, weights = check_shapes(dissimilarities, weights, anchors.shape[-1])
    *batch, n, _ = dissimilarities.shape
    dtype = dissimilarities.dtype
    anchor_weights = as_float(anchor_weights)
    init = anchors if init is None else as_float(init)
    for name, array in (("anchors", anchors), ("anchor_weights", anchor_weights), ("init", init)):
        if array.shape != (*batch, n, anchors.shape[-1]):
            raise ValueError(f"{name}: expected shape {(*batch, n, anchors.shape[-1])}, "
                             f"got {array.shape}")
    if weights is None:
        weights = jnp.ones_like(dissimilarities)
    solve = partial(_anchored, max_iters=max_iters, tolerance=tolerance)
    for _ in batch:
        solve = jax.vmap(solve)
    return solve(dissimilarities, weights, anchors.astype(dtype), anchor_weights.astype(dtype),
                 init.astype(dtype))


@partial(jax.jit, static_argnames=("max_iters", "tolerance"))
def _anchored(dissimilarities, weights, anchors, anchor_weights, init, max_iters, tolerance):
    n = dissimilarities.shape[0]
    observed = ~jnp.isnan(dissimilarities) & ~jnp.eye(n, dtype=bool)
    valid = is_valid(dissimilarities) & is_valid(weights) & ~jnp.any(anchor_weights < 0)
    weights = symmetrize(jnp.where(observed, weights, 0))
    disparities = symmetrize(jnp.where(observed, dissimilarities, 0))

    def gradient(points):
        """Half of the loss'."""
        ratios = ratio(disparities, distances(points))
        pull = anchor_weights * (points - anchors)
        return product(weights * (1 - ratios), points) + pull

    degrees = jnp.sum(weights, axis=1, keepdims=True) + anchor_weights

    def quadratic(points):
        """V + diag(v), for every coordinate its own v."""
        return degrees * points - jnp.matmul(weights, points, precision=lax.Precision.HIGHEST)

    def solve(_, start):
        def moves(state):
            _, step, num_iters = state
            return (step > tolerance) & (num_iters < max_iters)

        def transform(state):
            points, _, num_iters = state
            change = conjugate_gradients(quadratic, -gradient(points), degrees, _INNER_ITERS)
            change = _RELAXATION * change
            points = points + change
            spread = jnp.sum((points - jnp.mean(points, axis=0)) ** 2)
            return points, jnp.sqrt(jnp.sum(change**2) / spread), num_iters + 1

        state = init, jnp.asarray(jnp.inf, init.dtype), jnp.int32(0)
        points, step, num_iters = lax.while_loop(moves, transform, state)
        # Aux of custom_root must be floats.
        return points, (lax.stop_gradient(step), num_iters.astype(step.dtype))

    def tangent_solve(hessian, change):
        scale = jnp.where(degrees > 0, degrees, 1)
        return lax.custom_linear_solve(
            hessian, change, symmetric=True,
            solve=lambda product, right: conjugate_gradients(product, right, scale, 20 * n),
        )

    points, (step, num_iters) = lax.custom_root(
        gradient, init, solve, tangent_solve, has_aux=True
    )
    # From an infinite gradient no step is taken: the points alone do not tell.
    finite = jnp.all(jnp.isfinite(points) & jnp.isfinite(gradient(points)))
    status = jnp.where(step <= tolerance, Status.CONVERGED, Status.STEP_LIMIT)
    status = jnp.where(finite, status, Status.NON_FINITE)
    status = jnp.where(valid, status, Status.INVALID).astype(jnp.int32)
    points = jnp.where(finite & valid, points, jnp.nan)
    return MDSResult(points, stress(disparities, distances(points), weights), disparities,
                     num_iters.astype(jnp.int32), status)
