"""How far the answers of the anchored system's networks are from the truth."""

import jax
import jax.numpy as jnp

from deepmds_jax.geometry import angles_from_rotation, procrustes, turn_in_image
from deepmds_jax.methods.anchored.encoder import Proposal
from deepmds_jax.methods.anchored.minibatches import Truth

_MAX_SURPRISE = 64.0  # square of the standard deviations that an error counts as, at most
_POSE = 0.1  # weight of the pose, beside the shape


def angle_errors(proposal: Proposal, truth: Truth) -> jax.Array:
    """Errors (B, 3) of yaw, pitch and roll, radians; no derivative."""
    rotation = jax.lax.stop_gradient(turn_in_image(proposal.roll.mT, proposal.rotation))
    found, true = (jnp.stack(angles_from_rotation(r), axis=-1) for r in (rotation, truth.rotation))
    return jnp.deg2rad((found - true + 180) % 360 - 180)


def proposal_error(proposal: Proposal, truth: Truth) -> jax.Array:
    """() mean distance of the landmarks, and the errors of the pose."""
    rotation = turn_in_image(proposal.roll.mT, proposal.rotation)
    turn = jnp.sqrt(jnp.sum((rotation - truth.rotation) ** 2, axis=(-2, -1)) + 1e-6)
    perspective = jnp.abs(proposal.perspective - truth.perspective)
    shape = jnp.mean(length(proposal.shape - truth.posed))
    return shape + _POSE * (jnp.mean(turn) + jnp.mean(perspective))


def aligned(result: jax.Array, truth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The result in the scale of the truth, and the truth in the frame of the result.

    The similarity is the best one, so it needs no derivative: to first order it changes nothing.
    """
    fit = jax.tree.map(jax.lax.stop_gradient, procrustes(result, truth))
    return (fit.scale[:, None, None] * result,
            (truth - fit.translation[:, None, :]) @ fit.rotation.mT)


def surprise(errors: jax.Array, std: jax.Array) -> jax.Array:
    """Mean negative log likelihood of normal errors, but for a constant; bounded for outliers."""
    return jnp.mean(jnp.log(std) + jnp.minimum((errors / std) ** 2, _MAX_SURPRISE) / 2)


def length(vectors: jax.Array) -> jax.Array:
    """(...) of (..., 3) vectors; its derivative is finite at 0."""
    return jnp.sqrt(jnp.sum(vectors**2, axis=-1) + 1e-6)
