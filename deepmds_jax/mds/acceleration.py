"""Anderson acceleration of a fixed-point iteration, with a window of orthogonal directions.

The iteration follows a fixed-point map x -> x + f(x) along points x_0, x_1, ... If f were linear,
the change of f along a past step would predict how much of f another step in that direction
removes. The *window* keeps the last few changes of f, each made orthonormal to the others (so that
there is no least-squares problem to solve), together with the matching changes of x + f(x).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

_WINDOW_SIZE = 3  # more hardly help: for a symmetric Jacobian they would be orthogonal anyway


class Window(NamedTuple):
    """Directions, latest first; unused ones are zero.

    Attributes:
      residuals: (size, ...) orthonormal changes of f.
      images: (size, ...) the matching changes of x + f(x).
      is_empty: () whether there are none.
    """

    residuals: jax.Array
    images: jax.Array
    is_empty: jax.Array


def empty_window(point: jax.Array) -> Window:
    """A window without directions, for points of this shape and dtype."""
    zeros = jnp.zeros((_WINDOW_SIZE, *point.shape), point.dtype)
    return Window(zeros, zeros, jnp.asarray(True))


def extend(window: Window, change: jax.Array, residual_change: jax.Array) -> Window:
    """Adds the direction of one step, or empties the window if its curvature is not positive.

    Args:
      window: so far.
      change: (...) of x along the step.
      residual_change: (...) of f along the step. If f is minus a preconditioned gradient, its
        product with `change` is negative unless the objective curves downward there; a root of f
        would then be a saddle point.

    Returns:
      The new window.
    """
    coefficients = _products(window.residuals, residual_change)
    residual = residual_change - _combine(coefficients, window.residuals)
    image = change + residual_change - _combine(coefficients, window.images)
    square = jnp.sum(residual**2)
    keeps = (jnp.sum(change * residual_change) < 0) & (square > 0)
    scale = lax.rsqrt(jnp.where(keeps, square, 1))

    def push(new, old):
        return jnp.where(keeps, jnp.concatenate([scale * new[None], old[:-1]]), 0)

    return Window(push(residual, window.residuals), push(image, window.images), ~keeps)


def extrapolate(window: Window, image: jax.Array, residual: jax.Array) -> jax.Array:
    """The next point, from the image x + f(x) and the residual f(x) of the last one.

    Source: Anderson (1965), "Iterative procedures for nonlinear integral equations", J. ACM 12;
    with orthogonal directions as in He, Tang, Zhao, Saad & Xi (2024), "NLTGCR: a class of nonlinear
    acceleration procedures based on conjugate residuals", SIAM J. Matrix Anal. Appl. 45.
    """
    return image - _combine(_products(window.residuals, residual), window.images)


def _products(directions, vector):
    return jnp.sum(directions * vector[None], axis=tuple(range(1, directions.ndim)))


def _combine(coefficients, directions):
    shape = (-1,) + (1,) * (directions.ndim - 1)
    return jnp.sum(coefficients.reshape(shape) * directions, axis=0)
