"""A few leading eigenpairs of a symmetric matrix, by matrix products and rotations only."""

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import loops
from deepmds_jax.geometry.linalg import jacobi_sweep
from deepmds_jax.mds.measures import symmetric_product

_NUM_POWERS = 3  # power iterations on the random block before the first orthogonalization
_MAX_ITERS = 500
_RESOLUTION = 0.1  # residual relative to the smallest eigenvalue


def leading_eigenpairs(
    matrix: jax.Array, num_pairs: int, tolerance: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """The algebraically largest eigenvalues and their eigenvectors, by subspace iteration.

    Each iteration multiplies a block of columns by the shifted matrix and orthogonalizes the
    columns by Jacobi rotations, which also turn them toward individual eigenvectors.

    Args:
      matrix: (n, n) symmetric float, with entries near 1 (its fourth powers are taken).
      num_pairs: k, from 1 to n.
      tolerance: stop at a residual this small, relative to the norm of the matrix; up to 100 times
        smaller where the last of the eigenvalues is small; a few rounding units at least.

    Returns:
      (k,) eigenvalues, descending, and (n, k) eigenvectors; pairs whose eigenvalue is not positive
      may be zeros. The residual meets the tolerance, unless eigenvalues are so close that 500
      iterations are too few.

    Source: Rutishauser (1970), "Simultaneous iteration method for symmetric matrices", Numerische
    Mathematik 16; Golub & Van Loan (2013), Matrix Computations, section 8.6.3 (the rotations).
    """
    square_norm = jnp.sum(matrix**2)
    rounding = 32 * float(jnp.finfo(matrix.dtype).eps)
    max_residual = max(tolerance, rounding) * jnp.sqrt(square_norm)
    min_residual = max(tolerance / 100, rounding) * jnp.sqrt(square_norm)

    def step(state):
        block, *_, num_iters = state
        columns = _orthonormalize(block)
        image = symmetric_product(matrix, columns)
        quotients = jnp.sum(columns * image, axis=0)
        is_padding = jnp.sum(jnp.abs(columns), axis=0) == 0
        leading = jnp.argsort(jnp.where(is_padding, jnp.inf, -quotients))[:num_pairs]
        values, vectors = quotients[leading], columns[:, leading]
        residual = jnp.sqrt(jnp.sum((image[:, leading] - values[None, :] * vectors) ** 2))
        # The positive Rayleigh quotients are lower bounds of as many eigenvalues. The rest of the
        # squared norm bounds the negative eigenvalues: after this shift none of them dominates. The
        # lower limit keeps the columns independent if there are more of them than the rank.
        remainder = square_norm - jnp.sum(jnp.maximum(quotients, 0) ** 2)
        shift = jnp.sqrt(jnp.maximum(remainder, 1e-6 * square_norm))
        return image + shift * columns, values, vectors, residual, num_iters + 1

    def keeps_going(state):
        _, values, _, residual, num_iters = state
        # Else an axis of little weight would be mere chance.
        limit = jnp.clip(_RESOLUTION * values[-1], min_residual, max_residual)
        return (num_iters == 0) | (residual > limit) & (num_iters < _MAX_ITERS)

    block = jnp.asarray(_start_block(matrix.shape[0], num_pairs), matrix.dtype)
    for _ in range(_NUM_POWERS):
        block = symmetric_product(matrix, block)
        block = block / jnp.maximum(jnp.max(jnp.abs(block)), jnp.finfo(block.dtype).tiny)
    empty = jnp.zeros((matrix.shape[0], num_pairs), matrix.dtype)
    state = block, empty[0], empty, jnp.zeros_like(square_norm), 0
    _, values, vectors, *_ = loops.while_loop(keeps_going, step, state)
    return values, vectors


def _start_block(size: int, num_pairs: int) -> np.ndarray:
    """(n, columns) fixed random orthonormal columns.

    There are one or two more than `num_pairs`, which then converge faster, to make an even number;
    if the matrix is too small for that, the last is a column of zeros.
    """
    num_columns = min(size, num_pairs + 2 - num_pairs % 2)
    columns, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((size, num_columns)))
    return np.pad(columns, ((0, 0), (0, num_columns % 2)))


def _orthonormalize(columns: jax.Array) -> jax.Array:
    """Jacobi sweeps until all columns were nearly orthogonal before the last one."""
    state = columns, jnp.asarray(1, columns.dtype)
    columns, _ = loops.while_loop(
        lambda state: state[1] > 0.5, lambda state: jacobi_sweep(state[0]), state
    )
    square = jnp.sum(columns**2, axis=0)
    return columns / jnp.sqrt(jnp.where(square > 0, square, 1))[None, :]
