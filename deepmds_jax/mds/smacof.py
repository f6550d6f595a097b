"""SMACOF: multidimensional scaling by majorizing stress."""

import enum
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from deepmds_jax.mds.classical import torgerson
from deepmds_jax.mds.inputs import as_float, check_dissimilarities, symmetrize
from deepmds_jax.mds.stress import distances, stress
from deepmds_jax.mds.transforms import TRANSFORMS


class Status(enum.IntEnum):
    """How a problem ended."""

    CONVERGED = 0
    STEP_LIMIT = 1
    NON_FINITE = 2


class MDSResult(NamedTuple):
    """What `smacof` returns; (...) are the leading axes of the dissimilarities.

    Attributes:
      embedding: (..., n, k) centred points.
      stress: (...) Kruskal's stress-1 of the embedding with these disparities.
      disparities: (..., n, n) optimally transformed dissimilarities, with a zero diagonal.
      num_iters: (...) int32 Guttman transforms done.
      status: (...) int32 `Status`.
    """

    embedding: jax.Array
    stress: jax.Array
    disparities: jax.Array
    num_iters: jax.Array
    status: jax.Array

    @property
    def converged(self) -> jax.Array:
        """(...) bool: the tolerance was met."""
        return self.status == Status.CONVERGED


def smacof(
    dissimilarities: jax.Array,
    num_dims: int = 3,
    *,
    transform: str = "ordinal",
    init: jax.Array | None = None,
    max_iters: int = 3000,
    tolerance: float = 3e-4,
) -> MDSResult:
    """Finds points whose distances fit the transformed dissimilarities, by least stress-1.

    Every problem of a batch runs and stops on its own: alone or in company it takes the same
    iterations to the same coordinates. No reverse-mode gradients: the loops do not have them.

    Args:
      dissimilarities: (..., n, n) float, symmetric and not negative; the diagonal is ignored, and
        integers become the default float.
      num_dims: k, from 1 to n - 1.
      transform: "ordinal" fits distances in the order of the dissimilarities, where ties may be
        broken (Kruskal's non-metric scaling, primary approach to ties); "ratio" fits distances
        proportional to them.
      init: (..., n, k) configuration to start from, of any size; classical scaling by default.
      max_iters: most Guttman transforms per problem.
      tolerance: a problem has converged when the gradient of stress-1, at a configuration of
        norm 1, has a norm below this, or when a step moves such a configuration by less than 8
        roundings of the dtype. With the default, stress-1 ends about 1e-5 of itself above the
        minimum in hard cases and 1e-6 in others, in float32 as in float64.

    Returns:
      An `MDSResult` in the dtype of the dissimilarities. The embedding is unique up to rotation
      and reflection; its scale minimises raw stress ("ratio"), or makes the root mean square of
      the distances 1 ("ordinal"). A problem that holds a value that is not finite, or inside jit
      has only zeros, ends as `NON_FINITE` with NaN for embedding, stress and disparities.

    Raises:
      ValueError: wrong shapes or transform; and, outside jit, negative, asymmetric or all-zero
        dissimilarities.

    Source: de Leeuw & Mair (2009), "Multidimensional scaling using majorization: SMACOF in R",
    J. Statistical Software 31(3); Borg & Groenen (2005), Modern Multidimensional Scaling,
    chapters 8 and 9; Kruskal (1964), Psychometrika 29.
    """
    dissimilarities = check_dissimilarities(dissimilarities, num_dims)
    *batch, n, _ = dissimilarities.shape
    if transform not in TRANSFORMS:
        raise ValueError(f"transform: expected one of {list(TRANSFORMS)}, got {transform!r}")
    if init is not None:
        init = as_float(init).astype(dissimilarities.dtype)
        if init.shape != (*batch, n, num_dims):
            raise ValueError(f"init: expected shape {(*batch, n, num_dims)}, got {init.shape}")
    return _smacof(dissimilarities, init, max_iters, tolerance, num_dims, transform)


