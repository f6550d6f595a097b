"""Procrustes analysis: the orthogonal map, and the similarity, that fit two configurations."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmds_jax.geometry import linalg
from deepmds_jax.geometry.normalization import centre


class Similarity(NamedTuple):
    """The map x -> scale * x @ rotation + translation on row vectors.

    Attributes:
      rotation: (..., d, d) orthogonal; determinant -1 where a reflection was allowed and fits.
      scale: (...) positive.
      translation: (..., d).
    """

    rotation: jax.Array
    scale: jax.Array
    translation: jax.Array

    @jax.default_matmul_precision("highest")
    def __call__(self, points: jax.Array) -> jax.Array:
        """Maps (..., N, d) points."""
        scale = self.scale[..., None, None]
        return scale * points @ self.rotation + self.translation[..., None, :]


def nearest_orthogonal(m: jax.Array, *, reflection: bool) -> jax.Array:
    """The orthogonal matrix Q that maximises trace(Q.T @ m).

    Differentiable, also where singular values coincide. Where Q is not unique (rank below d - 1,
    or a reflection forbidden between two equal singular values), the part of the derivative that
    is not defined is zero.

    Args:
      m: (..., d, d) float. May be singular: missing directions are completed, to a proper
        rotation if d is 2 or 3.
      reflection: whether det Q = -1 is allowed; it is then taken where det m < 0 beyond rounding.
        Must be allowed unless d is 2 or 3.

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
def _differentiate(reflection, primals, tangents):
    # With m = Q P, P symmetric: dQ = Q Omega, Omega antisymmetric. Then the antisymmetric part of
    # Q.T dm = Omega P + dP is one linear equation for Omega, and smooth in P.
    (m,), (dm,) = primals, tangents
    q = _nearest_orthogonal(m, reflection)
    p = q.mT @ m
    p = (p + p.mT) / 2
    change = q.mT @ dm
    omega = jax.lax.custom_linear_solve(
        lambda omega: omega @ p + p @ omega,
        change - change.mT,
        lambda _, right: _solve_lyapunov(p, right),
        symmetric=True,
    )
    # Antisymmetric it is, but for the reverse mode this must be said: only antisymmetric cotangents
    # may reach the equation, which for symmetric ones is singular where m is.
    return q, q @ (omega - omega.mT) / 2


def _solve_lyapunov(p, right):
    """Omega with Omega P + P Omega = right; zero between eigenvectors of opposite eigenvalues."""
    _, _, v = linalg.svd(p)
    eigenvalues = jnp.sum(v * (p @ v), axis=-2)
    total = eigenvalues[..., :, None] + eigenvalues[..., None, :]
    largest = jnp.max(jnp.abs(eigenvalues), axis=-1)[..., None, None]
    defined = jnp.abs(total) > 8 * jnp.finfo(p.dtype).eps * largest
    turned = v.mT @ right @ v
    return v @ jnp.where(defined, turned / jnp.where(defined, total, 1), 0) @ v.mT


def _complete(u, present):
    """Orthonormal columns: those of (..., d, d) that are present, ones orthogonal to all before."""
    d = u.shape[-1]
    columns = []
    for j in range(d):
        covered = sum((c * c for c in columns), jnp.zeros(d, u.dtype))
        axis = jax.nn.one_hot(jnp.argmin(covered, axis=-1), d, dtype=u.dtype)
        other = axis - sum(jnp.sum(c * axis, axis=-1, keepdims=True) * c for c in columns)
        other = other / jnp.sqrt(jnp.sum(other * other, axis=-1, keepdims=True))
        columns.append(jnp.where(present[..., j, None], u[..., j], other))
    return jnp.stack(columns, axis=-1)


def _determinant(m):
    """That of a matrix of two or three columns."""
    if m.shape[-1] == 2:
        return m[..., 0, 0] * m[..., 1, 1] - m[..., 0, 1] * m[..., 1, 0]
    return jnp.sum(jnp.cross(m[..., 0], m[..., 1]) * m[..., 2], axis=-1)


@jax.default_matmul_precision("highest")
def procrustes(source: jax.Array, target: jax.Array, *, reflection: bool = False) -> Similarity:
    """The similarity that brings `source` closest to `target` in least squares.

    Args:
      source: (..., N, d) float.
      target: (..., N, d) float in any unit; leading axes broadcast.
      reflection: whether `source` may be mirrored. It must be unless d is 2 or 3.

    Returns:
      A `Similarity` to call on `source`. All source points equal gives NaN.

    Raises:
      ValueError: shapes that do not match, or a reflection is forbidden with d other than 2 and 3.

    Source: Umeyama (1991); Gower & Dijksterhuis (2004), Procrustes Problems, chapter 4.
    """
    if source.shape[-2:] != target.shape[-2:]:
        raise ValueError(f"target: expected (..., {source.shape[-2]}, {source.shape[-1]}) like "
                         f"source, got {target.shape}")
    a, b = centre(source), centre(target)
    m = jnp.swapaxes(a, -1, -2) @ b
    rotation = nearest_orthogonal(m, reflection=reflection)
    scale = jnp.sum(m * rotation, axis=(-2, -1)) / jnp.sum(a * a, axis=(-2, -1))
    moved = scale[..., None] * (jnp.mean(source, axis=-2, keepdims=True) @ rotation)[..., 0, :]
    return Similarity(rotation, scale, jnp.mean(target, axis=-2) - moved)
