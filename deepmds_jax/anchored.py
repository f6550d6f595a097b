"""The anchored variant of Deep-MDS: the shape it finds is anchored in what the image shows.

As published, the pair network does not know which landmarks it looks at, and x and y, which the
image shows, are guessed like depth. Here an encoder that knows the pose proposes a shape; the pair
network, which knows the landmarks, estimates their distances, and how sure all of it is; and stress
majorization finds the configuration that fits the distances, the proposal, and the landmarks seen,
each as far as it is sure. docs/anchored.md tells what each part is worth.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deepmds_jax import mds
from deepmds_jax.geometry import centre, nearest_orthogonal, standardize
from deepmds_jax.models import PairEstimate, PairNetwork, Proposal, ShapeEncoder
from deepmds_jax.models.pairs import as_matrix


class Lift(NamedTuple):
    """Landmarks lifted to 3D, and from what; (...) are the leading axes of the landmarks.

    Attributes:
      proposal: the encoder's.
      estimate: the pair network's.
      embedded: the configuration, (..., N, 3) in the upright camera frame of the proposal.
    """

    proposal: Proposal
    estimate: PairEstimate
    embedded: mds.MDSResult


def lift(
    encoder: Any,
    pairs: Any,
    x2d: jax.Array,
    visible: jax.Array,
    *,
    init: jax.Array | None = None,
    weighted: bool = True,
    observed: bool = True,
    max_iters: int = 50,
    tolerance: float = 1e-3,
) -> Lift:
    """Lifts landmarks to 3D by both networks and stress majorization. Pure.

    Args:
      encoder: Flax variables of `models.ShapeEncoder`.
      pairs: those of `models.PairNetwork`.
      x2d: (..., N, 2) image points, x right and y down, near the origin; finite also where not
        visible.
      visible: (..., N) float, 1 where the landmark is seen, 0 where it is missing.
      init: (..., N, 3) shape to start stress majorization from, head frame, any unit and origin:
        that of the frame before in a video. The proposal by default.
      weighted: whether distances count by their precision, or all the same.
      observed: whether proposal and visible x and y are anchors; without, the distances alone make
        the shape, by `mds.smacof`, turned to the proposal.
      max_iters, tolerance: of the solver.
    """
    num_landmarks = x2d.shape[-2]
    proposal = ShapeEncoder(num_landmarks).apply(encoder, x2d, visible)
    estimate = PairNetwork(num_landmarks).apply(pairs, proposal, visible)
    distances = as_matrix(estimate.distances, num_landmarks)
    solver = {"max_iters": max_iters, "tolerance": tolerance}
    start = proposal.points if init is None else _posed(init, proposal)
    precision = estimate.std**-2 if weighted else jnp.ones_like(estimate.std)
    if not observed:
        embedded = mds.smacof(distances, transform="ratio", init=start,
                              weights=as_matrix(precision, num_landmarks), **solver)
        turn = nearest_orthogonal(embedded.embedding.mT @ centre(proposal.points), reflection=True)
        embedded = embedded._replace(embedding=embedded.embedding @ turn)
        return Lift(proposal, estimate, embedded)
    trust = jnp.exp(estimate.trust)
    proposed = trust[:3] / estimate.landmark_std**2
    seen = (visible / estimate.observed_std**2)[..., None] * jnp.array([1, 1, 0], x2d.dtype)
    anchors = (
        proposed * proposal.points + seen * jnp.pad(proposal.observed, _no_depth(x2d))
    ) / (proposed + seen)
    embedded = mds.smacof_anchored(distances, anchors, proposed + seen, init=start,
                            weights=as_matrix(trust[3] * precision, num_landmarks), **solver)
    return Lift(proposal, estimate, embedded)


def _posed(shape: jax.Array, proposal: Proposal) -> jax.Array:
    """A head-frame shape in the pose, size and place of the proposal."""
    middle = jnp.mean(proposal.points, axis=-2, keepdims=True)
    spread = jnp.mean(jnp.sum((proposal.points - middle) ** 2, axis=-1), axis=-1)
    size = jnp.sqrt(spread)[..., None, None]
    return size * standardize(shape) @ proposal.rotation.mT + middle


def _no_depth(x2d: jax.Array) -> list[tuple[int, int]]:
    return [(0, 0)] * (x2d.ndim - 1) + [(0, 1)]
