"""Sorts pairs of points by their dissimilarities."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def argsort(values: jax.Array, groups: jax.Array | None = None) -> jax.Array:
    """Stable argsort of non-negative floats, by radix.

    The bits of such floats are integers in the same order. They are sorted digit by digit, lowest
    first, with each digit and the position of its value packed into one 32-bit word: on CPU, XLA
    sorts single words several times as fast as pairs of arrays.

    Args:
      values: (m,) float, not negative; may be infinite.
      groups: (m,) int32 from 0 to m, to sort by first; none by default.

    Returns:
      (m,) int32.
    """
    num_values = values.shape[0]
    value_bits = 8 * values.dtype.itemsize - 1  # without the sign
    words = lax.bitcast_convert_type(jnp.abs(values), f"uint{value_bits + 1}")
    order = _sort_digits(words, value_bits, jnp.arange(num_values, dtype=jnp.uint32))
    if groups is not None:
        order = _sort_digits(groups.astype(jnp.uint32), num_values.bit_length(), order)
    return order.astype(jnp.int32)


def _sort_digits(words, num_bits, order):
    position_bits = max(1, (len(order) - 1).bit_length())
    positions = jnp.arange(len(order), dtype=jnp.uint32)
    digit_bits = 32 - position_bits

    def sort_digit(i, order):
        digit = take(words, order) >> (i * digit_bits).astype(words.dtype)
        packed = lax.sort(digit.astype(jnp.uint32) << position_bits | positions, is_stable=False)
        return take(order, packed & np.uint32((1 << position_bits) - 1))

    num_digits = -(-num_bits // digit_bits)
    return lax.fori_loop(0, num_digits, sort_digit, order + jnp.zeros_like(words, order.dtype))


def inverse(order: jax.Array) -> jax.Array:
    """The inverse of a permutation, (m,) int32: the rank of each value, given their order."""
    positions = jnp.arange(order.shape[0], dtype=jnp.int32)
    return jnp.zeros_like(positions).at[order].set(
        positions, unique_indices=True, mode="promise_in_bounds"
    )


def take(array: jax.Array, indices: jax.Array) -> jax.Array:
    """`array[indices]` without bounds checks, which on CPU cost more than the reads."""
    return array.at[indices].get(mode="promise_in_bounds")


def pair_codes(num_points: int) -> jax.Array:
    """(m,) int32, i * n + j once for each of the m = n (n - 1) / 2 pairs of points i != j.

    With the points on a circle, pair p consists of point i = p mod n and the one p // n + 1 steps
    after it. This order needs no table of indices.
    """
    pairs = jnp.arange(num_points * (num_points - 1) // 2, dtype=jnp.int32)
    first = pairs % num_points
    return first * num_points + (first + pairs // num_points + 1) % num_points


def pair_positions(num_points: int) -> jax.Array:
    """(n, n) int32, the position of pair (i, j) in `pair_codes`; arbitrary on the diagonal."""
    i = jnp.arange(num_points, dtype=jnp.int32)
    steps = (i[None, :] - i[:, None]) % num_points  # from i to j
    back = num_points - steps
    ahead = (steps < back) | ((steps == back) & (2 * i < num_points)[:, None])
    position = jnp.where(ahead, (steps - 1) * num_points + i[:, None],
                         (back - 1) * num_points + i[None, :])
    return jnp.where(steps == 0, 0, position)
