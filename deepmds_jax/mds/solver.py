"""SMACOF for one problem: the iterations, and the derivative of their solution."""

import enum
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from deepmds_jax import loops
from deepmds_jax.mds import acceleration as anderson
from deepmds_jax.mds.descent import best_of
from deepmds_jax.mds.guttman import (
    Laplacian,
    disparity_ratios,
    guttman_step,
    laplacian_product,
)
from deepmds_jax.mds.implicit import implicit_change
from deepmds_jax.mds.inputs import fill_with_shortest_paths, is_connected, is_valid, symmetrize
from deepmds_jax.mds.measures import (
    in_units_above_0,
    power_of_two,
    scale_weights,
    square_root,
    total,
    unit_of,
    unscaled_distances,
)
from deepmds_jax.mds.ratio import Known, fit_ratio, inverse_curvatures, nothing_known
from deepmds_jax.mds.torgerson import torgerson
from deepmds_jax.mds.transforms import Transform, get_transform

ACCELERATIONS = ("anderson", "none")
# Of the eigenpairs, see there. From a rough start the iterations do the rest, in a few tables of a
# hundred to another minimum; small tables, which people look at, start exactly, as in R.
_START_TOLERANCE, _MAX_EXACT_POINTS = 1e-2, 50
_MAX_BUFFERED_POINTS = 512  # above it, computing a distance matrix on several threads pays off
_PERFECT = 256  # rounding units of stress, up to which it is that of rounding
_FEW = 16  # where a batch steps together, one in so many problems goes on when the others are done
_RELAXATION = 1.8  # of a Guttman transform; up to 2 it cannot raise stress
_CURVATURE_PERIOD = 8  # iterations from one reckoning of the points' curvatures to the next
_SWEEPS = 4  # Guttman transforms for one ordinal fit, which costs several times as much


class Status(enum.IntEnum):
    """How a problem ended."""

    CONVERGED = 0
    STEP_LIMIT = 1
    NON_FINITE = 2
    DISCONNECTED = 3  # the observed pairs do not connect all points
    INVALID = 4  # negative, asymmetric or all zero


class MDSResult(NamedTuple):
    """The result of `smacof`; (...) are the leading axes of the dissimilarities.

    Attributes:
      embedding: (..., n, k) centred points.
      stress: (...) Kruskal's stress-1 of the embedding with these disparities.
      disparities: (..., n, n) optimally transformed dissimilarities, 0 on the diagonal and for
        missing pairs, to which measures of fit must give the weight 0.
      num_iters: (...) int32 number of configurations tried after the start. From one to the next
        the disparities are fitted once, and there is one Guttman transform; four if the transform
        is ordinal and the acceleration not "none".
      status: (...) int32 `Status`.
    """

    embedding: jax.Array
    stress: jax.Array
    disparities: jax.Array
    num_iters: jax.Array
    status: jax.Array

    @property
    def converged(self) -> jax.Array:
        """(...) bool, whether the tolerance was met."""
        return self.status == Status.CONVERGED


def status_of(
    has_converged: jax.Array, is_finite: jax.Array, is_connected: jax.Array | bool,
    is_valid: jax.Array | bool,
) -> jax.Array:
    """() int32 `Status` from what is known of one problem; the gravest fault counts."""
    status = jnp.where(has_converged, Status.CONVERGED, Status.STEP_LIMIT)
    for holds, fault in ((is_finite, Status.NON_FINITE), (is_connected, Status.DISCONNECTED),
                         (is_valid, Status.INVALID)):
        status = jnp.where(holds, status, fault)
    return status.astype(jnp.int32)


def narrow(result, dtype):
    """A result with a status, its floats in the dtype of the data.

    Half precision is computed in float32; where a result overflows it, it is NaN and `NON_FINITE`.
    """
    return result if dtype == result.stress.dtype else _narrow(result, dtype)


@partial(jax.jit, static_argnames="dtype")
def _narrow(result, dtype):
    halves = jax.tree.map(lambda x: x if x.dtype == jnp.int32 else x.astype(dtype), result)
    batch = result.status.ndim
    overflows = jnp.any(jnp.stack([
        jnp.any(jnp.isinf(x), axis=tuple(range(batch, x.ndim))) for x in jax.tree.leaves(halves)
    ]), axis=0)

    def lose(x):
        if x.dtype == jnp.int32:
            return x
        lost = jnp.expand_dims(overflows, range(batch, x.ndim))
        return jnp.where(lost, jnp.nan, x).astype(dtype)

    status = jnp.where(overflows, jnp.int32(Status.NON_FINITE), result.status)
    return jax.tree.map(lose, halves)._replace(status=status)


