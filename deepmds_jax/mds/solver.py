"""The iterations of SMACOF for one problem, and their derivative."""

import enum
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deepmds_jax.mds import acceleration as anderson
from deepmds_jax.mds.guttman import Laplacian, guttman_step, product, ratio
from deepmds_jax.mds.implicit import implicit_change
from deepmds_jax.mds.inputs import complete, is_connected, is_valid, symmetrize
from deepmds_jax.mds.measures import distances, square_root, total
from deepmds_jax.mds.torgerson import torgerson
from deepmds_jax.mds.transforms import get_transform

ACCELERATIONS = ("anderson", "none")
_START_TOLERANCE = 1e-2  # of the eigenpairs: the iterations see to the rest
_MAX_WRITTEN = 512  # points, from which on a distance matrix is worth several threads
_RELAXATION = 1.8  # of a Guttman transform; up to 2 it cannot raise stress


class Status(enum.IntEnum):
    """How a problem ended."""

    CONVERGED = 0
    STEP_LIMIT = 1
    NON_FINITE = 2
    DISCONNECTED = 3  # no chain of observed pairs joins some points
    INVALID = 4  # negative, asymmetric or all zero


class MDSResult(NamedTuple):
    """What `smacof` returns; (...) are the leading axes of the dissimilarities.

    Attributes:
      embedding: (..., n, k) centred points.
      stress: (...) Kruskal's stress-1 of the embedding with these disparities.
      disparities: (..., n, n) optimally transformed dissimilarities, zero on the diagonal and where
        a dissimilarity is missing.
      num_iters: (...) int32 configurations tried after the start, a Guttman transform each.
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


class Options(NamedTuple):
    """The static part of `smacof`'s arguments."""

    num_dims: int
    transform: str
    ties: str
    acceleration: str


class Problem(NamedTuple):
    """One problem, ready for iterations.

    Attributes:
      is_valid: () whether dissimilarities and weights were as they should be.
      unit: () largest dissimilarity.
      laplacian: of the weights, which are 0 where missing.
    """

    is_valid: jax.Array
    unit: jax.Array
    laplacian: Laplacian


class State(NamedTuple):
    """A configuration, centred and of norm 1, and what led to it and leads on."""

    embedding: jax.Array
    step: jax.Array  # to its Guttman transform, itself brought to norm 1
    stress: jax.Array
    decrease: jax.Array  # of stress, from the configuration before
    window: anderson.Window
    candidate: jax.Array  # the configuration to try next
    is_plain: jax.Array  # whether that is the Guttman transform
    num_iters: jax.Array
    prepared: Any  # what the transform keeps
    memory: jax.Array  # for the distances


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def solve(options, dissimilarities, weights, init, max_iters, tolerance):
    """One problem: (n, n), (n, n) or None, (starts, n, k) or None, to its `MDSResult`."""
    minimize = partial(_minimize, options)
    # On CPU a batch is a loop over problems: each iterates no longer than it needs.
    return lax.platform_dependent(
        dissimilarities, weights, init, max_iters, tolerance,
        cpu=jax.custom_batching.sequential_vmap(minimize), default=minimize,
    )


def _minimize(options, dissimilarities, weights, init, max_iters, tolerance):
    problem, dissimilarities, prepared = prepare(options, dissimilarities, weights)
    if init is None:
        init = classical_start(options, problem, dissimilarities)[None]

    def descend(start):
        return run(options, problem, begin(start, prepared), max_iters, tolerance)

    ends = lax.map(lambda start: descend(start)._replace(prepared=None, memory=None), init)
    best = jnp.argmin(jnp.where(jnp.isnan(ends.stress), jnp.inf, ends.stress))
    state = jax.tree.map(lambda x: x[best], ends)
    return end(options, problem, state._replace(prepared=prepared), tolerance)


