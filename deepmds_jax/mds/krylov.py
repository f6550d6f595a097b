"""Conjugate gradients, for every symmetric linear system of this package."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from deepmds_jax import loops
from deepmds_jax.mds.measures import power_of_two


def conjugate_gradients(
    product: Callable[[jax.Array], jax.Array],
    rhs: jax.Array,
    diagonal: jax.Array | float = 1.0,
    start: jax.Array | None = None,
    *,
    max_iters: int | jax.Array,
    tolerance: float | None = None,
) -> jax.Array:
    """Solves product(x) = rhs for a symmetric positive (semi-)definite product.

    Args:
      product: (...) -> (...), linear.
      rhs: (...), in the range of the product; with a start, the residual there.
      diagonal: positive, broadcasts against (...): the diagonal of the product or something close
        to it, for Jacobi preconditioning.
      start: (...) to which the iterations add; 0 by default.
      max_iters: maximum number of products.
      tolerance: stop once the preconditioned norm of the residual is this small relative to that
        of `rhs`; by default 100 times the rounding unit of the dtype.

    Returns:
      (...). If a direction without positive curvature turns up, the iterate before it.
    """
    if tolerance is None:
        tolerance = 100 * float(jnp.finfo(rhs.dtype).eps)
    threshold = tolerance**2

    def keeps_going(state):
        _, _, _, square, curvature, num_iters = state
        return (square > threshold * rhs_square) & (curvature > 0) & (num_iters < max_iters)

    def iterate(state):
        x, residual, direction, square, _, num_iters = state
        image = product(direction)
        curvature = jnp.sum(direction * image)
        length = jnp.where(curvature > 0, square / jnp.where(curvature > 0, curvature, 1), 0)
        x, residual = x + length * direction, residual - length * image
        new_square = jnp.sum(residual**2 / diagonal)
        direction = residual / diagonal + new_square / square * direction
        return x, residual, direction, new_square, curvature, num_iters + 1

    rhs_square = jnp.sum(rhs**2 / diagonal)
    start = jnp.zeros_like(rhs) if start is None else start
    state = start, rhs, rhs / diagonal, rhs_square, jnp.ones_like(rhs_square), jnp.int32(0)
    return loops.while_loop(keeps_going, iterate, state)[0]


def solve_in_unit(
    product: Callable[[jax.Array], jax.Array], rhs: jax.Array, **options: Any
) -> jax.Array:
    """`conjugate_gradients` of any size: squares of derivatives would leave the dtype's range."""
    unit = power_of_two(jnp.max(jnp.abs(rhs)))
    return unit * conjugate_gradients(product, rhs / unit, **options)
