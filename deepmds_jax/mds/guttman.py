"""The Guttman transform: the least point of the quadratic that majorizes raw stress.

V is the Laplacian matrix of the weights: V x = (sum over j of w_ij (x_i - x_j)) for every i.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

_MAX_ITERS = 200  # of conjugate gradients, of which every iterate lowers the majorizer
_CLOSE = 1e-6  # distance below which the pull of a negative disparity grows no more


class Laplacian(NamedTuple):
    """V of symmetric (n, n) weights with a zero diagonal.

    Attributes:
      weights: (n, n).
      degrees: (n,) the sums of their rows.
      is_constant: whether all weights off the diagonal are equal; then V^+ is a number.
    """

    weights: jax.Array
    degrees: jax.Array
    is_constant: jax.Array

    @classmethod
    def of(cls, weights: jax.Array) -> "Laplacian":
        """V of these weights."""
        same = (weights == weights[0, -1]) | jnp.eye(*weights.shape, dtype=bool)
        return cls(weights, jnp.sum(weights, axis=1), jnp.all(same))


def product(weights: jax.Array, points: jax.Array) -> jax.Array:
    """V times (n, k) points."""
    columns = jnp.concatenate([points, jnp.ones_like(points[:, :1])], axis=1)
    image = jnp.matmul(weights, columns, precision=lax.Precision.HIGHEST)
    return image[:, -1:] * points - image[:, :-1]


def solve(laplacian: Laplacian, right: jax.Array) -> jax.Array:
    """V^+ times (n, k), by conjugate gradients unless V^+ is a number; centred up to rounding."""
    tolerance = float(jnp.finfo(right.dtype).eps) ** 0.75
    weights, degrees, is_constant = laplacian
    degrees = degrees[:, None]

    def iterates(state):
        _, _, _, old, first, count = state
        return ~is_constant & (old > tolerance**2 * first) & (count < _MAX_ITERS)

    def iterate(state):
        x, residual, direction, old, first, count = state
        image = degrees * direction - jnp.matmul(
            weights, direction, precision=lax.Precision.HIGHEST
        )
        length = old / jnp.sum(direction * image)
        x, residual = x + length * direction, residual - length * image
        new = jnp.sum(residual**2 / degrees)
        direction = residual / degrees + new / old * direction
        return x, residual, direction, new, first, count + 1

    num_points = right.shape[0]
    guess = (num_points - 1) / num_points * right / degrees
    square = jnp.sum(right**2 / degrees)
    start = jnp.where(is_constant, guess, 0), right, right / degrees, square, square, jnp.int32(0)
    x, *_ = lax.while_loop(iterates, iterate, start)
    return x - jnp.where(is_constant, 0, jnp.mean(x, axis=0, keepdims=True))


def guttman_step(
    embedding: jax.Array, distances: jax.Array, disparities: jax.Array, laplacian: Laplacian,
    *, may_be_negative: bool = False,
) -> jax.Array:
    """The change V^+ (B(X) - V) X that minimises the majorizer of raw stress at X.

    B(X) is the Laplacian matrix of w_ij dhat_ij / d_ij. A negative disparity (of the interval
    transform) has its place in V instead, where it pulls its pair together.

    Args:
      embedding: X, (n, k), centred.
      distances: (n, n), those of X; coincident points count as B = 0.
      disparities: (n, n).
      laplacian: V.
      may_be_negative: whether there may be negative disparities.

    Returns:
      (n, k).

    Source: Guttman (1968), "A general nonmetric technique for finding the smallest coordinate
    space for a configuration of points", Psychometrika 33; Borg & Groenen (2005), section 8.6;
    Heiser (1991), "A generalized majorization method for least squares multidimensional scaling of
    pseudodistances that may be negative", Psychometrika 56.
    """
    weights, ratios = laplacian.weights, ratio(disparities, distances)
    pull = -product(weights * (1 - ratios), embedding)
    if may_be_negative:
        laplacian = Laplacian.of(weights * (1 + jnp.maximum(-ratios, 0)))
    return solve(laplacian, pull)


def ratio(disparities: jax.Array, distances: jax.Array) -> jax.Array:
    """Disparities over distances (of a configuration of norm 1), 0 where points coincide."""
    apart = distances > 0
    distances = jnp.where(disparities < 0, jnp.maximum(distances, _CLOSE), distances)
    return jnp.where(apart, disparities / jnp.where(apart, distances, 1), 0)