def prepare(options, dissimilarities, weights):
    """The `Problem`, its dissimilarities in that unit and 0 where missing, and what the transform
    prepares for them.
    """
    valid = is_valid(dissimilarities)
    dissimilarities = symmetrize(dissimilarities)
    weighted = weights is not None
    if weighted:
        valid &= is_valid(weights) & jnp.all(jnp.isfinite(weights))
    weights = symmetrize(weights if weighted else jnp.ones_like(dissimilarities))
    missing = jnp.isnan(dissimilarities) | (weights == 0)
    weights = jnp.where(missing, 0, weights)
    dissimilarities = jnp.where(missing, 0, dissimilarities)
    unit = lax.stop_gradient(jnp.max(dissimilarities))
    dissimilarities = dissimilarities / jnp.where(unit > 0, unit, 1)
    transform = get_transform(options.transform, options.ties)
    prepared = transform.prepare(dissimilarities, weights, weighted)
    return Problem(valid, unit, Laplacian.of(weights)), dissimilarities, prepared


def classical_start(options, problem, dissimilarities):
    """Classical scaling, with shortest paths for missing values: (n, k)."""
    paths = complete(dissimilarities, problem.laplacian.weights)
    return torgerson(paths, options.num_dims, _START_TOLERANCE)


def begin(start, prepared):
    """The state before the first iteration, from any (n, k) configuration."""
    start = _center_and_scale(start)
    infinity = jnp.asarray(jnp.inf, start.dtype)
    return State(
        embedding=start, step=jnp.full_like(start, jnp.inf), stress=infinity, decrease=infinity,
        window=anderson.empty_window(start), candidate=start, is_plain=jnp.asarray(True),
        num_iters=jnp.int32(-1), prepared=prepared, memory=_memory(start),
    )


def run(options, problem, state, max_iters, tolerance):
    """Iterations until the state has converged or counts `max_iters`."""
    return lax.while_loop(
        lambda s: ~is_done(s, tolerance) & (s.num_iters < max_iters),
        partial(_iterate, options, problem), state,
    )


def is_done(state, tolerance):
    """Whether no more iterations are of use."""
    return has_converged(state, tolerance) | jnp.isnan(state.stress)


def has_converged(state, tolerance):
    """Whether gradient and decrease are small against stress, or the step is rounding."""
    # movement / stress = norm of the gradient / (1 - stress^2), to first order.
    movement = jnp.sqrt(jnp.sum(state.step**2))
    is_still = movement <= 8 * jnp.finfo(movement.dtype).eps
    small = tolerance * state.stress
    return is_still | ((movement < small) & (state.decrease <= small))


def _iterate(options, problem, state):
    """Tries the candidate, and takes it unless it raises stress; then proposes the next one."""
    x = state.candidate
    transform = get_transform(options.transform, options.ties)
    d, memory = _distances(x, state.memory)
    disparities, prepared = transform.fit(state.prepared, d)
    stress = _stress_of_unit(problem.laplacian, disparities, d)
    # The textbook rescales the disparities before the Guttman transform. To rescale the embedding
    # after it is the same: it is linear in the disparities and blind to the embedding's size.
    image = x + guttman_step(x, d, disparities, problem.laplacian,
                             may_be_negative=options.transform == "interval")
    step = _scale(image) - x
    if options.acceleration == "none":
        window, candidate, is_plain = state.window, x + step, True
    else:
        window = anderson.extend(state.window, x - state.embedding, step - state.step)
        over = jnp.where(window.is_empty, _RELAXATION - 1, 0)
        candidate, is_plain = anderson.extrapolate(window, x + step, step) + over * step, False
    # Stress cannot rise at a Guttman transform, but for rounding.
    accepted = state.is_plain | (stress <= (1 + 8 * jnp.finfo(x.dtype).eps) * state.stress)
    forward = State(
        embedding=x, step=step, stress=stress, decrease=state.stress - stress, window=window,
        candidate=_center_and_scale(candidate), is_plain=jnp.asarray(is_plain),
        num_iters=state.num_iters, prepared=None, memory=None,
    )
    back = state._replace(
        window=anderson.empty_window(state.embedding),
        candidate=state.embedding + state.step, is_plain=jnp.asarray(True), prepared=None,
        memory=None,
    )
    state = jax.tree.map(partial(jnp.where, accepted), forward, back)
    return state._replace(num_iters=state.num_iters + 1, prepared=prepared, memory=memory)


def _memory(points):
    num_points = points.shape[0]
    shape = (num_points + 1, num_points) if num_points <= _MAX_WRITTEN else (0,)
    return jnp.zeros(shape, points.dtype)


