"""The few leading eigenpairs of a symmetric matrix, by matrix products and rotations alone."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_OVERSAMPLING = 2  # columns beside the wanted ones, which then converge faster
_MAX_ITERS = 500


def leading_eigenpairs(matrix: jax.Array, num_pairs: int) -> tuple[jax.Array, jax.Array]:
    """Algebraically largest eigenvalues and their eigenvectors, by subspace iteration.

    Every iteration multiplies a block of columns by the shifted matrix and makes the columns
    orthogonal again by Jacobi rotations, which also turn them toward single eigenvectors.

    Args:
      matrix: (n, n) symmetric float, with entries near 1 (its fourth powers are taken).
      num_pairs: k, from 1 to n.

    Returns:
      (k,) eigenvalues, descending, and (n, k) eigenvectors; zeros may stand for pairs that are not
      positive. The residual is a few roundings of the matrix norm, or larger where close
      eigenvalues make 500 iterations too few.

    Source: Rutishauser (1970), "Simultaneous iteration method for symmetric matrices", Numerische
    Mathematik 16; Golub & Van Loan (2013), Matrix Computations, section 8.6.3 (the rotations).
    """
    square_norm = jnp.sum(matrix**2)
    tolerance = 32 * jnp.finfo(matrix.dtype).eps * jnp.sqrt(square_norm)

    def step(state):
        columns, *_, num_iters = state
        image = jnp.matmul(matrix, columns, precision=lax.Precision.HIGHEST)
        quotients = jnp.sum(columns * image, axis=0)
        leading = jnp.argsort(-quotients)[:num_pairs]
        values, vectors = quotients[leading], columns[:, leading]
        residual = jnp.sqrt(jnp.sum((image[:, leading] - values[None, :] * vectors) ** 2))
        # The positive Rayleigh quotients bound as many eigenvalues from below. What they leave of
        # the norm bounds the negative eigenvalues: shifted by it, none of those can win. The floor
        # keeps the columns independent where there are more of them than the rank.
        rest = square_norm - jnp.sum(jnp.maximum(quotients, 0) ** 2)
        shift = jnp.sqrt(jnp.maximum(rest, 1e-6 * square_norm))
        return _orthonormalize(image + shift * columns), values, vectors, residual, num_iters + 1

    def iterates(state):
        *_, residual, num_iters = state
        return (residual > tolerance) & (num_iters < _MAX_ITERS)

    start = jnp.asarray(_start_block(matrix.shape[0], num_pairs), matrix.dtype)
    state = step((start, None, None, None, 0))
    _, values, vectors, *_ = lax.while_loop(iterates, step, state)
    return values, vectors


def _start_block(size: int, num_pairs: int) -> np.ndarray:
    """Fixed random orthonormal columns, then columns of zeros up to an even number."""
    num_columns = min(size, num_pairs + _OVERSAMPLING)
    columns, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((size, num_columns)))
    return np.pad(columns, ((0, 0), (0, num_columns % 2)))


def _orthonormalize(columns: jax.Array) -> jax.Array:
    """Sweeps of rotations, until one met only pairs that were nearly orthogonal already."""
    half = columns.shape[1] // 2

    def sweep(state):
        pairs, cosines = lax.scan(_rotate_pairs, state[0], length=2 * half - 1)
        return pairs, jnp.max(cosines)

    state = sweep(((columns[:, :half], columns[:, half:]), None))
    pairs, _ = lax.while_loop(lambda state: state[1] > 0.5, sweep, state)
    columns = jnp.concatenate(pairs, axis=1)
    square = jnp.sum(columns**2, axis=0)
    return columns / jnp.sqrt(jnp.where(square > 0, square, 1))[None, :]


def _rotate_pairs(pairs, _):
    """Makes each column of `a` orthogonal to its neighbour in `b`, then deals out new pairs.

    The pairs are those of a round-robin tournament: one column keeps its seat, the others move on
    by one, and after 2 half - 1 rounds all have met.
    """
    a, b = pairs
    square_a, square_b, dot = (jnp.sum(x * y, axis=0) for x, y in ((a, a), (b, b), (a, b)))
    difference = square_b - square_a
    denominator = jnp.abs(difference) + jnp.sqrt(difference**2 + 4 * dot**2)
    rotates = denominator > 0
    tan = 2 * dot * jnp.where(difference < 0, -1, 1) / jnp.where(rotates, denominator, 1)
    cos = 1 / jnp.sqrt(1 + tan**2)
    a, b = cos * (a - tan * b), cos * (b + tan * a)
    movers = jnp.concatenate([b[:, :1], a[:, 1:]], axis=1)
    dealt = (
        jnp.concatenate([a[:, :1], movers[:, :-1]], axis=1),
        jnp.concatenate([b[:, 1:], movers[:, -1:]], axis=1),
    )
    apart = square_a * square_b > 0
    return dealt, jnp.abs(dot) / jnp.sqrt(jnp.where(apart, square_a * square_b, 1))
