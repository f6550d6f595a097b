"""Dissimilarities and weights as they come in: refused, or brought to one form."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_ASYMMETRY = 1e-4  # of the largest entry; less than this is rounding, and is averaged out


def as_float(array: jax.Array) -> jax.Array:
    """Array of the same floating dtype, or of the default one for integers."""
    array = jnp.asarray(array)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def check_shapes(
    dissimilarities: jax.Array, weights: jax.Array | None, num_dims: int
) -> tuple[jax.Array, jax.Array | None]:
    """Dissimilarities (..., n, n) and weights of the same shape as floats of one dtype.

    Raises:
      ValueError: the shapes are wrong. Values are looked at by `is_valid` and `explain`.
    """
    dissimilarities = as_float(dissimilarities)
    shape = dissimilarities.shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"dissimilarities: expected shape (..., n, n), got {shape}")
    if not 1 <= num_dims < shape[-1]:
        raise ValueError(
            f"num_dims: expected 1 to {shape[-1] - 1} for {shape[-1]} points, got {num_dims}"
        )
    if weights is not None:
        weights = as_float(weights).astype(dissimilarities.dtype)
        if weights.shape not in (shape, shape[-2:]):
            raise ValueError(f"weights: expected shape {shape} or {shape[-2:]}, "
                             f"got {weights.shape}")
        weights = jnp.broadcast_to(weights, shape)
    return dissimilarities, weights


def is_valid(matrix: jax.Array) -> jax.Array:
    """Whether (n, n) is symmetric, not negative and not all zero: (). NaN counts as missing."""
    known = symmetrize(matrix)
    known = jnp.where(jnp.isnan(known), 0, known)
    skew = jnp.abs(matrix - matrix.T)
    skew = jnp.where(jnp.isnan(skew), 0, skew)  # also where infinity meets itself: found later
    largest = jnp.max(known)
    return (jnp.max(skew) <= _ASYMMETRY * largest) & (jnp.min(known) >= 0) & (largest > 0)


def explain(dissimilarities: np.ndarray, weights: np.ndarray | None) -> None:
    """Raises the ValueError that says why problems (..., n, n) are not valid or not connected."""
    dissimilarities = _off_diagonal("dissimilarities", dissimilarities)
    observed = ~np.isnan(dissimilarities)
    if weights is not None:
        weights = _off_diagonal("weights", weights)
        if not np.all(np.isfinite(weights)):
            raise ValueError("weights: expected finite values, got NaN or infinity")
        observed = observed & (weights > 0)
    unreached = _unreached(observed)
    if np.any(unreached):
        problem = np.argmax(unreached)
        raise ValueError(
            f"dissimilarities: expected pairs that are not missing to join all points, got "
            f"{unreached[problem]} of {observed.shape[-1]} without a path to point 0 in problem "
            f"{problem}"
        )
    largest = np.max(np.where(observed, dissimilarities, 0), axis=(1, 2))
    if np.any(largest == 0):
        raise ValueError(
            f"dissimilarities: expected some > 0, got only zeros in problem {np.argmin(largest)}"
        )


def _off_diagonal(name: str, matrices: np.ndarray) -> np.ndarray:
    """(problems, n, n) with a zero diagonal, not negative and symmetric."""
    matrices = np.asarray(matrices)
    matrices = matrices.reshape(-1, *matrices.shape[-2:])
    matrices = np.where(np.eye(matrices.shape[-1], dtype=bool), 0, matrices)
    if np.any(matrices < 0):
        raise ValueError(f"{name}: expected none < 0, got {np.nanmin(matrices):g}")
    with np.errstate(invalid="ignore"):
        asymmetry = np.abs(matrices - matrices.swapaxes(1, 2))
        largest = np.max(matrices, axis=(1, 2), keepdims=True, initial=0, where=matrices >= 0)
    if np.any(asymmetry > _ASYMMETRY * largest):
        raise ValueError(
            f"{name}: expected symmetric, got differences up to {np.nanmax(asymmetry):g}"
        )
    return matrices


def _unreached(observed: np.ndarray) -> np.ndarray:
    """(problems,) number of points that no chain of observed pairs joins to the first."""
    reached = np.zeros(observed.shape[:-1], bool)
    reached[:, 0] = True
    while True:
        further = reached | np.any(observed & reached[:, :, None], axis=1)
        if np.array_equal(further, reached):
            return np.sum(~reached, axis=1)
        reached = further


def symmetrize(matrix: jax.Array) -> jax.Array:
    """Exactly symmetric (n, n) with a zero diagonal."""
    mean = (matrix + matrix.T) / 2
    return jnp.where(jnp.eye(*mean.shape, dtype=bool), 0, mean)


def is_connected(weights: jax.Array) -> jax.Array:
    """Whether chains of pairs with positive weights join all points: (n, n) -> ()."""
    observed = weights > 0

    def spread(state):
        reached, _ = state
        further = reached | jnp.any(observed & reached[:, None], axis=0)
        return further, jnp.any(further != reached)

    reached = observed[0] | (jnp.arange(observed.shape[0]) == 0)
    reached, _ = lax.while_loop(
        lambda state: state[1], spread, (reached, ~jnp.all(reached))
    )
    return jnp.all(reached)


def complete(dissimilarities: jax.Array, weights: jax.Array) -> jax.Array:
    """Every missing dissimilarity replaced by the shortest path through observed pairs.

    Both (n, n) and symmetric; costs nothing where none is missing.

    Source: Floyd (1962), "Algorithm 97: shortest path", Communications of the ACM 5.
    """
    n = dissimilarities.shape[0]
    off_diagonal = ~jnp.eye(n, dtype=bool)
    missing = off_diagonal & (weights == 0)
    paths = jnp.where(missing, jnp.inf, dissimilarities)

    def detour(state):
        paths, point = state
        through = lax.dynamic_index_in_dim(paths, point, keepdims=False)
        return jnp.minimum(paths, through[:, None] + through[None, :]), point + 1

    first = jnp.where(jnp.any(missing), 0, n)
    paths, _ = lax.while_loop(lambda state: state[1] < n, detour, (paths, first))
    return jnp.where(missing, paths, dissimilarities)