def _distances(points, memory):
    """Distances, and the array with a row more that they were written into.

    On CPU, XLA deals the rows of so small a matrix out to threads, which takes longer than to
    compute it, and in a batch every thread has a problem of its own. It does not where the rows
    are written into a larger array.
    """
    if memory.ndim < 2:
        return distances(points), memory
    memory = lax.dynamic_update_slice(memory, distances(points), (0, 0))
    return memory[:-1], memory


def end(options, problem, state, tolerance):
    """The `MDSResult` of a last state."""
    status = jnp.where(has_converged(state, tolerance), Status.CONVERGED, Status.STEP_LIMIT)
    status = jnp.where(jnp.isfinite(state.stress), status, Status.NON_FINITE)
    status = jnp.where(is_connected(problem.laplacian.weights), status, Status.DISCONNECTED)
    status = jnp.where(problem.is_valid, status, Status.INVALID)
    solved = (status == Status.CONVERGED) | (status == Status.STEP_LIMIT)
    found = _finish(options, problem, state.prepared, state.embedding)
    found = (jnp.where(solved, x, jnp.nan) for x in found)
    return MDSResult(*found, state.num_iters, status.astype(jnp.int32))


def _finish(options, problem, prepared, embedding):
    """Embedding, stress and disparities in their final scale, differentiable by all."""
    d = distances(embedding)
    disparities, _ = get_transform(options.transform, options.ties).fit(prepared, d)
    stress = _stress(problem.laplacian.weights, disparities, d)
    if options.transform == "ratio":
        dissimilarities, *_ = prepared
        weighted = problem.laplacian.weights * d
        scale = problem.unit * _dot(weighted, dissimilarities) / _dot(weighted, d)
    else:
        scale = math.sqrt((embedding.shape[0] - 1) / 2)  # the squares of all distances sum to n
    return scale * embedding, stress, scale * disparities


def _stress(weights, disparities, distances):
    error = disparities - distances
    return square_root(_dot(weights * error, error) / _dot(weights * distances, distances))


def _stress_of_unit(laplacian, disparities, distances):
    """The same for a configuration of norm 1, where equal weights make a sum known."""
    weights, error = laplacian.weights, disparities - distances
    square = lax.cond(
        laplacian.is_constant,
        lambda: 2 * weights.shape[0] * weights[0, -1],
        lambda: total(weights * distances**2),
    )
    return square_root(total(weights * error**2) / square)


def _dot(a, b):
    return jnp.vdot(a, b, precision=lax.Precision.HIGHEST)


def _center_and_scale(points: jax.Array) -> jax.Array:
    return _scale(points - jnp.mean(points, axis=0, keepdims=True))


def _scale(points: jax.Array) -> jax.Array:
    return points / jnp.sqrt(jnp.sum(points**2))


@solve.defjvp
def _(options, primals, tangents):
    """The implicit function theorem where the gradient of squared stress vanishes."""
    inputs, changes = primals[:2], tangents[:2]
    result = solve(options, *primals)
    embedding = _center_and_scale(result.embedding)

    def gradient(embedding, *inputs):
        """Half of that of stress-1 squared; the disparities are optimal and add nothing."""
        problem, _, prepared = prepare(options, *inputs)
        weights = problem.laplacian.weights
        d = distances(embedding)
        disparities, _ = get_transform(options.transform, options.ties).fit(prepared, d)
        pull = product(weights * (1 - ratio(disparities, d)), embedding)
        square = _dot(weights * d, d)
        squared_stress = _dot(weights * (disparities - d), disparities - d) / square
        return (pull - squared_stress * product(weights, embedding)) / square

    _, change = jax.jvp(partial(gradient, embedding), inputs, changes)
    embedding_change = implicit_change(lambda x: gradient(x, *inputs), embedding, change)

    def finish(embedding, *inputs):
        problem, _, prepared = prepare(options, *inputs)
        return _finish(options, problem, prepared, embedding)

    _, changes = jax.jvp(finish, (embedding, *inputs), (embedding_change, *changes))
    counts = (np.zeros(x.shape, jax.dtypes.float0) for x in (result.num_iters, result.status))
    return result, MDSResult(*changes, *counts)
