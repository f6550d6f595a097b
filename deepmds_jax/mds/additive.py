"""The constant that makes dissimilarities Euclidean distances."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deepmds_jax.geometry.linalg import svd
from deepmds_jax.mds.inputs import check_shapes, explain, is_valid, symmetrize
from deepmds_jax.mds.torgerson import double_centre

_MAX_ITERS = 1000


def additive_constant(dissimilarities: jax.Array) -> jax.Array:
    """The smallest c >= 0 for which the dissimilarities plus c are Euclidean distances.

    c is added to all pairs, not to the diagonal. All greater constants will do as well: classical
    scaling then has no negative eigenvalues. Differentiable, forward and reverse.

    Args:
      dissimilarities: (..., n, n) float, symmetric and not negative; the diagonal is ignored, and
        integers become the default float.

    Returns:
      (...) in the unit of the dissimilarities: 0 up to rounding for Euclidean distances, NaN for a
      problem with a value that is not finite. Never above the true constant but for rounding.

    Raises:
      ValueError: wrong shapes; and, outside jit, negative, asymmetric or all-zero dissimilarities.

    Source: Cailliez (1983), "The analytical solution of the additive constant problem",
    Psychometrika 48; Borg & Groenen (2005), Modern Multidimensional Scaling, chapter 19. Cailliez
    takes an eigenvalue of a 2n x 2n matrix that is not symmetric. Here the same number is found
    with products of symmetric n x n matrices, by the iteration of Knyazev (2001), "Toward the
    optimal preconditioned eigensolver", SIAM J. Scientific Computing 23.
    """
    given = dissimilarities
    dissimilarities, _ = check_shapes(dissimilarities, None, 1)
    constant, valid = _additive_constant(dissimilarities)
    if not isinstance(valid, jax.core.Tracer) and not np.all(valid):
        explain(given, None)
    return constant


@jax.jit
@partial(jnp.vectorize, signature="(n,n)->(),()")
@jax.default_matmul_precision("highest")
def _additive_constant(dissimilarities):
    # The scalar products of D + c are B(c) = B0 + c B1 + c^2 J / 2, J the centring matrix. None of
    # their eigenvalues may be negative: every centred vector x asks for a c of at least the larger
    # root of x'B(c)x. The c of the current x is too small as long as B(c) has a lower eigenvector,
    # toward which x goes on. No x asks for more than the answer, whose x has derivative zero.
    d = symmetrize(dissimilarities)
    largest = lax.stop_gradient(jnp.max(d))
    scale = jnp.where(largest > 0, largest, 1)
    d = d / scale
    b0, b1 = double_centre(d**2) / -2, -double_centre(d)
    x = _least_vector(lax.stop_gradient(b0), lax.stop_gradient(b1))
    c = scale * _constant_asked(b0, b1, lax.stop_gradient(x))
    return jnp.where(jnp.isfinite(largest), c, jnp.nan), is_valid(dissimilarities)


def _least_vector(b0, b1):
    """The centred unit vector that asks for most: (n, n), (n, n) -> (n,)."""
    n, dtype = b0.shape[0], b0.dtype
    norms = [jnp.sqrt(jnp.sum(b**2)) for b in (b0, b1)]
    tolerance = 0.03 * jnp.sqrt(jnp.finfo(dtype).eps)  # of x; c is wrong by the square of it

    def step(state):
        # The best x in the plane of x, its residual and its last change: conjugate gradients.
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
        c = jnp.maximum(c, _constant_asked(b0, b1, x))
        error = jnp.sqrt(jnp.sum(residual**2)) / (norms[0] + c * norms[1] + c**2 / 2)
        return x, moved, c, error, num_iters + 1

    def improves(state):
        *_, error, num_iters = state
        return (error > tolerance) & (num_iters < _MAX_ITERS)

    starts = jnp.asarray(np.random.default_rng(0).standard_normal((2, n)), dtype)
    state = _unit(starts[0]), starts[1], jnp.zeros((), dtype), jnp.inf, 0
    return lax.while_loop(improves, step, state)[0]


def _constant_asked(b0, b1, x):
    """The larger root c >= 0 of x'B(c)x for a centred unit vector x; 0 if there is none."""
    constant, slope = (jnp.sum(x * (b @ x)) for b in (b0, b1))
    asks = constant < 0
    root = jnp.sqrt(slope**2 - 2 * jnp.where(asks, constant, -1))
    # Both are the root, each without cancellation for one sign of the slope.
    rising = slope > 0
    larger = jnp.where(rising, -2 * constant / jnp.where(rising, slope + root, 1), root - slope)
    return jnp.where(asks, larger, 0)


def _orthonormalize(vectors):
    """Centred columns of the Gram-Schmidt process, zero where nothing is left: 3 (n,) -> (n, 3)."""
    columns = []
    for vector in vectors:
        for _ in range(2):  # what the second time takes away again was rounding
            vector = _unit(vector)
            for column in columns:
                vector = vector - (column @ vector) * column
        columns.append(jnp.where(jnp.sum(vector**2) > 0.5, _unit(vector), 0))
    return jnp.stack(columns, axis=1)


def _unit(vector):
    """Centred, and of norm 1 or zero."""
    vector = vector - jnp.mean(vector)
    square = jnp.sum(vector**2)
    return vector / jnp.sqrt(jnp.where(square > 0, square, 1))
