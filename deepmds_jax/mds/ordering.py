"""Sorting pairs of points by their dissimilarities."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def argsort(values: jax.Array, groups: jax.Array | None = None) -> jax.Array:
    """Stable order of (m,) non-negative floats, infinity included: (m,) int32.

    With `groups`, (m,) int32 from 0 to m, the order is that of the groups, and within each that of
    its values.

    The bits of such floats are integers of the same order. They are sorted digit by digit, from
    the lowest to the highest, each digit packed with the place of its value into one 32-bit word:
    XLA sorts single words on CPU several times as fast as pairs of arrays, and any other order
    would need a comparison function.
    """
    num_values = values.shape[0]
    value_bits = 8 * values.dtype.itemsize - 1  # without the sign
    words = lax.bitcast_convert_type(jnp.abs(values), f"uint{value_bits + 1}")
    order = _sort_digits(words, value_bits, jnp.arange(num_values, dtype=jnp.uint32))
    if groups is not None:
        order = _sort_digits(groups.astype(jnp.uint32), num_values.bit_length(), order)
    return order.astype(jnp.int32)


def _sort_digits(words, num_bits, order):
    place_bits = max(1, (len(order) - 1).bit_length())
    places = jnp.arange(len(order), dtype=jnp.uint32)
    digit_bits = 32 - place_bits
    for shift in range(0, num_bits, digit_bits):
        digit = (take(words, order) >> shift).astype(jnp.uint32) << place_bits
        packed = lax.sort(digit | places, is_stable=False)
        order = take(order, packed & np.uint32((1 << place_bits) - 1))
    return order


def inverse(order: jax.Array) -> jax.Array:
    """The ranks that belong to an order, (m,) int32."""
    places = jnp.arange(order.shape[0], dtype=jnp.int32)
    return jnp.zeros_like(places).at[order].set(
        places, unique_indices=True, mode="promise_in_bounds"
    )


def take(array: jax.Array, indices: jax.Array) -> jax.Array:
    """`array[indices]` without a test of the indices, which on CPU costs more than the reading."""
    return array.at[indices].get(mode="promise_in_bounds")


def pair_codes(num_points: int) -> jax.Array:
    """(m,) int32, i * n + j for each of the m = n (n - 1) / 2 pairs of points i != j, once.

    Pair p joins point i = p mod n with the one that follows it after p // n + 1 steps around the
    circle of points: an order that needs no table of indices.
    """
    pairs = jnp.arange(num_points * (num_points - 1) // 2, dtype=jnp.int32)
    first = pairs % num_points
    return first * num_points + (first + pairs // num_points + 1) % num_points


def pair_places(num_points: int) -> jax.Array:
    """(n, n) int32, the place of pair (i, j) among `pair_codes`; arbitrary on the diagonal."""
    i = jnp.arange(num_points, dtype=jnp.int32)
    steps = (i[None, :] - i[:, None]) % num_points  # from i on to j
    back = num_points - steps
    ahead = (steps < back) | ((steps == back) & (2 * i < num_points)[:, None])
    place = jnp.where(ahead, (steps - 1) * num_points + i[:, None],
                      (back - 1) * num_points + i[None, :])
    return jnp.where(steps == 0, 0, place)