@partial(jax.jit, static_argnames=("num_dims", "transform"))
def _smacof(dissimilarities, init, max_iters, tolerance, num_dims, transform):
    single = partial(_solve, num_dims=num_dims, transform=transform)

    def solve(*problem):
        # On CPU a batch is a loop over problems: each iterates no longer than it needs.
        return lax.platform_dependent(
            *problem, cpu=jax.custom_batching.sequential_vmap(single), default=single
        )

    for _ in dissimilarities.shape[:-2]:
        solve = jax.vmap(solve, in_axes=(0, 0, None, None))
    return solve(dissimilarities, init, max_iters, tolerance)


class _State(NamedTuple):
    """A configuration, centred and of norm 1, and what belongs to it."""

    embedding: jax.Array
    distances: jax.Array
    disparities: jax.Array
    stress: jax.Array
    movement: jax.Array  # norm of the last change of the embedding
    num_iters: jax.Array
    prepared: Any  # what the transform keeps


def _solve(dissimilarities, init, max_iters, tolerance, *, num_dims, transform):
    """One problem, (n, n) and (n, k) or None, to its `MDSResult`."""
    n, dtype = dissimilarities.shape[0], dissimilarities.dtype
    dissimilarities = symmetrize(dissimilarities)
    prepare, fit = TRANSFORMS[transform]

    def evaluate(embedding, movement, num_iters, prepared):
        d = distances(embedding)
        dhat, prepared = fit(prepared, d)
        return _State(embedding, d, dhat, stress(dhat, d), movement, num_iters, prepared)

    def step(state):
        # The textbook rescales the disparities before this transform. To rescale the embedding
        # after it is the same: it is linear in the disparities and blind to the embedding's size.
        embedding = guttman_transform(state.embedding, state.disparities, state.distances)
        embedding = _center_and_scale(embedding)
        movement = jnp.sqrt(jnp.sum((embedding - state.embedding) ** 2))
        return evaluate(embedding, movement, state.num_iters + 1, state.prepared)

    def moves(state):
        # movement / stress = norm of the gradient / (1 - stress^2), to first order.
        rounding = 8 * jnp.finfo(dtype).eps
        return state.movement > jnp.maximum(tolerance * state.stress, rounding)

    start = _center_and_scale(torgerson(dissimilarities, num_dims) if init is None else init)
    infinity = jnp.asarray(jnp.inf, dtype)
    state = evaluate(start, infinity, jnp.int32(0), prepare(dissimilarities))
    state = lax.while_loop(lambda s: moves(s) & (s.num_iters < max_iters), step, state)

    square = jnp.sum(state.distances**2)
    if transform == "ratio":
        scale = jnp.sum(dissimilarities * state.distances) / square
    else:
        scale = jnp.sqrt(n * (n - 1) / square)
    finite = jnp.isfinite(state.stress)
    status = jnp.where(moves(state), Status.STEP_LIMIT, Status.CONVERGED)
    return MDSResult(
        embedding=jnp.where(finite, scale * state.embedding, jnp.nan),
        stress=jnp.where(finite, state.stress, jnp.nan),
        disparities=jnp.where(finite, scale * state.disparities, jnp.nan),
        num_iters=state.num_iters,
        status=jnp.where(finite, status, Status.NON_FINITE).astype(jnp.int32),
    )


def guttman_transform(
    embedding: jax.Array, disparities: jax.Array, distances: jax.Array
) -> jax.Array:
    """B(X) X / n, which minimises the majorizer of raw stress at X (all weights 1).

    Args:
      embedding: X, (n, k), centred.
      disparities: (n, n).
      distances: (n, n), those of X; coincident points count as B = 0.

    Source: Guttman (1968), "A general nonmetric technique for finding the smallest coordinate
    space for a configuration of points", Psychometrika 33; Borg & Groenen (2005), section 8.6.
    """
    apart = distances > 0
    ratios = jnp.where(apart, disparities / jnp.where(apart, distances, 1), 0)
    pulled = jnp.matmul(ratios, embedding, precision=lax.Precision.HIGHEST)
    return (jnp.sum(ratios, axis=1, keepdims=True) * embedding - pulled) / embedding.shape[0]


def _center_and_scale(points: jax.Array) -> jax.Array:
    points = points - jnp.mean(points, axis=0, keepdims=True)
    return points / jnp.sqrt(jnp.sum(points**2))
