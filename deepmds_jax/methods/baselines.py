"""Two predictors that learn nothing, to keep the others honest."""

import jax
import jax.numpy as jnp

from deepmds_jax.data.views import Faces
from deepmds_jax.geometry import place_in_image
from deepmds_jax.methods.method import Method


def mean_shape(mean: jax.Array) -> Method:
    """The mean face (N, 3) whatever the landmarks: the paper's "constant output"."""

    def predict(faces: Faces) -> jax.Array:
        return jnp.broadcast_to(mean, (*faces.x2d.shape[:-1], 3))

    return Method("mean shape", predict, 0)


def posed_mean(mean: jax.Array) -> Method:
    """The mean face (N, 3) posed to the landmarks, its x and y replaced by the observed ones.

    Only depth and pose are guessed. The points are in the image frame and the landmarks' unit.
    """

    def predict(faces: Faces) -> jax.Array:
        posed = place_in_image(mean, faces.x2d).points
        return jnp.concatenate([faces.x2d, posed[..., 2:]], axis=-1)

    return Method("posed mean", predict, 0)