class Options(NamedTuple):
    """The static arguments of `smacof`, and whether the program is for a CPU, where it is known."""

    num_dims: int
    transform: str
    ties: str
    acceleration: str
    on_cpu: bool | None = None

    def get_transform(self) -> Transform:
        """The transform of the dissimilarities."""
        return get_transform(self.transform, self.ties, self.on_cpu)


class Problem(NamedTuple):
    """One problem, ready to iterate on.

    Attributes:
      is_valid: () whether dissimilarities and weights are valid.
      unit: () the largest dissimilarity.
      laplacian: of the weights, which are 0 for missing pairs.
    """

    is_valid: jax.Array
    unit: jax.Array
    laplacian: Laplacian


class State(NamedTuple):
    """The loop state: a centred configuration of norm 1, and how to continue from it.

    Attributes:
      embedding: (n, k).
      step: (n, k) from the embedding to its Guttman transform, scaled to norm 1.
      stride: (n, k) to where further ones lead; the step itself if there is one only.
      stress: () stress-1 of the embedding.
      decrease: () of stress, since the previous configuration.
      window: of the Anderson acceleration.
      candidate: (n, k) configuration to try next.
      is_plain: () whether the candidate is the Guttman transform itself.
      num_iters: () int32.
      prepared: what the transform keeps between iterations.
      known: what `_steps_of_ratio` keeps; None for other transforms.
      distance_buffer: see `_distances`; None for ratios.
    """

    embedding: jax.Array
    step: jax.Array
    stride: jax.Array
    stress: jax.Array
    decrease: jax.Array
    window: anderson.Window
    candidate: jax.Array
    is_plain: jax.Array
    num_iters: jax.Array
    prepared: Any
    known: Known | None
    distance_buffer: jax.Array | None


def solve(options, dissimilarities, weights, init, max_iters, tolerance):
    """Solves one problem.

    Args:
      options: `Options`.
      dissimilarities: (n, n).
      weights: (n, n) or None.
      init: (num_starts, n, k), or None for classical scaling.
      max_iters: ().
      tolerance: ().

    Returns:
      The `MDSResult` of the best start.
    """
    result = _solve(options, dissimilarities, weights, init, max_iters, tolerance)
    return result._replace(num_iters=result.num_iters.astype(jnp.int32),
                           status=result.status.astype(jnp.int32))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solve(options, dissimilarities, weights, init, max_iters, tolerance):
    """`solve`, with floats for integers: these have tangents, under `shard_map` too."""
    # On CPU a batch is a loop over problems, each of which iterates only as long as it needs to.
    on_cpu = jax.custom_batching.sequential_vmap(partial(_minimize, options._replace(on_cpu=True)))
    elsewhere = partial(_minimize, options._replace(on_cpu=False))
    given = dissimilarities, weights, init, max_iters, tolerance
    if options.on_cpu is None:
        result = lax.platform_dependent(*given, cpu=on_cpu, default=elsewhere)
    else:
        result = (on_cpu if options.on_cpu else elsewhere)(*given)
    dtype = result.stress.dtype
    return result._replace(num_iters=result.num_iters.astype(dtype),
                           status=result.status.astype(dtype))


def _minimize(options, dissimilarities, weights, init, max_iters, tolerance):
    together = not options.on_cpu
    problem, dissimilarities, prepared = prepare(options, dissimilarities, weights)
    if init is None:
        init = classical_start(options, problem, dissimilarities)[None]
    else:
        init = init / unit_of(init)

    def minimize_from(start):
        state = initial_state(options, problem, start, prepared, has_buffer=not together)
        iterate = run_together if together else run
        state = iterate(options, problem, state, max_iters, tolerance)
        return state._replace(prepared=None, known=None, distance_buffer=None)

    state = best_of(minimize_from, init, lambda state: state.stress)
    return finalize(options, problem, state._replace(prepared=prepared), tolerance)


def prepare(options, dissimilarities, weights):
    """Brings the inputs of `solve` to one form.

    Returns:
      The `Problem`; its (n, n) dissimilarities in units of the largest, 0 where missing; and what
      the transform prepares for them.
    """
    alone = bool(options.on_cpu)
    valid = is_valid(dissimilarities, alone)
    dissimilarities = symmetrize(dissimilarities, alone)
    weighted = weights is not None
    if weighted:
        valid &= is_valid(weights, alone)
    weights = symmetrize(weights if weighted else jnp.ones_like(dissimilarities), alone)
    valid &= jnp.all(jnp.isfinite(weights))
    missing = jnp.isnan(dissimilarities) | (weights == 0)
    weights = jnp.where(missing, 0, weights)
    if weighted:
        weights = scale_weights(weights)
    dissimilarities = jnp.where(missing, 0, dissimilarities)
    unit = lax.stop_gradient(jnp.max(dissimilarities))
    scaled = in_units_above_0(dissimilarities, unit)
    given = dissimilarities if options.transform == "ordinal" else scaled
    prepared = options.get_transform().prepare(given, weights, weighted)
    valid &= unit > 0
    return Problem(valid, unit, Laplacian.of(weights)), scaled, prepared


