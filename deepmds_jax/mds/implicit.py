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
        regular, change, solve=_conjugate_gradients, symmetric=True
    )


def _conjugate_gradients(product, right):
    tolerance = (100 * jnp.finfo(right.dtype).eps) ** 2 * jnp.sum(right**2)

    def iterates(state):
        _, _, _, square, curvature, count = state
        return (square > tolerance) & (curvature > 0) & (count < _MAX_ITERS)

    def iterate(state):
        x, residual, direction, old, _, count = state
        image = product(direction)
        curvature = jnp.sum(direction * image)
        length = jnp.where(curvature > 0, old / jnp.where(curvature > 0, curvature, 1), 0)
        x, residual = x + length * direction, residual - length * image
        new = jnp.sum(residual**2)
        return x, residual, residual + new / old * direction, new, curvature, count + 1

    square = jnp.sum(right**2)
    state = jnp.zeros_like(right), right, right, square, jnp.ones_like(square), jnp.int32(0)
    return lax.while_loop(iterates, iterate, state)[0]
