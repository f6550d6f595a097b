"""The additive constant that makes dissimilarities Euclidean distances."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from deepmds_jax import loops
from deepmds_jax.geometry.linalg import svd
from deepmds_jax.mds.inputs import (
    check_if_single,
    check_shapes,
    float_dtype,
    is_valid,
    symmetrize,
)
from deepmds_jax.mds.measures import in_units
from deepmds_jax.mds.torgerson import double_centre

_MAX_ITERS = 1000


def additive_constant(dissimilarities: ArrayLike) -> jax.Array:
    """The smallest c >= 0 for which the dissimilarities plus c are Euclidean distances.

    c is added to all pairs, not to the diagonal. With it, or with any greater constant, classical
    scaling has no negative eigenvalues. Has forward and reverse first derivatives.

    Args:
      dissimilarities: (..., n, n) float, symmetric and not negative up to rounding, as for
        `smacof`; the diagonal is ignored, and integers become the default float.

    Returns:
      (...) in the unit and dtype of the dissimilarities: 0 up to rounding for Euclidean distances.
      Never above the true constant, except by rounding. NaN for a problem with a value that is not
      finite, and in a batch or inside jit also for one that is negative, asymmetric or all zero.

    Raises:
      ValueError: wrong shapes; outside jit also a single problem that is negative, asymmetric or
        all zero.

    Source: Cailliez (1983), "The analytical solution of the additive constant problem",
    Psychometrika 48; Borg & Groenen (2005), Modern Multidimensional Scaling, chapter 19. Cailliez
    uses an eigenvalue of an asymmetric 2n x 2n matrix. This function computes the same number from
    products of symmetric n x n matrices, by the iteration of Knyazev (2001), "Toward the optimal
    preconditioned eigensolver", SIAM J. Scientific Computing 23.
    """
    array, _ = check_shapes(dissimilarities, None, 1)
    constant, valid = _additive_constant(array)
    check_if_single(valid, array)
    return constant.astype(float_dtype(dissimilarities))


@jax.jit
@partial(jnp.vectorize, signature="(n,n)->(),()")
@jax.default_matmul_precision("highest")
def _additive_constant(dissimilarities):
    # The scalar products of D + c are B(c) = B0 + c B1 + c^2 J / 2, with J the centring matrix. No
    # eigenvalue of B(c) may be negative, so every centred vector x requires a c of at least the
    # larger root of x'B(c)x. While the c of the current x is too small, B(c) has an eigenvector of
    # lower eigenvalue, and x moves toward it. The answer is the maximum over x, so its derivative
    # with respect to x is zero.
    d = symmetrize(dissimilarities)
    largest = lax.stop_gradient(jnp.max(d))
    scale = jnp.where(largest > 0, largest, 1)
    d = in_units(d, scale)
    b0, b1 = double_centre(d**2) / -2, -double_centre(d)
    x = _extremal_vector(lax.stop_gradient(b0), lax.stop_gradient(b1))
    c = scale * _required_constant(b0, b1, lax.stop_gradient(x))
    valid = is_valid(dissimilarities)
    return jnp.where(valid & jnp.isfinite(largest), c, jnp.nan), valid


def _extremal_vector(b0, b1):
    """(n,) centred unit vector that requires the largest constant, for (n, n) b0 and b1."""
    n, dtype = b0.shape[0], b0.dtype
    norms = [jnp.sqrt(jnp.sum(b**2)) for b in (b0, b1)]
    tolerance = 0.03 * jnp.sqrt(jnp.finfo(dtype).eps)  # of x; the error of c is its square

    def step(state):
        # The best x in the span of x, its residual and its last change, as in conjugate gradients.
        x, change, c, _, num_iters = state

        def apply(s):
            return b0 @ s + c * (b1 @ s) + c**2 / 2 * s

        residual = apply(x)
        residual = residual - (x @ residual) * x
        basis = _orthonormalize([x, residual, change])
        projected = basis.T @ apply(basis)
        bound = jnp.sqrt(jnp.sum(projected**2))
        exists = jnp.sum(basis**2, axis=0)
        _, _, v = svd(bound * jnp.diag(exists) - (projected + projected.T) / 2)
        moved = basis[:, 1:] @ v[1:, 0]
        x = _unit(x * v[0, 0] + moved)
        c = jnp.maximum(c, _required_constant(b0, b1, x))
        error = jnp.sqrt(jnp.sum(residual**2)) / (norms[0] + c * norms[1] + c**2 / 2)
        return x, moved, c, error, num_iters + 1

    def keeps_going(state):
        *_, error, num_iters = state
        return (error > tolerance) & (num_iters < _MAX_ITERS)

    starts = jnp.asarray(np.random.default_rng(0).standard_normal((2, n)), dtype)
    state = _unit(starts[0]), starts[1], jnp.zeros((), dtype), jnp.inf, 0
    return loops.while_loop(keeps_going, step, state)[0]


def _required_constant(b0, b1, x):
    """() the larger root c >= 0 of x'B(c)x for a centred (n,) unit vector x; 0 if there is none."""
    constant, slope = (jnp.sum(x * (b @ x)) for b in (b0, b1))
    has_root = constant < 0
    root = jnp.sqrt(slope**2 - 2 * jnp.where(has_root, constant, -1))
    # Two formulas for the larger root; each avoids cancellation for one sign of the slope.
    rising = slope > 0
    larger = jnp.where(rising, -2 * constant / jnp.where(rising, slope + root, 1), root - slope)
    return jnp.where(has_root, larger, 0)


def _orthonormalize(vectors):
    """(n, 3) centred columns by Gram-Schmidt of three (n,) vectors; zero if dependent."""
    columns = []
    for vector in vectors:
        for _ in range(2):  # the second pass removes the rounding errors of the first
            vector = _unit(vector)
            for column in columns:
                vector = vector - (column @ vector) * column
        columns.append(jnp.where(jnp.sum(vector**2) > 0.5, _unit(vector), 0))
    return jnp.stack(columns, axis=1)


def _unit(vector):
    """The centred (n,) vector, scaled to norm 1 unless it is zero."""
    vector = vector - jnp.mean(vector)
    square = jnp.sum(vector**2)
    return vector / jnp.sqrt(jnp.where(square > 0, square, 1))
