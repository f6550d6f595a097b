"""Implicit differentiation: how the configuration of least stress moves with its inputs."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from deepmds_jax.mds.krylov import solve_in_unit

_MAX_ITERS = 1000


def implicit_change(
    gradient: Callable[[jax.Array], jax.Array], embedding: jax.Array, change: jax.Array,
    *, ignores_size: bool = True,
) -> jax.Array:
    """-H^+ times the change of the gradient, where H is the Hessian at the embedding.

    Stress does not change under translation, rotation and scaling, so H is singular along these
    directions. Here they get nonzero eigenvalues. The gradient never has a component along them,
    so neither the result nor what reverse mode sends back does. A loss in the unit of the
    dissimilarities does change under scaling.

    Args:
      gradient: (n, k) -> (n, k), half the gradient of squared stress-1 or of another loss.
      embedding: (n, k) where the gradient vanishes, centred and of norm 1 or so.
      change: (n, k) of the gradient, at a fixed embedding.
      ignores_size: whether the loss does not change under scaling.

    Returns:
      (n, k). Memory does not grow with the iterations of the solver or of the conjugate gradients
      here. Where H has further zero eigenvalues (the minimum is not isolated), a finite vector.

    Source: Griewank & Walther (2008), Evaluating Derivatives, chapter 15 (implicit functions);
    Blondel et al. (2022), "Efficient and modular implicit differentiation", NeurIPS 35.
    """
    _, hessian = jax.linearize(gradient, embedding)
    matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)

    def regularized_hessian(x):
        product = matmul(embedding.T, x)
        gauge = matmul(embedding, product - product.T)
        if ignores_size:
            gauge = gauge + embedding * jnp.trace(product)
        return hessian(x) + gauge + jnp.mean(x, axis=0, keepdims=True)

    return -lax.custom_linear_solve(
        regularized_hessian, change, symmetric=True,
        solve=partial(solve_in_unit, max_iters=_MAX_ITERS),
    )
