"""Iterative closest points: aligns a point set to another without known correspondences."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deepmds_jax import loops
from deepmds_jax.extras import require
from deepmds_jax.geometry.similarity import Similarity, nearest_orthogonal

_BATCH_SIZE = 256  # points whose distances to the whole cloud are in memory at a time
_TANGENTIAL_WEIGHT = 1e-3  # of the squared distance along the surface


class Registration(NamedTuple):
    """The alignment of one point set to another; in NumPy where a tree found it.

    Attributes:
      similarity: maps the source into the frame of the target.
      error: () root-mean-square distance of the kept pairs, in the unit of the target.
      num_iters: () int32.
      converged: () bool, whether the last step met the tolerance; False if it was not finite.
    """

    similarity: Similarity
    error: jax.Array | np.floating
    num_iters: jax.Array | np.integer
    converged: jax.Array | np.bool_


@jax.jit
def nearest_points(points: jax.Array, cloud: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The point of a cloud that is nearest to each of the points.

    Args:
      points: (N, 3) float.
      cloud: (M, 3) float, the same unit.

    Returns:
      (N,) int32 indices into `cloud` and (N,) distances; NaN for points or clouds with NaN. Memory
      grows with M, not with N M.
    """
    indices = jnp.arange(cloud.shape[0], dtype=jnp.int32)
    # The two minima below may round the squares differently.
    rounding = 1 + 8 * jnp.finfo(cloud.dtype).eps

    def nearest(point):
        # Differences, not the expanded square, which cancels for nearly coincident points.
        square = sum((cloud[:, k] - point[k]) ** 2 for k in range(cloud.shape[1]))
        least = jnp.min(square)
        # On CPU, two minima are 3 times as fast as one argmin.
        index = jnp.min(jnp.where(square <= rounding * least, indices, indices[-1]))
        return index, jnp.sqrt(least)

    return lax.map(nearest, points, batch_size=_BATCH_SIZE)


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
    """Aligns a surface to a scan by trimmed point-to-plane iterative closest points.

    Each iteration pairs every source point with the nearest target point, keeps the closest pairs,
    and takes a Gauss-Newton step on their distances along the normals. Along the surface points may
    slide, because the two surfaces are sampled at different places. Trimming allows for points
    without a counterpart: the target may cover only part of the source, or have holes. The optimum
    is a local one that depends on the start. Pure; jit and vmap work.

    Args:
      source: (N, 3) float points of a smooth surface.
      normals: (N, 3) unit normals at these points, of either sign.
      target: (M, 3) float, in any unit, not mirrored relative to the source.
      start: `Similarity` from the source to the target, for example from `procrustes` of a few
        landmarks.
      scale: whether to estimate the scale; otherwise that of `start` is kept.
      keep: fraction of pairs to keep, in (0, 1].
      max_iters: maximum number of iterations.
      tolerance: converged once a step rotates, moves and scales by less than this: in radians,
        relative to the root-mean-square radius of the source, and as a relative change.

    Returns:
      A `Registration`.

    Raises:
      ValueError: wrong shapes, or `keep` outside (0, 1].

    Source: Chen & Medioni (1992), Image and Vision Computing 10:145 (point to plane); Chetverikov,
    Stepanov & Krsek (2005), "Robust Euclidean alignment of 3D point sets: the trimmed iterative
    closest point algorithm", Image and Vision Computing 23:299.
    """
    num_kept = _check(source, normals, target, keep)
    # Near the origin float32 is precise enough, wherever the scanner's origin is.
    origin = jnp.mean(target, axis=0)
    target = target - origin

    def closest_pairs(similarity):
        moved = similarity(source)
        nearest, distance = nearest_points(moved, target)
        gap, kept = lax.top_k(-distance, num_kept)
        rotated = normals[kept] @ similarity.rotation
        return moved[kept], rotated, target[nearest[kept]], jnp.sqrt(jnp.mean(gap * gap))

    def step(state):
        similarity, _, num_iters, _ = state
        points, point_normals, counterparts, error = closest_pairs(similarity)
        similarity, change = _step(similarity, points, point_normals, counterparts, scale)
        return similarity, error, num_iters + 1, change <= tolerance

    def keeps_going(state):
        _, error, num_iters, converged = state
        return ~converged & jnp.isfinite(error) & (num_iters < max_iters)

    rotation, size, translation = (jnp.asarray(x, target.dtype) for x in start)
    start = Similarity(rotation, size, translation - origin)
    first = (start, jnp.zeros((), target.dtype), jnp.int32(0), jnp.asarray(False))
    similarity, _, num_iters, converged = loops.while_loop(keeps_going, step, first)
    error = closest_pairs(similarity)[-1]
    placed = similarity._replace(translation=similarity.translation + origin)
    return Registration(placed, error, num_iters, converged)


