"""Exact isotonic regression: the closest non-decreasing sequence.

A *block* is a run of consecutive values that share one fitted value, their weighted mean. Both
algorithms below pool neighbouring blocks until the means no longer decrease, and both are exact;
one suits devices on which scalar code is fast, the other all others. A block is stored as a row of
numbers that add up when blocks are pooled: weighted sum, weight, and number of values (which is
the weight if there are no others).
"""

from functools import partial, reduce
from itertools import accumulate

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from deepmds_jax import loops
from deepmds_jax.given_arrays import check_numbers
from deepmds_jax.mds.inputs import as_computed, float_dtype, is_traced
from deepmds_jax.mds.measures import keep_counted, power_of_two
from deepmds_jax.mds.ordering import take

_GROUP_SIZE, _LARGE_GROUP_SIZE = 4, 8  # values pooled by formula, on CPU and elsewhere
_MAX_BLOCKS = 0.5  # that such groups usually leave, of the number of values
_CHUNK_SIZE = 16  # values of the fit written at a time


def isotonic_regression(y: ArrayLike, weights: ArrayLike | None = None) -> jax.Array:
    """Weighted least-squares fit of a non-decreasing sequence along the last axis.

    On CPU it takes linear time per sequence and solves the sequences of a batch one after the
    other; other devices solve a batch at once, in rounds of logarithmic depth. Forward and reverse
    derivatives with respect to `y` and `weights`: each block moves with its mean.

    Args:
      y: (..., m) float; integers become the default float.
      weights: positive, same shape as `y`; all 1 by default. In float32, those below 1e-25
        of the largest of a sequence may count as more.

    Returns:
      (..., m) in the dtype of `y`, computed in float32 if that is half precision, which knows the
      mean of a block of a million values to six digits. A sequence with a NaN or infinity gives
      NaN.

    Raises:
      ValueError: `y` is empty, not real or longer than its dtype can count (2^24 in float32), or
        `weights` has another shape; outside jit also weights that are not > 0 and finite.

    Source: Barlow, Bartholomew, Bremner & Brunk (1972), Statistical Inference under Order
    Restrictions, section 1.2 (pool adjacent violators; min-max formula).
    """
    check_numbers("y", y, "leave the values out")
    dtype = float_dtype(y)
    y = as_computed("y", y)
    if y.ndim == 0 or y.shape[-1] == 0:
        raise ValueError(f"y: expected shape (..., m) with m at least 1, got {y.shape}")
    longest = 2 ** (jnp.finfo(y.dtype).nmant + 1)
    if y.shape[-1] > longest:
        raise ValueError(f"y: expected at most {longest:,} values in {y.dtype}, got "
                         f"{y.shape[-1]:,}")
    if weights is not None:
        check_numbers("weights", weights, "leave the values out")
        if np.shape(weights) != y.shape:
            raise ValueError(
                f"weights: expected the shape of y, {y.shape}, got {np.shape(weights)}"
            )
        weights = as_computed("weights", weights).astype(y.dtype)
        if not is_traced(weights):
            known = np.asarray(weights)
            wrong = known[~((known > 0) & np.isfinite(known))]
            if wrong.size:
                raise ValueError(f"weights: expected all > 0 and finite, got {wrong[0]}")
    return _regress(y, weights).astype(dtype)


@jax.jit
def _regress(y, weights):
    finite = jnp.all(jnp.isfinite(y), axis=-1, keepdims=True)
    unit = power_of_two(lax.stop_gradient(jnp.max(jnp.abs(y), axis=-1, keepdims=True)))
    y = y / unit
    if weights is None:
        fit = jnp.vectorize(pool_adjacent_violators, signature="(m)->(m)")(y)
    else:
        scaled = weights / power_of_two(
            lax.stop_gradient(jnp.max(weights, axis=-1, keepdims=True)))
        weights = keep_counted(scaled, weights)
        fit = jnp.vectorize(pool_adjacent_violators, signature="(m),(m)->(m)")(y, weights)
    return jnp.where(finite, fit * unit, jnp.nan)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def pool_adjacent_violators(
    y: jax.Array, weights: jax.Array | None = None, on_cpu: bool | None = None
) -> jax.Array:
    """`isotonic_regression` of one (m,) sequence, which may end in infinities: (m,).

    Both ways are traced unless it is known whether the program is one for a CPU.
    """
    pool_with_stack = jax.custom_batching.sequential_vmap(_pool_with_stack)
    if on_cpu is None:
        return lax.platform_dependent(y, weights, cpu=pool_with_stack, default=_pool_together)
    return (pool_with_stack if on_cpu else _pool_together)(y, weights)


