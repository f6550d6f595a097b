"""`smacof`: multidimensional scaling by majorization of stress."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from tqdm import tqdm

from deepmds_jax.mds import solver
from deepmds_jax.mds.cores import one_after_another, solve_all
from deepmds_jax.mds.inputs import (
    as_computed,
    check_choice,
    check_integer,
    check_labels,
    check_limits,
    check_shapes,
    check_start,
    check_values,
    check_weights,
    float_dtype,
    is_on_cpu,
    is_traced,
    one_line,
    start_of,
)
from deepmds_jax.mds.measures import unit_of
from deepmds_jax.mds.solver import ACCELERATIONS, MDSResult, Options, Status, narrow
from deepmds_jax.mds.transforms import TIES, TRANSFORMS

_ITERS_PER_UPDATE = 10  # of the progress bar


def smacof(
    dissimilarities: ArrayLike,
    num_dims: int = 3,
    *,
    transform: str = "ordinal",
    ties: str = "primary",
    weights: ArrayLike | None = None,
    init: ArrayLike | None = None,
    key: jax.Array | None = None,
    num_starts: int = 1,
    acceleration: str = "anderson",
    max_iters: int = 3000,
    tolerance: float = 2e-4,
    progress: bool = False,
) -> MDSResult:
    """Finds points whose distances fit the transformed dissimilarities with least stress-1.

    Each problem of a batch runs and stops on its own: alone or in a batch, it takes the same
    iterations to the same coordinates. Embedding, stress and disparities have forward and
    reverse derivatives with respect to dissimilarities and weights. These come from the equation
    that the solution satisfies, not from the iterations, and ignore rotations of the embedding,
    which are arbitrary. They are as accurate as the solution, see `tolerance`. With "ordinal",
    only the order of the dissimilarities counts, so the derivative with respect to them is zero.

    Args:
      dissimilarities: (..., n, n) float, symmetric and not negative; the diagonal is ignored, and
        integers become the default float. NaN, on either side of the diagonal, marks a missing
        value. Asymmetry and negative values up to 1e-4 of the largest value are rounding: the mean
        of both triangles counts, and what is still negative is zero.
      num_dims: k, from 1 to n - 1.
      transform: "ordinal" asks for distances in the order of the dissimilarities (Kruskal's
        non-metric scaling), "spline" for distances that are a smooth increasing function of them,
        "interval" for distances linear in them, "ratio" for distances proportional to them.
      ties: how "ordinal" treats equal dissimilarities. "primary" lets their disparities differ,
        "secondary" keeps them equal.
      weights: (..., n, n) or (n, n) float, symmetric and not negative: weights of the squared
        errors; 0 marks a missing pair. All 1 by default.
      init: (..., n, k) configuration to start from, of any size; by default classical scaling, with
        shortest paths for missing values.
      key: PRNG key for random starts instead of `init`; all problems of a batch share the starts.
      num_starts: number of random starts; the result of least stress is kept.
      acceleration: "anderson" extrapolates from the last steps, never to higher stress; "none" is
        textbook SMACOF.
      max_iters: maximum number of iterations per problem and start.
      tolerance: a problem has converged when the gradient of stress-1 (at a configuration of norm
        1; preconditioned by V^+ if weights differ) has a norm below this and the last step
        lowered stress by a smaller fraction than this; or when a Guttman transform moves such a
        configuration by less than a rounding unit of the dtype (2 if stress did not fall, 8 if it
        is below 256 rounding units, a perfect fit). The excess of stress over its minimum goes with
        the square of the tolerance: relative to stress, the default leaves less than 1e-6 where the
        minimum is well defined and up to 1e-4 where it is flat, in float32 and in float64.
      progress: whether to show a progress bar with the stress, for one large problem outside jit.

    Returns:
      An `MDSResult` in the dtype of the dissimilarities; float16 and bfloat16 are computed in
      float32. The embedding is unique up to rotation and reflection. Its scale minimises raw
      stress ("ratio") or makes the root mean square of all distances 1. A problem with infinities,
      or an embedding too large for the dtype, ends as `NON_FINITE`. In a batch, and inside jit,
      where nothing can be raised, a problem that is negative, asymmetric or all zero ends as
      `INVALID`, and one whose observed pairs do not connect all points as `DISCONNECTED`. All three
      have NaN for embedding, stress and disparities, without effect on the rest of the batch.

    Raises:
      ValueError: wrong shapes or options; outside jit also similarities, a single problem with
        dissimilarities or weights that are negative, asymmetric or all zero, with points that
        observed pairs do not connect, or with an `init` that nothing can start from, and such
        weights of a batch in common.

    Source: de Leeuw & Mair (2009), "Multidimensional scaling using majorization: SMACOF in R",
    J. Statistical Software 31(3); Borg & Groenen (2005), Modern Multidimensional Scaling,
    chapters 8 and 9; Kruskal (1964), Psychometrika 29. docs/mds.md explains every part.
    """
    given, given_weights = dissimilarities, weights
    dissimilarities, weights = check_shapes(given, given_weights, num_dims)
    dtype = float_dtype(given)
    *batch, n, _ = dissimilarities.shape
    for name, value, known in (("transform", transform, TRANSFORMS), ("ties", ties, TIES),
                               ("acceleration", acceleration, ACCELERATIONS)):
        check_choice(name, value, known)
    check_labels("init", init, given)
    check_integer("num_starts", num_starts, 1)
    tolerance = check_limits(max_iters, tolerance)
    if key is not None:
        if init is not None:
            raise ValueError("key: expected none with init, got both")
        check_key(key)
        shape = (num_starts, n, num_dims)
        init = jax.random.normal(key, shape, dissimilarities.dtype)
        init = jnp.broadcast_to(init, (*batch, *shape))
    elif num_starts > 1:
        raise ValueError(f"key: expected one for {num_starts} random starts, got none")
    elif init is not None:
        init = start_of(init, (*batch, n, num_dims), dissimilarities.dtype)[..., None, :, :]
    options = Options(num_dims, transform, ties, acceleration,
                      is_on_cpu((dissimilarities, weights, init, max_iters, tolerance)))

    def solve(*given):
        # Inside other programs, XLA's options are theirs.
        alone = options.on_cpu and not is_traced(given)
        return (_smacof_on_cpu() if alone else _smacof)(options, *given, max_iters, tolerance)

    if progress:
        if batch or num_starts > 1 or is_traced(dissimilarities):
            raise ValueError(f"progress: expected one problem and one start outside jit, got "
                             f"{num_starts} starts of {dissimilarities.aval}")
        check_values(dissimilarities, weights)
        start = None if init is None else init[0]
        result = _with_progress(options, dissimilarities, weights, start, max_iters, tolerance)
    else:
        result = solve_all(solve, tuple(batch), dissimilarities, weights, init,
                           shared=(max_iters, tolerance))
    if not (batch or init is None or key is not None or is_traced((result.status, init))) and (
        result.status == Status.NON_FINITE
    ):
        check_start(init[0], dissimilarities)
    if not is_traced(result.status) and np.any(np.asarray(result.status) >= Status.DISCONNECTED):
        if not batch:
            check_values(dissimilarities, weights)
        elif given_weights is not None and np.ndim(given_weights) == 2:
            check_weights(as_computed("weights", given_weights))
    return narrow(result, dtype)


def check_key(key: object) -> None:
    """ValueError for what is no single PRNG key."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        is_key = shape == ()
    else:
        old = jax.eval_shape(jax.random.PRNGKey, 0)
        is_key = (dtype, shape) == (old.dtype, old.shape)
    if not is_key:
        raise ValueError(f"key: expected a key like jax.random.key(0), got {one_line(key)}")