def icp_by_tree(
    source: np.ndarray,
    normals: np.ndarray,
    target: np.ndarray,
    start: Similarity,
    *,
    scale: bool = False,
    keep: float = 0.8,
    max_iters: int = 50,
    tolerance: float = 1e-3,
) -> Registration:
    """As `icp`, with a k-d tree of the target, on the host: for whole scans, one by one.

    Looking up nearest points in a tree takes a small part of what `nearest_points` needs in a scan
    of tens of thousands; in exchange this is neither jitted nor batched. The numbers are float32,
    too.

    Raises:
      ValueError: wrong shapes, `keep` outside (0, 1], or a target that is not finite.
      ImportError: scipy is not installed.
    """
    spatial = require("scipy.spatial", extra="files")
    num_kept = _check(source, normals, target, keep)
    if not np.isfinite(target).all():
        raise ValueError(f"target: expected finite points, got "
                         f"{np.sum(~np.isfinite(target).all(axis=1))} that are not")
    origin = target.mean(axis=0)  # near it float32 is precise enough
    target = (target - origin).astype(np.float32)
    source, normals = source.astype(np.float32), normals.astype(np.float32)
    tree = spatial.cKDTree(target)
    rotation, size, translation = (np.asarray(x, np.float32) for x in start)
    similarity = jax.device_get(Similarity(*map(jnp.asarray, (
        rotation, size, (translation - origin).astype(np.float32)))))

    def closest_pairs():
        moved = similarity.scale * source @ similarity.rotation + similarity.translation
        if not np.isfinite(moved).all():
            return None
        distance, nearest = tree.query(moved)
        kept = np.argpartition(distance, num_kept - 1)[:num_kept]
        error = np.sqrt(np.mean(distance[kept] ** 2))
        return moved[kept], normals[kept] @ similarity.rotation, target[nearest[kept]], error

    num_iters, converged = 0, False
    while (pairs := closest_pairs()) is not None and num_iters < max_iters and not converged:
        similarity, change = jax.device_get(_jitted_step(similarity, *pairs[:3], scale=scale))
        num_iters, converged = num_iters + 1, bool(change <= tolerance)
    error = np.float32(np.nan if pairs is None else pairs[3])
    placed = similarity._replace(translation=(similarity.translation + origin).astype(np.float32))
    return Registration(placed, error, np.int32(num_iters), np.bool_(converged))


def _check(source, normals, target, keep) -> int:
    """The number of pairs to keep; see `icp` for the arguments and what is raised."""
    for name, points in (("source", source), ("target", target)):
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"{name}: expected (N, 3), got {points.shape}")
    if normals.shape != source.shape:
        raise ValueError(f"normals: expected {source.shape} like source, got {normals.shape}")
    if not 0 < keep <= 1:
        raise ValueError(f"keep: expected a fraction in (0, 1], got {keep}")
    return max(3, round(keep * source.shape[0]))


def _step(similarity, points, normals, target, scale):
    """The similarity after a Gauss-Newton step, and the largest parameter of that step."""
    centre = jnp.mean(points, axis=0)
    radius = jnp.sqrt(jnp.mean(jnp.sum((points - centre) ** 2, axis=1)))
    x, gap = (points - centre) / radius, (target - points) / radius
    # A small motion displaces x by turn x x + shift (+ growth x): (N, 3, 6 or 7) derivatives.
    eye = jnp.broadcast_to(jnp.eye(3, dtype=x.dtype), (len(x), 3, 3))
    columns = [jnp.cross(eye, x[:, None]).mT, eye] + ([x[:, :, None]] if scale else [])
    jacobian = jnp.concatenate(columns, axis=-1)
    # Residuals along the normal; a small tangential weight makes planes and spheres solvable.
    along = jnp.einsum("ni,nij->nj", normals, jacobian)
    matrix = along.T @ along + _TANGENTIAL_WEIGHT * jnp.einsum("nij,nik->jk", jacobian, jacobian)
    rhs = jnp.sum(normals * gap, axis=1) @ along
    rhs += _TANGENTIAL_WEIGHT * jnp.einsum("nij,ni->j", jacobian, gap)
    change = jnp.linalg.solve(matrix, rhs)
    turn, shift, growth = change[:3], change[3:6], 1 + (change[6] if scale else 0)
    rotation = nearest_orthogonal(eye[0] + jnp.cross(turn, eye[0]), reflection=False)
    moved = Similarity(
        nearest_orthogonal(similarity.rotation @ rotation, reflection=False),
        growth * similarity.scale,
        growth * (similarity.translation - centre) @ rotation + centre + radius * shift,
    )
    return moved, jnp.max(jnp.abs(change))


@partial(jax.jit, static_argnames="scale")
@jax.default_matmul_precision("highest")
def _jitted_step(similarity, points, normals, target, scale):
    return _step(similarity, points, normals, target, scale)