@pool_adjacent_violators.defjvp
def _pool_adjacent_violators_jvp(on_cpu, primals, tangents):
    (y, weights), (y_dot, weights_dot) = primals, tangents
    fit = pool_adjacent_violators(y, weights, on_cpu)
    if weights is None:
        change, weights = y_dot, jnp.ones_like(y)
    else:
        residual = jnp.where(jnp.isfinite(y), y - fit, 0)
        change = weights * y_dot + weights_dot * residual
    starts = jnp.append(True, fit[1:] != fit[:-1])
    sums, total = block_sums(starts, change), block_sums(starts, weights)
    return fit, sums / total


def _in_range(weights):
    """Weights times a power of two, which leaves products of two of them in the dtype's range."""
    half = np.finfo(weights.dtype).maxexp * 25 // 64
    exponent = jnp.frexp(jnp.sum(weights))[1]
    scaled = weights * jnp.ldexp(jnp.ones((), weights.dtype), half - exponent)
    return jnp.maximum(scaled, 2.0**-half)


def block_sums(starts: jax.Array, values: jax.Array) -> jax.Array:
    """(m,) sum over the block of each value, for (m,) bool block starts and (m,) values."""
    block = jnp.cumsum(starts, dtype=jnp.int32) - 1
    sums = jax.ops.segment_sum(values, block, values.shape[0], indices_are_sorted=True,
                               mode="promise_in_bounds")
    return take(sums, block)


