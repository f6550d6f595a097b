"""Procrustes analysis: the orthogonal map or similarity that best aligns two configurations."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from deepmds_jax.geometry import linalg
from deepmds_jax.geometry.normalization import centre
from deepmds_jax.programs import one_program


class Similarity(NamedTuple):
    """The map x -> scale * x @ rotation + translation on row vectors.

    Attributes:
      rotation: (..., d, d) orthogonal, with determinant -1 if a reflection was allowed and fits.
      scale: (...) positive.
      translation: (..., d).
    """

    rotation: jax.Array
    scale: jax.Array
    translation: jax.Array

    @one_program
    @jax.default_matmul_precision("highest")
    def __call__(self, points: jax.Array) -> jax.Array:
        """Maps (..., N, d) points."""
        scale = self.scale[..., None, None]
        return scale * points @ self.rotation + self.translation[..., None, :]


def nearest_orthogonal(m: jax.Array, *, reflection: bool) -> jax.Array:
    """The orthogonal matrix Q that maximises trace(Q.T @ m).

    Differentiable, even at coinciding singular values. If Q is not unique (rank below d - 1, or a
    forbidden reflection between two equal singular values), the undefined part of the derivative
    is zero.

    Args:
      m: (..., d, d) float. May be singular: missing directions are completed, to a proper
        rotation if d is 2 or 3.
      reflection: whether det Q = -1 is allowed; it results if det m < 0 beyond rounding. Must be
        allowed unless d is 2 or 3.

    Returns:
      (..., d, d).

    Raises:
      ValueError: m is not square, or a reflection is forbidden with d other than 2 and 3.

    Source: Kabsch (1976), Acta Cryst. A32:922; Umeyama (1991), IEEE PAMI 13(4):376, eq. 40-43.
    """
    if m.ndim < 2 or m.shape[-1] != m.shape[-2]:
        raise ValueError(f"m: expected (..., d, d), got {m.shape}")
    if not reflection and m.shape[-1] not in (2, 3):
        raise ValueError(f"m: expected (..., 2, 2) or (..., 3, 3) without reflection, "
                         f"got {m.shape}")
    return _nearest_orthogonal(m, reflection)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
@jax.default_matmul_precision("highest")
def _nearest_orthogonal(m, reflection):
    u, s, v = linalg.svd(m)
    rounding = 8 * jnp.finfo(m.dtype).eps * s[..., :1]
    present = s > rounding
    u = _complete(u, present)
    if m.shape[-1] in (2, 3):
        improper = _determinant(u) * _determinant(v) < 0
        turns = improper & ~present[..., -1] if reflection else improper
        u = jnp.concatenate([u[..., :-1], jnp.where(turns[..., None, None], -1, 1) * u[..., -1:]],
                            axis=-1)
    return jnp.sum(u[..., :, None, :] * v[..., None, :, :], axis=-1)


@_nearest_orthogonal.defjvp
@jax.default_matmul_precision("highest")
def _nearest_orthogonal_jvp(reflection, primals, tangents):
    # With m = Q P, P symmetric: dQ = Q Omega, Omega antisymmetric. The antisymmetric part of
    # Q.T dm = Omega P + dP is then a linear equation for Omega, smooth in P.
    (m,), (dm,) = primals, tangents
    q = _nearest_orthogonal(m, reflection)
    p = q.mT @ m
    p = (p + p.mT) / 2
    change = q.mT @ dm
    omega = jax.lax.custom_linear_solve(
        lambda omega: omega @ p + p @ omega,
        change - change.mT,
        lambda _, rhs: _solve_lyapunov(p, rhs),
        symmetric=True,
    )
    # Omega is antisymmetric already. The projection is for reverse mode: only antisymmetric
    # cotangents may reach the equation, which is singular for symmetric ones if m is singular.
    return q, q @ (omega - omega.mT) / 2


def _solve_lyapunov(p, rhs):
    """Omega with Omega P + P Omega = rhs; zero between eigenvectors of opposite eigenvalues."""
    _, _, v = linalg.svd(p)
    eigenvalues = jnp.sum(v * (p @ v), axis=-2)
    total = eigenvalues[..., :, None] + eigenvalues[..., None, :]
    largest = jnp.max(jnp.abs(eigenvalues), axis=-1)[..., None, None]
    defined = jnp.abs(total) > 8 * jnp.finfo(p.dtype).eps * largest
    rotated = v.mT @ rhs @ v
    return v @ jnp.where(defined, rotated / jnp.where(defined, total, 1), 0) @ v.mT


def _complete(u, present):
    """Replaces columns of (..., d, d) that are not present, to make all of them orthonormal."""
    d = u.shape[-1]
    columns = []
    for j in range(d):
        covered = sum((c * c for c in columns), jnp.zeros((*[1] * (u.ndim - 2), d), u.dtype))
        axis = jax.nn.one_hot(jnp.argmin(covered, axis=-1), d, dtype=u.dtype)
        other = axis - sum(jnp.sum(c * axis, axis=-1, keepdims=True) * c for c in columns)
        other = other / jnp.sqrt(jnp.sum(other * other, axis=-1, keepdims=True))
        columns.append(jnp.where(present[..., j, None], u[..., j], other))
    return jnp.stack(columns, axis=-1)


@jax.jit
def align(source: jax.Array, target: jax.Array) -> jax.Array:
    """`source` rotated, scaled and moved onto `target`, never mirrored."""
    return procrustes(source, target)(source)


@one_program
def rigid_changes(points: jax.Array) -> jax.Array:
    """(7, N, 3) changes of (N, 3) points: moves, turns about the origin, and of size."""
    axes = jnp.eye(3, dtype=points.dtype)[:, None]
    moves = jnp.broadcast_to(axes, (3, *points.shape))
    return jnp.concatenate([moves, jnp.cross(axes, points[None]), points[None]])


def _determinant(m):
    """(...) determinant of (..., d, d) for d of 2 or 3."""
    if m.shape[-1] == 2:
        return m[..., 0, 0] * m[..., 1, 1] - m[..., 0, 1] * m[..., 1, 0]
    return jnp.sum(jnp.cross(m[..., 0], m[..., 1]) * m[..., 2], axis=-1)


@partial(jax.jit, static_argnames="reflection", inline=True)
@jax.default_matmul_precision("highest")
def procrustes(source: ArrayLike, target: ArrayLike, *, reflection: bool = False) -> Similarity:
    """The similarity that best aligns `source` to `target` in the least-squares sense.

    Args:
      source: (..., N, d) float.
      target: (..., N, d) float in any unit; leading axes broadcast.
      reflection: whether `source` may be mirrored. Must be true unless d is 2 or 3.

    Returns:
      A `Similarity` to call on `source`. NaN if all source points are equal.

    Raises:
      ValueError: shapes that do not match, or a reflection is forbidden with d other than 2 and 3.

    Source: Umeyama (1991); Gower & Dijksterhuis (2004), Procrustes Problems, chapter 4.
    """
    source, target = jnp.asarray(source), jnp.asarray(target)
    if source.shape[-2:] != target.shape[-2:]:
        raise ValueError(f"target: expected (..., {source.shape[-2]}, {source.shape[-1]}) like "
                         f"source, got {target.shape}")
    a, b = centre(source), centre(target)
    m = jnp.swapaxes(a, -1, -2) @ b
    rotation = nearest_orthogonal(m, reflection=reflection)
    scale = jnp.sum(m * rotation, axis=(-2, -1)) / jnp.sum(a * a, axis=(-2, -1))
    moved = scale[..., None] * (jnp.mean(source, axis=-2, keepdims=True) @ rotation)[..., 0, :]
    return Similarity(rotation, scale, jnp.mean(target, axis=-2) - moved)
