"""Small dense linear algebra that exports everywhere.

`jnp.linalg` calls LAPACK, which neither ONNX nor TFLite knows and which costs milliseconds per
small batched problem on CPU. One-sided Jacobi needs nothing but multiplications and a scan.
"""

import itertools

import jax
import jax.numpy as jnp

_NUM_SWEEPS = 10  # convergence is quadratic: fewer reach rounding

@jax.jit
def svd(a: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Thin singular value decomposition by one-sided Jacobi rotations.

    Meant for two to four columns: every pair of them is written out in the compiled code.

    Args:
      a: (..., m, k) float, k small.

    Returns:
      `u` (..., m, k), `s` (..., k) descending and `v` (..., k, k) with
      `a = (u * s[..., None, :]) @ v.T`. `v` is always orthogonal; columns of `u` that belong to a
      zero singular value are zero.

    Source: Hestenes (1958), "Inversion of matrices by biorthogonalization", J. SIAM 6;
    Golub & Van Loan (2013), Matrix Computations, section 8.6.3.
    """
    num_columns = a.shape[-1]
    peak = jnp.max(jnp.abs(a), axis=(-2, -1), keepdims=True)
    peak = jnp.where(peak > 0, peak, 1)  # squares of squares follow: keep them in range
    eye = jnp.broadcast_to(jnp.eye(num_columns, dtype=a.dtype), (*a.shape[:-2], *2 * [num_columns]))
    columns = jnp.concatenate([a / peak, eye], axis=-2)  # rotated alike: [u s; v]
    num_rows = a.shape[-2]

    def sweep(columns, _):
        c = list(jnp.unstack(columns, axis=-1))
        for i, j in itertools.combinations(range(num_columns), 2):
            ai, aj = c[i][..., :num_rows], c[j][..., :num_rows]
            difference = jnp.sum(aj * aj - ai * ai, axis=-1, keepdims=True)
            twice_dot = 2 * jnp.sum(ai * aj, axis=-1, keepdims=True)
            square = difference**2 + twice_dot**2
            rotates = square > 0
            root = jnp.sqrt(jnp.where(rotates, square, 1))
            sign = jnp.where(difference < 0, -1, 1)
            tan = jnp.where(rotates, twice_dot * sign / (jnp.abs(difference) + root), 0)
            cos = 1 / jnp.sqrt(1 + tan**2)
            c[i], c[j] = cos * (c[i] - tan * c[j]), cos * (c[j] + tan * c[i])
        return jnp.stack(c, axis=-1), None

    columns, _ = jax.lax.scan(sweep, columns, length=_NUM_SWEEPS)
    us, v = columns[..., :num_rows, :], columns[..., num_rows:, :]
    square = jnp.sum(us * us, axis=-2)
    order = jnp.argsort(-square, axis=-1)
    square = jnp.take_along_axis(square, order, axis=-1)
    us, v = (jnp.take_along_axis(x, order[..., None, :], axis=-1) for x in (us, v))
    s = jnp.sqrt(jnp.where(square > 0, square, 1))
    u = us / s[..., None, :]
    return u, jnp.where(square > 0, s, 0) * peak[..., 0], v