def _pool_with_stack(y: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Pools blocks from left to right: each step merges the last two or starts a new one.

    Selects replace branches, and each step reads the stack only after writing to it. XLA then
    updates the stack in place, and a step takes about 10 ns; a read before the write would make
    it copy the stack in every step.
    """
    num_values = y.shape[0]
    weights = None if weights is None else _in_range(weights)
    rows, _ = _pool_groups(y, weights, _GROUP_SIZE)
    below_all = jnp.where(jnp.arange(rows.shape[1]) == 0, -jnp.inf, 1).astype(y.dtype)

    def step(state):
        position, depth, block, stack = state
        stack = _write(stack, block, depth)
        previous = _read(stack, depth - 1)
        violates = previous[0] * block[1] > block[0] * previous[1]  # compares the means
        row = _read(rows, position)
        return (
            jnp.where(violates, position, position + row[-1].astype(jnp.int32)),
            jnp.where(violates, depth - 1, depth + 1),
            jnp.where(violates, previous + block, row),
            stack,
        )

    stack = jnp.broadcast_to(below_all, (rows.shape[0] + 1, rows.shape[1]))
    state = (rows[0, -1].astype(jnp.int32), jnp.int32(1), rows[0], stack)
    *_, stack = loops.while_loop(lambda state: state[0] <= num_values, step, state)
    means, lengths = stack[:, 0] / stack[:, 1], stack[:, -1].astype(jnp.int32)

    def spread(state):
        start, depth, left, fit = state
        chunk = jnp.full(_CHUNK_SIZE, _read(means, depth))
        fit = lax.dynamic_update_slice(fit, chunk, (start,))  # the next block overwrites the excess
        done = left <= _CHUNK_SIZE
        return (
            start + jnp.minimum(left, _CHUNK_SIZE),
            jnp.where(done, depth + 1, depth),
            jnp.where(done, _read(lengths, depth + 1), left - _CHUNK_SIZE),
            fit,
        )

    state = (jnp.int32(0), jnp.int32(1), lengths[1], jnp.zeros(num_values + _CHUNK_SIZE, y.dtype))
    *_, fit = loops.while_loop(lambda state: state[0] < num_values, spread, state)
    return fit[:num_values]


@partial(jax.jit, static_argnames="group_size")
def _pool_groups(
    y: jax.Array, weights: jax.Array | None, group_size: int
) -> tuple[jax.Array, jax.Array]:
    """Pools within each group of a few neighbours: rows of blocks, at the starts of the blocks.

    This does half of all merges and more, for many groups at once, by the min-max formula: value i
    is the maximum over a <= i of the minimum over b >= i of the mean of a..b. At least one row of
    infinity, which nothing merges with, follows the last value.

    Returns:
      The rows, and whether each is at the start of a block.
    """
    num_groups = y.shape[0] // group_size + 1
    padding = (0, num_groups * group_size - y.shape[0])

    def grouped(x, rest):
        x = jnp.pad(x, padding, constant_values=rest)
        return list(jnp.unstack(x.reshape(-1, group_size), axis=1))

    ones = [jnp.ones(num_groups, y.dtype)] * group_size
    weight = ones if weights is None else grouped(weights, 1)
    value = grouped(y if weights is None else y * weights, jnp.inf)
    fit = jnp.zeros((num_groups, group_size), y.dtype)
    # Not stacked: XLA would compute all columns for each.
    for i, column in enumerate(_min_max(value, weight)):
        fit = lax.dynamic_update_slice(fit, column[:, None], (0, i))
    pooled = fit[:, :-1] == fit[:, 1:]
    columns = [_sums_ahead(pooled, x) for x in ([ones] if weights is None else [weight, ones])]
    starts = jnp.pad(~pooled, [(0, 0), (1, 0)], constant_values=True)
    rows = jnp.stack([fit * columns[0], *columns], axis=2).reshape(-1, 1 + len(columns))
    return rows, starts.ravel()


def _min_max(value: list[jax.Array], weight: list[jax.Array]) -> list[jax.Array]:
    """The fit at each position of a group, from weighted values and weights."""
    positions = range(len(value))
    smallest = {}  # [start, i]: mean of start..end, the smallest over end >= i
    for start in positions:
        totals = zip(accumulate(value[start:]), accumulate(weight[start:]), strict=True)
        means = [total / total_weight for total, total_weight in totals]
        falling = accumulate(reversed(means), jnp.minimum)
        ends = reversed(positions[start:])
        smallest |= {(start, end): x for end, x in zip(ends, falling, strict=True)}
    return [
        reduce(jnp.maximum, (smallest[start, i] for start in positions[:i + 1]))
        for i in positions
    ]


def _sums_ahead(pooled: jax.Array, x: list[jax.Array]) -> jax.Array:
    """Sums of x from each position to the last one pooled with it."""
    sums = [x[-1]]
    for i in reversed(range(len(x) - 1)):
        sums.insert(0, x[i] + jnp.where(pooled[:, i], sums[0], 0))
    return jnp.stack(sums, axis=1)


@jax.jit
def _pool_in_rounds(y: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Pools all runs of neighbouring blocks with decreasing means at once, until none is left."""
    num_values = y.shape[0]
    weights = jnp.ones_like(y) if weights is None else weights
    weighted = y * weights

    def means_of(starts):
        sums, totals, _ = lax.associative_scan(_segmented_add, (weighted, weights, starts))
        ends = jnp.where(jnp.append(starts[1:], True), jnp.arange(num_values), num_values)
        return take(sums / totals, lax.cummin(ends, reverse=True))

    def violations(means):
        return jnp.append(False, means[:-1] > means[1:])

    def merge(state):
        starts, means = state
        starts = starts & ~violations(means)
        return starts, means_of(starts)

    state = (jnp.ones(num_values, bool), y)
    return loops.while_loop(lambda state: jnp.any(violations(state[1])), merge, state)[1]


def _segmented_add(left, right):
    (left_sum, left_total, left_starts), (right_sum, right_total, right_starts) = left, right
    return (jnp.where(right_starts, right_sum, left_sum + right_sum),
            jnp.where(right_starts, right_total, left_total + right_total),
            left_starts | right_starts)


@jax.custom_batching.custom_vmap
def _pool_together(y: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Of a batch, sequences shrink to the blocks of groups first: each round costs less by half.

    If in one of them too many blocks are left, all are pooled from single values.
    """
    return _pool_in_rounds(y, weights)


@_pool_together.def_vmap
def _pool_batch(size, is_batched, y, weights):
    if not is_batched[0]:
        y = jnp.broadcast_to(y, (size, *y.shape))
    if weights is not None and not is_batched[1]:
        weights = jnp.broadcast_to(weights, y.shape)
    num_values = y.shape[1]
    max_blocks = int(_MAX_BLOCKS * num_values) + 1

    def pool_blocks(y, weights, rows, starts, block):
        place = jnp.where(starts, block, max_blocks)
        sums, totals = (
            jnp.full(max_blocks, rest, y.dtype).at[place].set(x, mode="drop", unique_indices=True)
            for rest, x in ((jnp.inf, rows[:, 0]), (1, rows[:, 1]))
        )
        return take(_pool_in_rounds(sums / totals, totals), block[:num_values])

    def pool_values(y, weights, *_):
        return _pool_in_rounds(y, weights)

    rows, starts = jax.vmap(partial(_pool_groups, group_size=_LARGE_GROUP_SIZE))(y, weights)
    block = jnp.cumsum(starts, axis=1, dtype=jnp.int32) - 1
    fits = jnp.all(block < max_blocks)
    fit = lax.cond(fits, jax.vmap(pool_blocks), jax.vmap(pool_values),
                   y, weights, rows, starts, block)
    return fit, True


_read = partial(lax.dynamic_index_in_dim, keepdims=False, allow_negative_indices=False)
_write = partial(lax.dynamic_update_index_in_dim, axis=0, allow_negative_indices=False)
