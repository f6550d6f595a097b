"""The few leading eigenpairs of a symmetric matrix, by matrix products and rotations alone."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deepmds_jax.geometry.linalg import jacobi_sweep

_POWERS = 3  # of the matrix, that a random block is multiplied by to begin with
_MAX_ITERS = 500


def leading_eigenpairs(
    matrix: jax.Array, num_pairs: int, tolerance: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Algebraically largest eigenvalues and their eigenvectors, by subspace iteration.

    Every iteration multiplies a block of columns by the shifted matrix and makes the columns
    orthogonal again by Jacobi rotations, which also turn them toward single eigenvectors.

    Args:
      matrix: (n, n) symmetric float, with entries near 1 (its fourth powers are taken).
      num_pairs: k, from 1 to n.
      tolerance: residual that is small enough, relative to the norm of the matrix; at least a few
        roundings.

    Returns:
      (k,) eigenvalues, descending, and (n, k) eigenvectors; zeros may stand for pairs that are not
      positive. The residual meets the tolerance, unless close eigenvalues make 500 iterations
      too few.

    Source: Rutishauser (1970), "Simultaneous iteration method for symmetric matrices", Numerische
    Mathematik 16; Golub & Van Loan (2013), Matrix Computations, section 8.6.3 (the rotations).
    """
    square_norm = jnp.sum(matrix**2)
    tolerance = max(tolerance, 32 * float(jnp.finfo(matrix.dtype).eps)) * jnp.sqrt(square_norm)

    def step(state):
        block, *_, num_iters = state
        columns = _orthonormalize(block)
        image = jnp.matmul(matrix, columns, precision=lax.Precision.HIGHEST)
        quotients = jnp.sum(columns * image, axis=0)
        is_padding = jnp.sum(jnp.abs(columns), axis=0) == 0
        leading = jnp.argsort(jnp.where(is_padding, jnp.inf, -quotients))[:num_pairs]
        values, vectors = quotients[leading], columns[:, leading]
        residual = jnp.sqrt(jnp.sum((image[:, leading] - values[None, :] * vectors) ** 2))
        # The positive Rayleigh quotients bound as many eigenvalues from below. What they leave of
        # the norm bounds the negative eigenvalues: shifted by it, none of those can win. The floor
        # keeps the columns independent where there are more of them than the rank.
        rest = square_norm - jnp.sum(jnp.maximum(quotients, 0) ** 2)
        shift = jnp.sqrt(jnp.maximum(rest, 1e-6 * square_norm))
        return image + shift * columns, values, vectors, residual, num_iters + 1

    def iterates(state):
        *_, residual, num_iters = state
        return (residual > tolerance) & (num_iters < _MAX_ITERS)

    block = jnp.asarray(_start_block(matrix.shape[0], num_pairs), matrix.dtype)
    for _ in range(_POWERS):
        block = jnp.matmul(matrix, block, precision=lax.Precision.HIGHEST)
        block = block / jnp.maximum(jnp.max(jnp.abs(block)), jnp.finfo(block.dtype).tiny)
    state = step((block, None, None, None, 0))
    _, values, vectors, *_ = lax.while_loop(iterates, step, state)
    return values, vectors


def _start_block(size: int, num_pairs: int) -> np.ndarray:
    """Fixed random orthonormal columns: one or two beside the wanted ones, which then converge
    faster, and an even number; a column of zeros where the matrix is too small for that.
    """
    num_columns = min(size, num_pairs + 2 - num_pairs % 2)
    columns, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((size, num_columns)))
    return np.pad(columns, ((0, 0), (0, num_columns % 2)))


def _orthonormalize(columns: jax.Array) -> jax.Array:
    """Jacobi sweeps, until one met only columns that were nearly orthogonal already."""
    columns, _ = lax.while_loop(
        lambda state: state[1] > 0.5, lambda state: jacobi_sweep(state[0]), jacobi_sweep(columns)
    )
    square = jnp.sum(columns**2, axis=0)
    return columns / jnp.sqrt(jnp.where(square > 0, square, 1))[None, :]
