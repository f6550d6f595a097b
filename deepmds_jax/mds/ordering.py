"""Sorts pairs of points by their dissimilarities."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deepmds_jax import loops
from deepmds_jax.mds.measures import in_units_above_0

_MAX_SWAP_ROUNDS = 8  # then all values are sorted again
_SPARE_BITS = 2  # of a digit that tells most values apart, beside those that count the values


def argsort_even(values: jax.Array) -> jax.Array:
    """Stable argsort of (m,) floats that are not negative, and may be infinite: (m,) int32.

    Where they are spread rather evenly, most of up to some ten thousand are told apart by a single
    digit, and sorted once instead of digit by digit.
    """
    position_bits, digit_bits = _bits(values.shape[0])
    if digit_bits < position_bits + _SPARE_BITS:
        return argsort(values)
    is_finite = jnp.isfinite(values)
    unit = jnp.max(values, where=is_finite, initial=0)
    scaled = in_units_above_0(values, unit)
    largest = (1 << min(digit_bits, 23)) - 1  # of infinity; float32 holds it
    digit = jnp.where(is_finite, scaled * (largest - 1), largest).astype(jnp.uint32)
    order = _sort_digit(digit).astype(jnp.int32)
    again, _ = resort(take(values, order))
    return take(order, again)


def resort(values: jax.Array, tied: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Stable argsort of floats that are nearly in order, and not negative.

    Swapping neighbours is usually enough.

    Args:
      values: (m,).
      tied: (m - 1,) bool, whether each value but the last may change places with the next one;
        all may by default.

    Returns:
      (m,) int32, and () whether any value moved.
    """
    positions = jnp.arange(values.shape[0], dtype=jnp.int32)
    may_swap = jnp.ones(values.shape[0] - 1, bool) if tied is None else tied

    def is_unsorted(state):
        values, *_ = state
        return jnp.any(may_swap & (values[1:] < values[:-1]))

    def swap(state):
        values, order, count = state
        for first in (0, 1):
            values, order = _swap_neighbours(may_swap, values, order, first)
        return values, order, count + 1

    def sort(state):
        values, order, count = state
        groups = None if tied is None else jnp.cumsum(jnp.append(True, ~tied), dtype=jnp.int32)
        again = argsort(values, groups)
        return take(values, again), take(order, again), count + 1

    state = loops.while_loop(lambda state: is_unsorted(state) & (state[2] < _MAX_SWAP_ROUNDS),
                             swap, (values, positions, jnp.int32(0)))
    # Once at most: negative values, of an invalid problem, stay out of order.
    _, order, count = loops.while_loop(
        lambda state: is_unsorted(state) & (state[2] == _MAX_SWAP_ROUNDS), sort, state)
    return order, count > 0


def _swap_neighbours(may_swap, values, order, first):
    """Swaps positions first + 2 i and first + 2 i + 1, for every i, if out of order."""
    m = values.shape[0]
    end = first + (m - first) // 2 * 2

    def halves(x):
        return jnp.unstack(x[first:end].reshape(-1, 2), axis=1)

    left, right = halves(values)
    swaps = may_swap[first:end:2] & (right < left)

    def exchange(x):
        left, right = halves(x)
        pairs = jnp.stack(
            [jnp.where(swaps, right, left), jnp.where(swaps, left, right)], axis=1
        )
        return jnp.concatenate([x[:first], pairs.ravel(), x[end:]])

    return exchange(values), exchange(order)


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
    _, digit_bits = _bits(len(order))

    def sort_digit(i, order):
        digit = take(words, order) >> (i * digit_bits).astype(words.dtype)
        return take(order, _sort_digit(digit.astype(jnp.uint32)))

    num_digits = -(-num_bits // digit_bits)
    return lax.fori_loop(0, num_digits, sort_digit, order + jnp.zeros_like(words, order.dtype))


def _sort_digit(digit):
    """Stable argsort of (m,) uint32, of which only the low bits count."""
    position_bits, _ = _bits(len(digit))
    positions = jnp.arange(len(digit), dtype=jnp.uint32)
    packed = lax.sort(digit << position_bits | positions, is_stable=False)
    return packed & np.uint32((1 << position_bits) - 1)


def _bits(num_values):
    """How many of a 32-bit word hold a position, and how many are left for a digit."""
    position_bits = max(1, (num_values - 1).bit_length())
    return position_bits, 32 - position_bits


def inverse(order: jax.Array) -> jax.Array:
    """The inverse of a permutation, (m,) int32: the rank of each value, given their order."""
    positions = jnp.arange(order.shape[0], dtype=jnp.int32)
    return jnp.zeros_like(positions).at[order].set(
        positions, unique_indices=True, mode="promise_in_bounds", wrap_negative_indices=False
    )


def take(array: jax.Array, indices: jax.Array) -> jax.Array:
    """`array[indices]` without bounds checks, which on CPU cost more than the reads."""
    return array.at[indices].get(mode="promise_in_bounds", wrap_negative_indices=False)


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