@partial(jax.jit, static_argnames="options")
def _smacof(options, dissimilarities, weights, init, max_iters, tolerance):
    solve = partial(solver.solve, options)
    if dissimilarities.ndim == 3:
        solve = jax.vmap(solve, in_axes=(0, 0, 0, None, None))
    return solve(dissimilarities, weights, init, max_iters, tolerance)


@cache
def _smacof_on_cpu():
    return jax.jit(_smacof, static_argnames="options", compiler_options=one_after_another())


def _with_progress(options, dissimilarities, weights, start, max_iters, tolerance):
    problem, state = _start(options, dissimilarities, weights, start)
    with tqdm(desc="SMACOF", unit=" iterations") as bar:
        while _goes_on(state, max_iters, tolerance):
            limit = min(int(state.num_iters) + _ITERS_PER_UPDATE, max_iters)
            state = _run(options, problem, state, limit, tolerance)
            bar.update(int(state.num_iters) - bar.n)
            bar.set_postfix(stress=f"{state.stress:.6f}")
    return _finalize(options, problem, state, tolerance)


@partial(jax.jit, static_argnames="options")
def _start(options, dissimilarities, weights, start):
    problem, dissimilarities, prepared = solver.prepare(options, dissimilarities, weights)
    if start is None:
        start = solver.classical_start(options, problem, dissimilarities)
    else:
        start = start / unit_of(start)
    return problem, solver.initial_state(options, problem, start, prepared)


_goes_on = jax.jit(solver.goes_on)
_run = jax.jit(solver.run, static_argnames="options", donate_argnames="state")
_finalize = jax.jit(solver.finalize, static_argnames="options")
