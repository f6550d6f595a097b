"""Small dense linear algebra that can be exported everywhere.

`jnp.linalg` calls LAPACK, which neither ONNX nor TFLite supports and which takes milliseconds per
small batched problem on CPU. One-sided Jacobi needs only multiplications and a scan: it rotates two
columns in their plane until they are orthogonal, and sweeps repeatedly over all pairs of columns.
"""

import itertools

import jax
import jax.numpy as jnp

from deepmds_jax import loops

_MAX_UNROLLED_COLUMNS = 4  # up to this, writing out all pairs gives faster code


@jax.jit
def svd(a: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Thin singular value decomposition by one-sided Jacobi rotations.

    Args:
      a: (..., m, k) float. Meant for few columns: the cost grows as (m + k) k^2.

    Returns:
      `u` (..., m, k), `s` (..., k) in descending order and `v` (..., k, k), with
      `a = (u * s[..., None, :]) @ v.mT`. `v` is always orthogonal; the columns of `u` for zero
      singular values are zero.

    Source: Hestenes (1958), "Inversion of matrices by biorthogonalization", J. SIAM 6;
    Golub & Van Loan (2013), Matrix Computations, section 8.6.3.
    """
    peak = jnp.max(jnp.abs(a), axis=(-2, -1), keepdims=True)
    peak = jnp.where(peak > 0, peak, 1)  # keeps fourth powers in range
    # Convergence is finally quadratic: even graded matrices reach rounding in fewer sweeps.
    num_columns = a.shape[-1]
    num_sweeps = 2 + 3 * (num_columns - 1).bit_length()
    num_sweeps += num_columns > _MAX_UNROLLED_COLUMNS  # many equal zeros shrink by 50 a sweep
    us, v = orthogonalize(a / peak, num_sweeps)
    square = jnp.sum(us * us, axis=-2)
    order = jnp.argsort(-square, axis=-1)
    square = jnp.take_along_axis(square, order, axis=-1)
    us, v = (jnp.take_along_axis(x, order[..., None, :], axis=-1) for x in (us, v))
    s = jnp.sqrt(jnp.where(square > 0, square, 1))
    u = us / s[..., None, :]
    return u, jnp.where(square > 0, s, 0) * peak[..., 0], v


def orthogonalize(a: jax.Array, num_sweeps: int) -> tuple[jax.Array, jax.Array]:
    """Rotates columns until they are orthogonal, or nearly so after few sweeps.

    Args:
      a: (..., m, k) float, with entries near 1 (their fourth powers are taken).
      num_sweeps: how often each pair of columns is rotated.

    Returns:
      `a @ v` (..., m, k), in no order, and the rotation `v` (..., k, k).
    """
    num_rows, num_columns = a.shape[-2:]
    eye = jnp.broadcast_to(jnp.eye(num_columns, dtype=a.dtype), (*a.shape[:-2], *2 * [num_columns]))
    columns = jnp.concatenate([a, eye], axis=-2)  # both are rotated
    if num_columns <= _MAX_UNROLLED_COLUMNS:
        sweep = _sweep_unrolled
    else:
        sweep = jacobi_sweep
        padding = [(0, 0)] * (columns.ndim - 1) + [(0, num_columns % 2)]
        columns = jnp.pad(columns, padding)
    columns, _ = loops.scan(lambda c, _: sweep(c, num_rows), columns, length=num_sweeps)
    columns = columns[..., :num_columns]
    return columns[..., :num_rows, :], columns[..., num_rows:, :]


def jacobi_sweep(columns: jax.Array, num_rows: int | None = None) -> tuple[jax.Array, jax.Array]:
    """Orthogonalizes every pair of columns once, half of the columns against the other half.

    The order is that of a round-robin tournament: one column keeps its seat, the others move on
    by one, and after 2 half - 1 rounds all pairs have met and every column is back in its seat.

    Args:
      columns: (..., m, 2 half) float, with entries near 1 (their fourth powers are taken). A
        column of zeros, to make the number even, stays zero.
      num_rows: number of leading rows that count in the scalar products; all by default.

    Returns:
      (..., m, 2 half) columns, and () the largest |cosine| between two columns before they were
      made orthogonal.
    """
    half = columns.shape[-1] // 2

    def play_round(pairs, _):
        a, b = pairs
        square_a, square_b, dot = (
            jnp.sum(x[..., :num_rows, :] * y[..., :num_rows, :], axis=-2, keepdims=True)
            for x, y in ((a, a), (b, b), (a, b))
        )
        a, b = _rotate(a, b, square_b - square_a, dot)
        movers = jnp.concatenate([b[..., :1], a[..., 1:]], axis=-1)
        a = jnp.concatenate([a[..., :1], movers[..., :-1]], axis=-1)
        b = jnp.concatenate([b[..., 1:], movers[..., -1:]], axis=-1)
        apart = square_a * square_b > 0
        return (a, b), jnp.max(jnp.abs(dot) / jnp.sqrt(jnp.where(apart, square_a * square_b, 1)))

    pairs = columns[..., :half], columns[..., half:]
    pairs, cosines = loops.scan(play_round, pairs, length=2 * half - 1)
    return jnp.concatenate(pairs, axis=-1), jnp.max(cosines)


def _sweep_unrolled(columns: jax.Array, num_rows: int) -> tuple[jax.Array, None]:
    """`jacobi_sweep`, one pair after the other and without the cosine."""
    c = list(jnp.unstack(columns, axis=-1))
    for i, j in itertools.combinations(range(len(c)), 2):
        a, b = c[i][..., :num_rows], c[j][..., :num_rows]
        difference = jnp.sum(b * b - a * a, axis=-1, keepdims=True)
        c[i], c[j] = _rotate(c[i], c[j], difference, jnp.sum(a * b, axis=-1, keepdims=True))
    return jnp.stack(c, axis=-1), None


def _rotate(
    a: jax.Array, b: jax.Array, difference: jax.Array, dot: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Makes two columns orthogonal by a rotation of at most 45 degrees.

    Args:
      a: (..., m, columns).
      b: (..., m, columns).
      difference: |b|^2 - |a|^2.
      dot: their scalar product.

    Returns:
      The rotated a and b.
    """
    square = difference**2 + 4 * dot**2
    rotates = square > 0
    root = jnp.sqrt(jnp.where(rotates, square, 1))
    sign = jnp.where(difference < 0, -1, 1)
    tan = jnp.where(rotates, 2 * dot * sign / (jnp.abs(difference) + root), 0)
    cos = 1 / jnp.sqrt(1 + tan**2)
    return cos * (a - tan * b), cos * (b + tan * a)
