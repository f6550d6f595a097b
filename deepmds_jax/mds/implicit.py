"""How a configuration that minimises stress changes with what it depends on."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

_MAX_ITERS = 1000


def implicit_change(
    gradient: Callable[[jax.Array], jax.Array], embedding: jax.Array, change: jax.Array
) -> jax.Array:
    """-H^+ times the change of the gradient, where H is the Hessian at the embedding.

    Stress is blind to translation, rotation and scale, so H is singular along them. Those
    directions are given eigenvalues of their own; the gradient never has a part along them, so
    that the change comes out free of them, and so does what reverse mode sends back.

    Args:
      gradient: (n, k) -> (n, k), half the gradient of squared stress-1.
      embedding: (n, k) where it vanishes, centred and of norm 1.
      change: (n, k) of the gradient, for an embedding that stays.

    Returns:
      (n, k). Memory does not depend on the iterations of the solver or of the conjugate gradients
      here. Where H is singular beyond that (a minimum that is not isolated), a finite vector.

    Source: Griewank & Walther (2008), Evaluating Derivatives, chapter 15 (implicit functions);
    Blondel et al. (2022), "Efficient and modular implicit differentiation", NeurIPS 35.
    """
    _, hessian = jax.linearize(gradient, embedding)

    def regular(x):
        product = embedding.T @ x
        gauge = embedding @ (product - product.T) + embedding * jnp.trace(product)
        return hessian(x) + gauge + jnp.mean(x, axis=0, keepdims=True)

    return -lax.custom_linear_solve(
        regular, change, solve=conjugate_gradients, symmetric=True
    )


def conjugate_gradients(
    product: Callable[[jax.Array], jax.Array],
    right: jax.Array,
    diagonal: jax.Array | float = 1.0,
    max_iters: int = _MAX_ITERS,
) -> jax.Array:
    """x of a symmetric, positive product(x) = right, to 100 roundings of its norm.

    Args:
      product: (n, k) -> (n, k), linear.
      right: (n, k).
      diagonal: (n, k) positive, of the product or near it: the preconditioner.
      max_iters: most products.

    Returns:
      (n, k); where a direction of no curvature is met, what was found until then.
    """
    tolerance = (100 * jnp.finfo(right.dtype).eps) ** 2

    def iterates(state):
        _, _, _, square, curvature, count = state
        return (square > tolerance * start) & (curvature > 0) & (count < max_iters)

    def iterate(state):
        x, residual, direction, old, _, count = state
        image = product(direction)
        curvature = jnp.sum(direction * image)
        length = jnp.where(curvature > 0, old / jnp.where(curvature > 0, curvature, 1), 0)
        x, residual = x + length * direction, residual - length * image
        new = jnp.sum(residual**2 / diagonal)
        return x, residual, residual / diagonal + new / old * direction, new, curvature, count + 1

    start = jnp.sum(right**2 / diagonal)
    state = (jnp.zeros_like(right), right, right / diagonal, start, jnp.ones_like(start),
             jnp.int32(0))
    return lax.while_loop(iterates, iterate, state)[0]
