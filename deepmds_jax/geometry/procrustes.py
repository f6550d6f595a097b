"""Procrustes analysis of configurations in two or three dimensions."""

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

    Args:
      m: (..., d, d) float, d = 2 or 3. May be singular: a missing direction is completed to a
        proper rotation.
      reflection: whether det Q = -1 is allowed; it is then taken where det m < 0 beyond rounding.

    Source: Kabsch (1976), Acta Cryst. A32:922; Umeyama (1991), IEEE PAMI 13(4):376, eq. 40-43.
    """
    if m.shape[-2:] == (2, 2):
        # Rotations and reflections of the plane are complex numbers: compare their gains.
        proper = jnp.stack([m[..., 0, 0] + m[..., 1, 1], m[..., 1, 0] - m[..., 0, 1]], axis=-1)
        mirror = jnp.stack([m[..., 0, 0] - m[..., 1, 1], m[..., 1, 0] + m[..., 0, 1]], axis=-1)
        norm = [jnp.sum(x * x, axis=-1) for x in (proper, mirror)]
        flips = reflection & (norm[1] > norm[0])
        square = jnp.where(flips, norm[1], norm[0])
        turn = jnp.where(flips[..., None], mirror, proper)
        turn = turn / jnp.sqrt(jnp.where(square > 0, square, 1))[..., None]
        turn = jnp.where((square > 0)[..., None], turn, jnp.array([1, 0], m.dtype))
        cos, sin = turn[..., 0], turn[..., 1]
        sign = jnp.where(flips, -1, 1)
        rows = [jnp.stack([cos, -sign * sin], axis=-1), jnp.stack([sin, sign * cos], axis=-1)]
        return jnp.stack(rows, axis=-2)
    if m.shape[-2:] != (3, 3):
        raise ValueError(f"m: expected (..., 2, 2) or (..., 3, 3), got {m.shape}")
    u, s, v = linalg.svd(m)
    rounding = 8 * jnp.finfo(m.dtype).eps * s[..., 0]
    v1 = v[..., 0]
    u1 = jnp.where(s[..., :1] > 0, u[..., 0], v1)
    u2 = jnp.where((s[..., 1] > rounding)[..., None], u[..., 1], _orthogonal_to(u1))
    # The third pair by cross products: the rotation is proper without looking at determinants.
    u3, v2 = jnp.cross(u1, u2), v[..., 1]
    v3 = jnp.cross(v1, v2)
    if reflection:
        determinant = jnp.sum(u3 * u[..., 2], -1) * jnp.sum(v3 * v[..., 2], -1) * s[..., 2]
        u3 = jnp.where((determinant < -rounding)[..., None], -u3, u3)
    pairs = ((u1, v1), (u2, v2), (u3, v3))
    return sum(a[..., :, None] * b[..., None, :] for a, b in pairs)


def _orthogonal_to(u: jax.Array) -> jax.Array:
    """A unit vector orthogonal to each unit vector (..., 3)."""
    axis = jax.nn.one_hot(jnp.argmin(jnp.abs(u), axis=-1), 3, dtype=u.dtype)
    other = jnp.cross(u, axis)
    return other / jnp.sqrt(jnp.sum(other * other, axis=-1, keepdims=True))


@jax.default_matmul_precision("highest")
def procrustes(
    source: jax.Array, target: jax.Array, *, reflection: bool = False, scaling: bool = True
) -> Similarity:
    """The similarity that brings `source` closest to `target` in least squares.

    Args:
      source: (..., N, d) float, d = 2 or 3.
      target: (..., N, d) float in any unit; leading axes broadcast.
      reflection: whether `source` may be mirrored.
      scaling: whether it may be scaled; else the scale is 1.

    Returns:
      A `Similarity` to call on `source`. All source points equal gives NaN.

    Raises:
      ValueError: shapes that do not match, or d other than 2 and 3.

    Source: Umeyama (1991); Gower & Dijksterhuis (2004), Procrustes Problems, chapter 4.
    """
    if source.shape[-2:] != target.shape[-2:]:
        raise ValueError(f"target: expected (..., {source.shape[-2]}, {source.shape[-1]}) like "
                         f"source, got {target.shape}")
    a, b = centre(source), centre(target)
    m = jnp.swapaxes(a, -1, -2) @ b
    rotation = nearest_orthogonal(m, reflection=reflection)
    if scaling:
        scale = jnp.sum(m * rotation, axis=(-2, -1)) / jnp.sum(a * a, axis=(-2, -1))
    else:
        scale = jnp.ones(m.shape[:-2], m.dtype)
    moved = scale[..., None] * (jnp.mean(source, axis=-2, keepdims=True) @ rotation)[..., 0, :]
    return Similarity(rotation, scale, jnp.mean(target, axis=-2) - moved)
