"""Two predictors that learn nothing, to keep the others honest."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from deepmds_jax.geometry import place_in_image


def mean_shape(mean: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """The mean face (N, 3) whatever the landmarks: the paper's "constant output"."""

    def predict(x2d: jax.Array) -> jax.Array:
        return jnp.broadcast_to(mean, (*x2d.shape[:-1], 3))

    return predict


def posed_mean(mean: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """The mean face (N, 3) posed to the landmarks, its x and y replaced by the observed ones.

    Only depth and pose are guessed. The points are in the image frame and the landmarks' unit.
    """

    def predict(x2d: jax.Array) -> jax.Array:
        posed = place_in_image(mean, x2d).points
        return jnp.concatenate([x2d, posed[..., 2:]], axis=-1)

    return predict