def classical_start(options, problem, dissimilarities):
    """(n, k) by classical scaling, with shortest paths for missing values."""
    filled = fill_with_shortest_paths(dissimilarities, problem.laplacian.weights)
    tolerance = 0.0 if len(filled) <= _MAX_EXACT_POINTS else _START_TOLERANCE
    return torgerson(filled, options.num_dims, tolerance)


def initial_state(options, problem, start, prepared, has_buffer=True):
    """The state before the first iteration, for any (n, k) configuration."""
    start = _center_and_scale(start)
    infinity = jnp.asarray(jnp.inf, start.dtype)
    far = jnp.full_like(start, jnp.inf)
    if options.transform == "ratio":
        known, buffer = nothing_known(prepared, problem.laplacian, start), None
    else:
        known, buffer = None, _distance_buffer(start) if has_buffer else start[:0, 0]
    return State(
        embedding=start, step=far, stride=far, stress=infinity, decrease=infinity,
        window=anderson.empty_window(start), candidate=start, is_plain=jnp.asarray(True),
        num_iters=jnp.int32(-1), prepared=prepared, known=known, distance_buffer=buffer,
    )


def run(options, problem, state, max_iters, tolerance):
    """Iterates until the state has converged or `max_iters` is reached."""
    return loops.while_loop(
        partial(goes_on, max_iters=max_iters, tolerance=tolerance),
        partial(_iterate, options, problem), state,
    )


