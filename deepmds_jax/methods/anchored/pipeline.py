"""From landmarks to shape by the anchored system."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import landmark_order, mds
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.geometry import centre, min_max, nearest_orthogonal, standardize, turn_in_image
from deepmds_jax.mds.anchors import majorize
from deepmds_jax.methods.anchored.encoder import Proposal, ShapeEncoder
from deepmds_jax.methods.anchored.pairs import PairEstimate, PairNetwork
from deepmds_jax.methods.anchored.parameters import Params, count
from deepmds_jax.methods.contract import MIN_LANDMARKS, Method, Reconstruction
from deepmds_jax.methods.layers import apply_network

TITLE = "Deep-MDS, anchored"

# Above these the landmarks are not those of a face. Root mean square, in sizes of the face, of what
# the proposal does not explain: 0.1 for faces, 0.7 to 0.9 for most landmarks at random.
_MAX_MISFIT = 0.3
# The same together with how far the proposal is from the mean face: up to 0.4 for faces as deformed
# as in training (0.5 with the jaw), from 0.54 for landmarks in reversed order.
_MAX_DEPARTURE = 0.5
# Variance across over variance along, for landmarks on a line; faces have 0.03 and more.
_MIN_SPREAD = 3e-3


class Solution(NamedTuple):
    """Landmarks lifted to 3D, and from what; (...) are the leading axes of the landmarks.

    Attributes:
      proposal: the encoder's.
      estimate: the pair network's.
      embedded: the configuration, (..., N, 3) in the upright camera frame of the proposal.
    """

    proposal: Proposal
    estimate: PairEstimate
    embedded: mds.MDSResult


def solve(
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
) -> Solution:
    """Lifts centred landmarks by both networks and stress majorization. Pure.

    Args:
      encoder: Flax variables of `ShapeEncoder`.
      pairs: those of `PairNetwork`.
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
    proposal: Proposal = apply_network(ShapeEncoder(num_landmarks), encoder, x2d, visible)
    estimate: PairEstimate = apply_network(PairNetwork(num_landmarks), pairs, proposal, visible)
    solver = {"max_iters": max_iters, "tolerance": tolerance}
    start = proposal.points if init is None else _posed(init, proposal)
    precision = estimate.std**-2 if weighted else jnp.ones_like(estimate.std)
    if not observed:
        embedded = mds.smacof(estimate.distances, transform="ratio", init=start,
                              weights=precision, **solver)
        turn = nearest_orthogonal(embedded.embedding.mT @ centre(proposal.points), reflection=True)
        embedded = embedded._replace(embedding=embedded.embedding @ turn)
        return Solution(proposal, estimate, embedded)
    trust = jnp.exp(estimate.trust)
    proposed = trust[:3] / estimate.landmark_std**2
    seen = (visible / estimate.observed_std**2)[..., None] * jnp.array([1, 1, 0], x2d.dtype)
    anchors = (
        proposed * proposal.points + seen * jnp.pad(proposal.observed, _no_depth(x2d))
    ) / (proposed + seen)
    weights = jnp.where(np.eye(num_landmarks, dtype=bool), 0, trust[3] * precision)
    solve_one = functools.partial(majorize, **solver)
    for _ in x2d.shape[:-2]:
        solve_one = jax.vmap(solve_one)
    embedded = solve_one(estimate.distances, weights, anchors, proposed + seen, start)
    return Solution(proposal, estimate, embedded)


@jax.default_matmul_precision("highest")
@jax.numpy_rank_promotion("allow")
def lift(
    params: Params, x2d: jax.Array, visible: jax.Array | None, init: jax.Array | None
) -> Reconstruction:
    """Lifts (..., N, 2) landmarks, those that are not visible too; see `LiftingMethod`. Pure."""
    config = params.config
    seen = jnp.ones(x2d.shape[:-1], bool) if visible is None else jnp.asarray(visible, bool)
    seen = jnp.broadcast_to(seen, x2d.shape[:-1])
    num_visible = jnp.sum(seen, axis=-1, dtype=x2d.dtype)
    # Far from the origin float32 has no digits for a face; what is missing may be anything.
    known = jnp.where(seen[..., None], x2d, 0)
    middle = jnp.sum(known, axis=-2, keepdims=True) / num_visible[..., None, None]
    near = jnp.where(seen[..., None], x2d - middle, 0)
    near = near / jnp.sqrt(jnp.mean(near**2, axis=(-2, -1), keepdims=True))
    proposal, estimate, embedded = solve(
        params.encoder, params.pairs, near, seen.astype(x2d.dtype),
        init=init, weighted=config.weighted, observed=config.observed,
        max_iters=config.max_iters, tolerance=config.tolerance,
    )
    rotation = proposal.rotation
    is_rotation = jnp.abs(jnp.sum(rotation**2, axis=(-2, -1)) - 3) < 0.1
    from_front = ((rotation[..., 2, 2] > 0) | config.any_side) & is_rotation
    from_front &= num_visible >= MIN_LANDMARKS
    misfit = jnp.sqrt(jnp.sum(proposal.residual**2, axis=(-2, -1)) / num_visible)
    change = jnp.sum((proposal.shape - params.encoder["params"]["mean"]) ** 2, axis=-1)
    departure = jnp.sqrt(misfit**2 + jnp.mean(change, axis=-1))
    (a, b), (_, d) = jnp.moveaxis(near.mT @ near, (-2, -1), (0, 1))
    is_flat = a * d - b * b < _MIN_SPREAD * (a + d) ** 2
    complete = jnp.where(seen[..., None], proposal.observed, proposal.points[..., :2])
    gains = landmark_order.gains(complete, params.unexplained, config.topology)
    in_order = jnp.all(gains <= 0, axis=-1)
    is_face = from_front & (misfit < _MAX_MISFIT) & ~is_flat & in_order
    is_face &= (departure < _MAX_DEPARTURE) | config.any_side
    variance = estimate.landmark_std**2 @ rotation**2
    return Reconstruction(
        standardize(embedded.embedding @ rotation),
        min_max(proposal.shape[..., :2]),
        estimate.distances,
        embedded.stress,
        embedded.num_iters,
        jnp.where(is_face, embedded.status, mds.Status.INVALID).astype(jnp.int32),
        jnp.where(is_face[..., None, None], jnp.sqrt(variance), 1),
        standardize(proposal.shape),
        turn_in_image(proposal.roll.mT, rotation),
        jnp.where(is_face[..., None], jnp.rad2deg(estimate.angle_std), 180),
    )


def as_method(params: Params, reference: Dataset | None = None) -> Method:
    """The system with these weights, ready to run on landmarks that are all visible."""
    del reference
    return Method(TITLE, lambda faces: lift(params, faces.x2d, None, None).points, count(params))


def _posed(shape: jax.Array, proposal: Proposal) -> jax.Array:
    """A head-frame shape in the pose, size and place of the proposal."""
    middle = jnp.mean(proposal.points, axis=-2, keepdims=True)
    spread = jnp.mean(jnp.sum((proposal.points - middle) ** 2, axis=-1), axis=-1)
    size = jnp.sqrt(spread)[..., None, None]
    return size * standardize(shape) @ proposal.rotation.mT + middle


def _no_depth(x2d: jax.Array) -> list[tuple[int, int]]:
    return [(0, 0)] * (x2d.ndim - 1) + [(0, 1)]
