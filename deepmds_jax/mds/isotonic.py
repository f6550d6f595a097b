"""Exact isotonic regression: the closest non-decreasing sequence.

A *block* is a run of consecutive values that share one fitted value, their weighted mean. Both
algorithms below pool neighbouring blocks until the means no longer decrease, and both are exact;
one is fast where scalar code is fast, the other where it is not.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from deepmds_jax.mds.inputs import as_float

_CHUNK = 16  # values written at a time when blocks are written out


def isotonic_regression(y: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Weighted least-squares fit of a non-decreasing sequence along the last axis.

    Linear time per sequence on CPU, where a batch runs one sequence after the other; on other
    devices a batch runs together, in rounds that each take logarithmic depth. No reverse-mode
    gradients.

    Args:
      y: (..., m) float; integers become the default float.
      weights: positive, same shape as `y`; all 1 by default.

    Returns:
      (..., m) of the dtype of `y`. A sequence that holds a NaN comes out all NaN.

    Raises:
      ValueError: `y` has no values, or `weights` another shape or, outside jit, a value not > 0.

    Source: Barlow, Bartholomew, Bremner & Brunk (1972), Statistical Inference under Order
    Restrictions, section 1.2 (pool adjacent violators).
    """
    y = as_float(y)
    if y.ndim == 0 or y.shape[-1] == 0:
        raise ValueError(f"y: expected shape (..., m) with m at least 1, got {y.shape}")
    if weights is not None:
        weights = jnp.asarray(weights, y.dtype)
        if weights.shape != y.shape:
            raise ValueError(f"weights: expected the shape of y, {y.shape}, got {weights.shape}")
        if not isinstance(weights, jax.core.Tracer) and not jnp.all(weights > 0):
            raise ValueError(f"weights: expected all > 0, got {jnp.min(weights)}")
    return _regress(y, weights)


@jax.jit
def _regress(y, weights):
    # One row per value: (weighted) sum, weight, ..., length. Rows of a block add up to its own.
    ones = jnp.ones_like(y)
    columns = (y, ones) if weights is None else (y * weights, weights, ones)
    rows = jnp.stack(columns, axis=-1)

    @partial(jnp.vectorize, signature="(m,c)->(m)")
    def pool(rows):
        return lax.platform_dependent(
            rows, cpu=jax.custom_batching.sequential_vmap(_pool_with_stack), default=_pool_in_rounds
        )

    finite = jnp.isfinite(jnp.sum(y, axis=-1, keepdims=True))
    return jnp.where(finite, pool(rows), jnp.nan)


def _pool_with_stack(rows: jax.Array) -> jax.Array:
    """Pools values from left to right: each step merges the last two blocks or starts a new one.

    With selects for branches, and the stack read only after it is written, XLA keeps the stack in
    place and a step costs about 10 ns; any read before the write would copy the stack every step.
    """
    num_values, num_columns = rows.shape
    below_all = jnp.where(jnp.arange(num_columns) == 0, -jnp.inf, 1).astype(rows.dtype)

    def step(state):
        next_row, depth, block, stack = state
        stack = _write(stack, block, depth)
        previous = _read(stack, depth - 1)
        violates = previous[0] * block[1] > block[0] * previous[1]  # compares the means
        return (
            jnp.where(violates, next_row, next_row + 1),
            jnp.where(violates, depth - 1, depth + 1),
            jnp.where(violates, previous + block, _read(rows, next_row)),
            stack,
        )

    stack = jnp.broadcast_to(below_all, (num_values + 2, num_columns))
    state = (jnp.int32(1), jnp.int32(1), rows[0], stack)
    *_, stack = lax.while_loop(lambda state: state[0] <= num_values, step, state)
    means, lengths = stack[:, 0] / stack[:, 1], stack[:, -1].astype(jnp.int32)

    def spread(state):
        start, depth, left, fit = state
        chunk = jnp.full(_CHUNK, _read(means, depth))
        fit = lax.dynamic_update_slice(fit, chunk, (start,))  # the next block overwrites the excess
        done = left <= _CHUNK
        return (
            start + jnp.minimum(left, _CHUNK),
            jnp.where(done, depth + 1, depth),
            jnp.where(done, _read(lengths, depth + 1), left - _CHUNK),
            fit,
        )

    state = (jnp.int32(0), jnp.int32(1), lengths[1], jnp.zeros(num_values + _CHUNK, rows.dtype))
    *_, fit = lax.while_loop(lambda state: state[0] < num_values, spread, state)
    return fit[:num_values]


def _pool_in_rounds(rows: jax.Array) -> jax.Array:
    """Pools every run of neighbouring blocks with decreasing means at once, until none is left."""

    def means_of(starts):
        sums, _ = lax.associative_scan(_segmented_add, (rows, starts))
        indices = jnp.arange(rows.shape[0])
        ends = jnp.where(jnp.append(starts[1:], True), indices, rows.shape[0])
        totals = sums[lax.cummin(ends, reverse=True)]
        return totals[:, 0] / totals[:, 1]

    def violations(means):
        return jnp.append(False, means[:-1] > means[1:])

    def merge(state):
        starts, means = state
        starts = starts & ~violations(means)
        return starts, means_of(starts)

    starts = jnp.ones(rows.shape[0], bool)
    state = (starts, rows[:, 0] / rows[:, 1])
    return lax.while_loop(lambda state: jnp.any(violations(state[1])), merge, state)[1]


def _segmented_add(left, right):
    (left_sum, left_starts), (right_sum, right_starts) = left, right
    total = jnp.where(right_starts[:, None], right_sum, left_sum + right_sum)
    return total, left_starts | right_starts


_read = partial(lax.dynamic_index_in_dim, keepdims=False, allow_negative_indices=False)
_write = partial(lax.dynamic_update_index_in_dim, axis=0, allow_negative_indices=False)
