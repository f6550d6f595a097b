"""Whether landmarks come in another order than that of their topology.

Two parts of a face exchanged, a brow that runs the other way, lips that begin at the other corner:
each is a permutation. Where one of them lets the landmarks be a view of a face much better than
their own order does, that order is wrong. Pose takes no part in it: all affine views count.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from deepmds_jax import topologies

# How much better another order must fit, in variances of what it leaves unexplained: twice what one
# in a thousand faces of ICT reaches; once for rings that run the other way round, as the lids of
# tightly closed eyes do, which cross.
_MIN_GAIN, _MIN_GAIN_ROUND = 18.0, 36.0
_NOISE = 0.05  # of landmarks, beside the modes; in sizes of the face


class Reorderings(NamedTuple):
    """Permutations of the landmarks of a topology that files and programs are known to make.

    Attributes:
      landmarks: (K, L) the landmarks that change places, padded by 0.
      instead: (K, L) what stands in their places.
      weights: (K, L) 1, and 0 for padding.
      min_gains: (K,) how much better each must fit.
      descriptions: K of them, in words.
    """

    landmarks: np.ndarray
    instead: np.ndarray
    weights: np.ndarray
    min_gains: np.ndarray
    descriptions: tuple[str, ...]


@functools.cache
def reorderings(topology: str) -> Reorderings:
    """Those of a topology: each of its parts runs the other way, or, if it is closed, starts
    elsewhere, and parts of the two sides are exchanged.

    A part is what the edges of the topology connect.
    """
    found = list(_permutations(topologies.get(topology)))
    longest = max((len(places) for places, *_ in found), default=0)
    landmarks, instead = np.zeros((2, len(found), longest), np.int32)
    weights = np.zeros(landmarks.shape, np.float32)
    for k, (places, others, *_) in enumerate(found):
        landmarks[k, : len(places)], instead[k, : len(places)] = places, others
        weights[k, : len(places)] = 1
    min_gains = np.array([gain for *_, gain, _ in found], np.float32)
    return Reorderings(landmarks, instead, weights, min_gains, tuple(text for *_, text in found))


def unexplained(reference: ArrayLike, modes: ArrayLike) -> np.ndarray:
    """What no affine view of the faces of a shape model explains, as a quadratic form.

    Args:
      reference: (N, 3) mean shape, size 1.
      modes: (K, N, 3) changes of it, one standard deviation each.

    Returns:
      (N, N) float32 form W: for the column x of image coordinates of N landmarks, x^T W x is the
      squared distance from the affine views of the reference, by generalised least squares under
      the covariance of the modes in all directions and of noise.
    """
    mean, modes = np.asarray(reference, np.float64), np.asarray(modes, np.float64)
    num = len(mean)
    covariance = np.einsum("kia,kja->ij", modes, modes) / 3 + _NOISE**2 * np.eye(num)
    precision = _NOISE**2 * np.linalg.inv(covariance)
    views = np.concatenate([mean, np.ones((num, 1))], axis=1)
    pull = precision @ views
    return (precision - pull @ np.linalg.solve(views.T @ pull, pull.T)).astype(np.float32)


@functools.partial(jax.jit, static_argnames="topology", inline=True)
@jax.default_matmul_precision("highest")
def gains(x2d: jax.Array, unexplained: jax.Array, topology: str) -> jax.Array:
    """How much better each reordering fits than the order at hand. Pure.

    Args:
      x2d: (..., N, 2) landmarks; any affine change of the image changes nothing.
      unexplained: (N, N), see there.
      topology: name.

    Returns:
      (..., K) for the K `reorderings`: what it takes away of the squared distance, over the mean
      of what it leaves, less what faces in order reach: the order is wrong above 0.
    """
    known = reorderings(topology)
    landmarks, instead = known.landmarks, known.instead
    x2d = x2d - jnp.mean(x2d, axis=-2, keepdims=True)
    force = unexplained @ x2d
    total = jnp.sum(x2d * force, axis=(-2, -1))[..., None]
    change = known.weights[:, :, None] * (x2d[..., instead, :] - x2d[..., landmarks, :])
    within = unexplained[landmarks[:, :, None], landmarks[:, None, :]]  # (K, L, L)
    squares = jnp.sum(change * (within @ change), axis=(-2, -1))
    gain = -2 * jnp.sum(change * force[..., landmarks, :], axis=(-2, -1)) - squares
    left = jnp.maximum(total - gain, 1e-6 * jnp.sum(x2d**2, axis=(-2, -1))[..., None])
    return gain / left * x2d.shape[-2] * 2 - known.min_gains


def _permutations(
    topology: topologies.Topology,
) -> Iterator[tuple[Sequence[int], Sequence[int], float, str]]:
    parts = list(_parts(topology))
    for part, is_ring in parts:
        name, backward = _describe(part, topology), part[::-1]
        if not is_ring:
            yield part, backward, _MIN_GAIN, f"{name} run the other way"
            continue
        for shift in range(len(part)):
            if shift:
                yield (part, part[shift:] + part[:shift], _MIN_GAIN,
                       f"{name} start elsewhere")
            yield (part, backward[shift:] + backward[:shift], _MIN_GAIN_ROUND,
                   f"{name} run the other way round")
    if topology.mirror is None:
        return
    by_landmarks = {frozenset(part): part for part, _ in parts}
    for part, _ in parts:
        partners = [topology.mirror[i] for i in part]
        other = by_landmarks.get(frozenset(partners), part)
        if min(other) <= min(part):
            continue
        text = f"{_describe(part, topology)} and {_describe(other, topology)} are exchanged"
        for here, there in ((part, partners), (sorted(part), sorted(other))):
            yield [*here, *there], [*there, *here], _MIN_GAIN, text


def _describe(part: Sequence[int], topology: topologies.Topology) -> str:
    first, last = min(part), max(part)
    names = topology.landmarks
    if last - first + 1 == len(part):
        return f"landmarks {first} to {last} ({names[first]} to {names[last]})"
    return f"the landmarks {names[first]} to {names[last]}"


def _parts(topology: topologies.Topology) -> Iterator[tuple[list[int], bool]]:
    """The landmarks of each part along its edges, and whether it is closed; no trees."""
    neighbours: dict[int, set[int]] = {}
    for a, b in topology.edges:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    ends = sorted(neighbours, key=lambda i: (len(neighbours[i]), i))
    done: set[int] = set()
    for start in ends:
        if start in done:
            continue
        path, current = [start], start
        while following := sorted(neighbours[current] - set(path)):
            current = following[0]
            path.append(current)
        done.update(path)
        inside = all(len(neighbours[i]) <= 2 and neighbours[i] <= set(path) for i in path)
        if inside and len(path) > 2:
            yield path, len(neighbours[start]) == 2
