"""What a method says of depth alone: its x and y give way to those that the image shows."""

import jax
import jax.numpy as jnp

from deepmds_jax.data.views import Faces
from deepmds_jax.geometry import place_in_image
from deepmds_jax.methods.contract import Method


def observed(method: Method) -> Method:
    """A method whose shapes are posed to the landmarks, their x and y replaced by the landmarks'.

    The points are in the image frame and the landmarks' unit.
    """

    def predict(faces: Faces) -> jax.Array:
        posed = place_in_image(method.predict(faces), faces.x2d).points
        return jnp.concatenate([faces.x2d, posed[..., 2:]], axis=-1)

    return Method(f"{method.title}, x and y observed", predict, method.num_params)
