"""Checks dissimilarities and weights, and brings them to one form."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike

_MAX_ASYMMETRY = 1e-4  # relative to the largest entry; up to this it counts as rounding


def is_traced(tree: Any) -> bool:
    """Whether a pytree holds tracers, whose values cannot be checked."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def as_float(values: ArrayLike) -> jax.Array:
    """Array of the same floating dtype, or of the default one for integers."""
    array = jnp.asarray(values)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def check_shapes(
    dissimilarities: ArrayLike, weights: ArrayLike | None, num_dims: int
) -> tuple[jax.Array, jax.Array | None]:
    """Dissimilarities (..., n, n) and weights of the same shape as floats of one dtype.

    Raises:
      ValueError: wrong shapes. `is_valid` and `check_values` look at the values.
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
    """() whether (n, n) is symmetric, not negative and not all zero. NaN counts as missing."""
    known = symmetrize(matrix)
    known = jnp.where(jnp.isnan(known), 0, known)
    skew = jnp.abs(matrix - matrix.T)
    skew = jnp.where(jnp.isnan(skew), 0, skew)  # infinity minus itself too: found later
    largest = jnp.max(known)
    return (jnp.max(skew) <= _MAX_ASYMMETRY * largest) & (jnp.min(known) >= 0) & (largest > 0)


def check_values(dissimilarities: ArrayLike, weights: ArrayLike | None) -> None:
    """Checks concrete problems (..., n, n), whose shapes are right.

    Raises:
      ValueError: values that are negative, asymmetric or all zero, weights that are not finite, or
        points that no chain of observed pairs connects.
    """
    matrices = _check_matrices("dissimilarities", dissimilarities)
    observed = ~np.isnan(matrices)
    if weights is not None:
        checked_weights = _check_matrices("weights", weights)
        if not np.all(np.isfinite(checked_weights)):
            raise ValueError("weights: expected finite values, got NaN or infinity")
        observed = observed & (checked_weights > 0)
    num_unreached = _count_unreached(observed)
    if np.any(num_unreached):
        problem = np.argmax(num_unreached)
        raise ValueError(
            f"dissimilarities: expected the observed pairs to connect all points, got "
            f"{num_unreached[problem]} of {observed.shape[-1]} without a path to point 0 in "
            f"problem {problem}"
        )
    largest = np.max(np.where(observed, matrices, 0), axis=(1, 2))
    if np.any(largest == 0):
        raise ValueError(
            f"dissimilarities: expected some > 0, got only zeros in problem {np.argmin(largest)}"
        )


def _check_matrices(name: str, values: ArrayLike) -> np.ndarray:
    """(problems, n, n) of (..., n, n), with a zero diagonal; ValueError if negative or skew."""
    matrices = np.asarray(values)
    matrices = matrices.reshape(-1, *matrices.shape[-2:])
    matrices = np.where(np.eye(matrices.shape[-1], dtype=bool), 0, matrices)
    if np.any(matrices < 0):
        raise ValueError(f"{name}: expected none < 0, got {np.nanmin(matrices):g}")
    with np.errstate(invalid="ignore"):
        asymmetry = np.abs(matrices - matrices.swapaxes(1, 2))
        largest = np.max(matrices, axis=(1, 2), keepdims=True, initial=0, where=matrices >= 0)
    if np.any(asymmetry > _MAX_ASYMMETRY * largest):
        raise ValueError(
            f"{name}: expected symmetric, got differences up to {np.nanmax(asymmetry):g}"
        )
    return matrices


def _count_unreached(observed: np.ndarray) -> np.ndarray:
    """(problems,) number of points that no chain of observed pairs connects to the first."""
    reached = np.zeros(observed.shape[:-1], bool)
    reached[:, 0] = True
    while True:
        further = reached | np.any(observed & reached[:, :, None], axis=1)
        if np.array_equal(further, reached):
            return np.sum(~reached, axis=1)
        reached = further


def symmetrize(matrix: jax.Array) -> jax.Array:
    """The symmetric part of (n, n), with a zero diagonal."""
    mean = (matrix + matrix.T) / 2
    return jnp.where(jnp.eye(*mean.shape, dtype=bool), 0, mean)


def is_connected(weights: jax.Array) -> jax.Array:
    """() whether chains of pairs with positive (n, n) weights connect all points."""
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


def fill_with_shortest_paths(dissimilarities: jax.Array, weights: jax.Array) -> jax.Array:
    """Replaces each missing dissimilarity by the shortest path through observed pairs.

    Both (n, n) and symmetric. Costs nothing if none is missing.

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