def run_together(options, problem, state, max_iters, tolerance):
    """`run`, whose batches step together, until a few problems are left that go on by themselves.

    Each step then costs what the few cost. They are the last sixteenth: most problems take about as
    many steps as the mean.
    """
    @jax.custom_batching.custom_vmap
    def run_these(problem, state, max_iters, tolerance):
        return run(options, problem, state, max_iters, tolerance)

    @run_these.def_vmap
    def run_batch(size, is_batched, *args):
        def whole(x, is_batched):
            return x if is_batched else jnp.broadcast_to(x, (size, *jnp.shape(x)))

        args = jax.tree.map(whole, args, tuple(is_batched))
        if not isinstance(size, int):  # not known yet (export)
            states = jax.vmap(partial(run, options))(*args)
            return states, jax.tree.map(lambda _: True, states)
        problems, states, *limits = args
        few = -(-size // _FEW)

        def go_on(states):
            return jax.vmap(goes_on)(states, *limits)

        def step(states):
            # Those that go on have come equally far, so that none reckons curvatures in vain.
            due = _is_due(jnp.max(states.num_iters, initial=-1))
            iterate = jax.vmap(partial(_iterate, options), in_axes=(0, 0, None))
            stepped = iterate(problems, states, due)
            return jax.tree.map(partial(_where, go_on(states)), stepped, states)

        states = loops.while_loop(lambda states: jnp.sum(go_on(states)) > few, step, states)
        last = jnp.argsort(~go_on(states), stable=True)[:few]
        part = jax.tree.map(lambda x: x[last], (problems, states, *limits))
        part = jax.vmap(partial(run, options))(*part)
        states = jax.tree.map(lambda x, y: x.at[last].set(y, unique_indices=True), states, part)
        return states, jax.tree.map(lambda _: True, states)

    return run_these(problem, state, max_iters, tolerance)


def goes_on(state, max_iters, tolerance):
    """() whether further iterations are of use, and allowed: not if it has converged, or is NaN."""
    is_done = has_converged(state, tolerance) | jnp.isnan(state.stress)
    return ~is_done & (state.num_iters < max_iters)


def _where(condition, x, y):
    """`jnp.where` for (problems,) conditions and (problems, ...) arrays."""
    return jnp.where(condition.reshape(-1, *(1,) * (x.ndim - 1)), x, y)


def has_converged(state, tolerance):
    """Whether gradient and decrease are small relative to stress, or the step is rounding."""
    # To first order, step_norm / stress = norm of the gradient / (1 - stress^2).
    step_norm = _norm(state.step)
    limit = tolerance * state.stress
    is_small = (step_norm < limit) & (state.decrease <= limit)
    eps = jnp.finfo(state.stress.dtype).eps
    is_perfect = state.stress <= _PERFECT * eps
    # Steps that still lower a stress of more than rounding are worth taking.
    rounding = jnp.where(is_perfect, 8, jnp.where(state.decrease <= 0, 2, 1)) * eps
    return is_small | (step_norm <= rounding)


def _is_due(num_iters):
    """Whether the iteration after so many reckons the points' curvatures anew."""
    return (num_iters + 1) % _CURVATURE_PERIOD == 0


@partial(jax.jit, static_argnames="options")
def _iterate(options, problem, state, due=None):
    """Takes the candidate unless it raises stress, and proposes the next one.

    `due`: `_is_due` of the iterations, where a batch knows it for all of its problems.
    """
    x = state.candidate
    prepared, known, distance_buffer = state.prepared, state.known, state.distance_buffer
    if known is not None:
        due = _is_due(state.num_iters) if due is None else due
        stress, step, stride, known = _steps_of_ratio(options, problem, state, due)
    else:
        d, distance_buffer = _distances(x, distance_buffer)
        disparities, prepared = options.get_transform().fit(prepared, d)
        stress = _stress_at_norm_1(problem.laplacian, disparities, d)
        step, stride, distance_buffer = _steps(options, problem, x, d, disparities, stress,
                                               distance_buffer)
    if options.acceleration == "none":
        window, candidate, is_plain = state.window, x + step, True
    else:
        window = anderson.extend(state.window, x - state.embedding, stride - state.stride)
        excess = jnp.where(window.is_empty, _RELAXATION - 1, 0)
        candidate = anderson.extrapolate(window, x + stride, stride) + excess * stride
        is_plain = False
    # A Guttman transform cannot raise stress, except by rounding.
    accepted = state.is_plain | (stress <= (1 + 8 * jnp.finfo(x.dtype).eps) * state.stress)
    forward = State(
        embedding=x, step=step, stride=stride, stress=stress, decrease=state.stress - stress,
        window=window, candidate=_center_and_scale(candidate), is_plain=jnp.asarray(is_plain),
        num_iters=state.num_iters, prepared=None, known=known, distance_buffer=None,
    )
    back = state._replace(
        window=anderson.empty_window(state.embedding),
        candidate=state.embedding + state.step, is_plain=jnp.asarray(True), prepared=None,
        distance_buffer=None,
    )
    state = jax.tree.map(partial(jnp.where, accepted), forward, back)
    return state._replace(
        num_iters=state.num_iters + 1, prepared=prepared, distance_buffer=distance_buffer,
    )


def _steps_of_ratio(options, problem, state, due):
    """Stress, step and stride of the candidate, and what the next one takes over."""
    x, (factor, inverse) = state.candidate, state.known
    given = problem.laplacian, x
    stress, image, factor = fit_ratio(state.prepared, *given, factor, options.on_cpu)
    step = _scale(image) - x
    if options.acceleration == "none":
        return stress, step, step, Known(factor, inverse)
    inverse = lax.cond(
        due,
        lambda: inverse_curvatures(state.prepared, *given, factor, options.on_cpu),
        lambda: inverse,
    )
    stride = jnp.sum(inverse * step[:, None, :], axis=2)
    stride = stride - jnp.mean(stride, axis=0, keepdims=True)
    return stress, step, stride, Known(factor, inverse)


def _steps(options, problem, x, d, disparities, stress, distance_buffer):
    """The step and the stride of a configuration, and the distance buffer."""
    change = partial(guttman_step, laplacian=problem.laplacian,
                     may_be_negative=options.transform == "interval")
    # Textbooks rescale the disparities before the Guttman transform. Rescaling the embedding after
    # it is equivalent: the transform is linear in the disparities and ignores the embedding's size.
    image = x + change(x, d, disparities)
    step = _scale(image) - x
    if options.transform != "ordinal" or options.acceleration == "none":
        return step, step, distance_buffer
    # Relaxed ones must start from the size that suits the disparities best, or stress may rise.
    size = 1 / (1 - stress**2)
    disparities = size * disparities

    def relax(_, carry):
        y, buffer = carry
        d, buffer = _distances(y, buffer)
        return y + _RELAXATION * change(y, d, disparities), buffer

    first = x + _RELAXATION * (size * image - x)
    y, distance_buffer = lax.fori_loop(0, _SWEEPS - 2, relax, (first, distance_buffer))
    d, distance_buffer = _distances(y, distance_buffer)
    return step, _scale(y + change(y, d, disparities)) - x, distance_buffer


def _distance_buffer(points):
    num_points = points.shape[0]
    shape = (num_points + 1, num_points) if num_points <= _MAX_BUFFERED_POINTS else (0,)
    return jnp.zeros(shape, points.dtype)


def _distances(points, buffer):
    """(n, n) distances, and the (n + 1, n) buffer that they were written into.

    On CPU, XLA distributes the rows of even a small matrix over threads. That takes longer than
    computing it, and in a batch every thread already has a problem of its own. XLA does not do so
    if the rows are written into a larger array.
    """
    if buffer.ndim < 2:
        return unscaled_distances(points), buffer
    buffer = lax.dynamic_update_slice(buffer, unscaled_distances(points), (0, 0))
    return buffer[:-1], buffer


def finalize(options, problem, state, tolerance):
    """The `MDSResult` of the last state."""
    fit = _rescale(options, problem, state.prepared, state.embedding)
    finite = jnp.isfinite(problem.unit + state.stress) & jnp.all(jnp.isfinite(fit[0]))
    # Where all known pairs lie in one place, as in some starts, nothing fits anything.
    finite &= fit[1] < 1 - 8 * jnp.finfo(fit[1].dtype).eps
    status = status_of(has_converged(state, tolerance), finite,
                       is_connected(problem.laplacian.weights), problem.is_valid)
    solved = (status == Status.CONVERGED) | (status == Status.STEP_LIMIT)
    embedding, stress, disparities = (jnp.where(solved, x, jnp.nan) for x in fit)
    return MDSResult(embedding, stress, disparities, state.num_iters, status)


def _rescale(options, problem, prepared, embedding):
    """Embedding, stress and disparities in their final scale; differentiable."""
    d = unscaled_distances(embedding)
    disparities, _ = options.get_transform().fit(prepared, d)
    stress = _stress(problem.laplacian.weights, disparities, d)
    if options.transform == "ratio":
        dissimilarities, *_ = prepared
        weighted = problem.laplacian.weights * d
        power = power_of_two(problem.unit)
        unit = problem.unit / power
        scale = unit * total(weighted * dissimilarities) / total(weighted * d)
        # The scale itself may be out of range where no coordinate is.
        return power * (scale * embedding), stress, power * (scale * disparities)
    scale = math.sqrt((embedding.shape[0] - 1) / 2)  # the squared distances sum to n
    return scale * embedding, stress, scale * disparities


def _stress(weights, disparities, distances):
    error = disparities - distances
    return square_root(total(weights * error**2) / total(weights * distances**2))


def _stress_at_norm_1(laplacian, disparities, distances):
    """`_stress` of a configuration of norm 1, whose denominator is known if weights are equal."""
    weights, error = laplacian.weights, disparities - distances
    square = lax.cond(
        laplacian.is_constant,
        lambda: 2 * weights.shape[0] * weights[0, -1],
        lambda: total(weights * distances**2),
    )
    return square_root(total(weights * error**2) / square)


def _center_and_scale(points: jax.Array) -> jax.Array:
    return _scale(points - jnp.mean(points, axis=0, keepdims=True))


def _scale(points: jax.Array) -> jax.Array:
    return points / _norm(points)


def _norm(points):
    return jnp.sqrt(jnp.sum(points**2))


@_solve.defjvp
def _solve_jvp(options, primals, tangents):
    """By the implicit function theorem: the gradient of squared stress stays zero."""
    inputs, changes = primals[:2], tangents[:2]
    result = _solve(options, *primals)
    embedding = _center_and_scale(result.embedding / unit_of(result.embedding))

    def gradient(embedding, *inputs):
        """Half the gradient of squared stress-1. The optimal disparities contribute nothing."""
        problem, _, prepared = prepare(options, *inputs)
        weights = problem.laplacian.weights
        d = unscaled_distances(embedding)
        disparities, _ = options.get_transform().fit(prepared, d)
        pull = laplacian_product(weights * (1 - disparity_ratios(disparities, d)), embedding)
        square = total(weights * d**2)
        squared_stress = total(weights * (disparities - d) ** 2) / square
        return (pull - squared_stress * laplacian_product(weights, embedding)) / square

    _, change = jax.jvp(partial(gradient, embedding), inputs, changes)
    embedding_change = implicit_change(lambda x: gradient(x, *inputs), embedding, change)

    def rescale(embedding, *inputs):
        problem, _, prepared = prepare(options, *inputs)
        return _rescale(options, problem, prepared, embedding)

    _, changes = jax.jvp(rescale, (embedding, *inputs), (embedding_change, *changes))
    counts = map(jnp.zeros_like, (result.num_iters, result.status))
    return result, MDSResult(*changes, *counts)
