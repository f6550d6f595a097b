"""Iterative closest points: lays a point set on another without known correspondences."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from deepmds_jax.geometry.similarity import Similarity, nearest_orthogonal

_CHUNK = 256  # points whose distances to the whole cloud are held at a time
_TANGENTIAL = 1e-3  # weight of the squared distance along the surface


class Registration(NamedTuple):
    """Where one point set lies on another.

    Attributes:
      similarity: maps the source into the frame of the target.
      error: () root-mean-square distance of the kept pairs, in the target's unit.
      num_iters: () int32.
      converged: () bool, whether it came to rest; False also where it is not finite.
    """

    similarity: Similarity
    error: jax.Array
    num_iters: jax.Array
    converged: jax.Array


@jax.jit
def nearest_points(points: jax.Array, cloud: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The nearest of (M, 3) `cloud` to each of (N, 3) `points`.

    Returns:
      (N,) int32 indices into `cloud` and (N,) distances, NaN where a number is. Memory grows with
      M, not with N M.
    """

    places = jnp.arange(cloud.shape[0], dtype=jnp.int32)
    # The two reductions may compute the squares with different rounding.
    rounding = 1 + 8 * jnp.finfo(cloud.dtype).eps

    def nearest(point):
        # Differences, not the expanded square: that cancels where points nearly coincide.
        square = sum((cloud[:, k] - point[k]) ** 2 for k in range(cloud.shape[1]))
        least = jnp.min(square)
        # Two minima run 3 times as fast as one argmin on a CPU.
        index = jnp.min(jnp.where(square <= rounding * least, places, places[-1]))
        return index, jnp.sqrt(least)

    return lax.map(nearest, points, batch_size=_CHUNK)


@partial(jax.jit, static_argnames=("scale", "keep", "max_iters"))
@jax.default_matmul_precision("highest")
def icp(
    source: jax.Array,
    normals: jax.Array,
    target: jax.Array,
    start: Similarity,
    *,
    scale: bool = False,
    keep: float = 0.8,
    max_iters: int = 50,
    tolerance: float = 1e-3,
) -> Registration:
    """Moves a surface onto a scan: trimmed iterative closest points, point to plane.

    Every iteration pairs each source point with the nearest target point, keeps the share of
    pairs that lie closest, and takes a Gauss-Newton step on their distances along the normals:
    along the surface, points may slide, for the two are not sampled at the same places. Pairs that
    are not kept may have no counterpart: the target may be a part of the source, or have holes.
    The optimum is a local one, so the start decides. Pure; jit and vmap work.

    Args:
      source: (N, 3) float points of a smooth surface.
      normals: (N, 3) unit normals there, of either sign.
      target: (M, 3) float, the same unit or another; none of both mirrored.
      start: `Similarity` from the source to the target, as from `procrustes` of a few landmarks.
      scale: whether the size is estimated, too; else that of `start` is kept.
      keep: share of pairs kept, in (0, 1].
      max_iters: iterations at most.
      tolerance: converged once a step turns, moves and scales by less than this: radians, shares
        of the root-mean-square radius of the source, and a share.

    Returns:
      A `Registration`.

    Raises:
      ValueError: shapes that do not fit, or `keep` outside (0, 1].

    Source: Chen & Medioni (1992), Image and Vision Computing 10:145 (point to plane); Chetverikov,
    Stepanov & Krsek (2005), "Robust Euclidean alignment of 3D point sets: the trimmed iterative
    closest point algorithm", Image and Vision Computing 23:299.
    """
    for name, points in (("source", source), ("target", target)):
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"{name}: expected (N, 3), got {points.shape}")
    if normals.shape != source.shape:
        raise ValueError(f"normals: expected {source.shape} like source, got {normals.shape}")
    if not 0 < keep <= 1:
        raise ValueError(f"keep: expected a share in (0, 1], got {keep}")
    num_kept = max(3, round(keep * source.shape[0]))
    # Near the origin float32 is fine enough, wherever the scanner has its own.
    origin = jnp.mean(target, axis=0)
    target = target - origin

    def closest_pairs(similarity):
        moved = similarity(source)
        nearest, distance = nearest_points(moved, target)
        gap, kept = lax.top_k(-distance, num_kept)
        turned = normals[kept] @ similarity.rotation
        return moved[kept], turned, target[nearest[kept]], jnp.sqrt(jnp.mean(gap * gap))

    def step(state):
        similarity, _, num_iters, _ = state
        *pairs, error = closest_pairs(similarity)
        similarity, change = _step(similarity, *pairs, scale)
        return similarity, error, num_iters + 1, change <= tolerance

    def goes_on(state):
        _, error, num_iters, converged = state
        return ~converged & jnp.isfinite(error) & (num_iters < max_iters)

    start = Similarity(*(jnp.asarray(x, target.dtype) for x in start))
    start = start._replace(translation=start.translation - origin)
    first = (start, jnp.zeros((), target.dtype), jnp.int32(0), jnp.bool(False))
    similarity, _, num_iters, converged = lax.while_loop(goes_on, step, first)
    error = closest_pairs(similarity)[-1]
    placed = similarity._replace(translation=similarity.translation + origin)
    return Registration(placed, error, num_iters, converged)


def _step(similarity, points, normals, target, scale):
    """The similarity after a Gauss-Newton step, and the largest of its parameters."""
    centre = jnp.mean(points, axis=0)
    radius = jnp.sqrt(jnp.mean(jnp.sum((points - centre) ** 2, axis=1)))
    x, gap = (points - centre) / radius, (target - points) / radius
    # A small motion displaces x by turn x x + shift (+ growth x): (N, 3, 6 or 7).
    eye = jnp.broadcast_to(jnp.eye(3, dtype=x.dtype), (len(x), 3, 3))
    columns = [jnp.cross(eye, x[:, None]).mT, eye] + ([x[:, :, None]] if scale else [])
    jacobian = jnp.concatenate(columns, axis=-1)
    # Residuals along the normal; a little of the others keeps planes and spheres solvable.
    along = jnp.einsum("ni,nij->nj", normals, jacobian)
    left = along.T @ along + _TANGENTIAL * jnp.einsum("nij,nik->jk", jacobian, jacobian)
    right = jnp.sum(normals * gap, axis=1) @ along
    right += _TANGENTIAL * jnp.einsum("nij,ni->j", jacobian, gap)
    change = jnp.linalg.solve(left, right)
    turn, shift, growth = change[:3], change[3:6], 1 + (change[6] if scale else 0)
    rotation = nearest_orthogonal(eye[0] + jnp.cross(turn, eye[0]), reflection=False)
    moved = Similarity(
        nearest_orthogonal(similarity.rotation @ rotation, reflection=False),
        growth * similarity.scale,
        growth * (similarity.translation - centre) @ rotation + centre + radius * shift,
    )
    return moved, jnp.max(jnp.abs(change))
